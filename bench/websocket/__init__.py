"""Comparison of ASGI servers over WebSocket: ``python -m bench.websocket --help``."""
