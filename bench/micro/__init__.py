"""Micro-benchmarks over both stacks: ``python -m pytest bench/micro``."""
