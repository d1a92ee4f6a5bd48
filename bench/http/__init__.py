"""Load comparison of ASGI servers: ``python -m bench.http --help``."""
