"""Figures: what the workers say of themselves, and where others read it."""
