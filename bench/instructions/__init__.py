"""Count the machine instructions of a request: ``python -m bench.instructions --help``. Needs Linux and valgrind.

Instructions do not depend on how busy the machine is, so small changes show that a clock cannot see.
"""
