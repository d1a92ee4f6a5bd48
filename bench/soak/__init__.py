"""Whether anything grows over a million requests: ``python -m bench.soak --help``."""
