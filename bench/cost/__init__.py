"""Where the cost of a request goes: ``python -m bench.cost --help``."""
