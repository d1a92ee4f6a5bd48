"""Plain ASGI middleware, usable with any server."""
