"""The ASGI connection core.

As it stands here it is the pure-Python stack. The shared modules are compiled a second time, as
`asgiserve._speedups.<name>`; those that C can do much better have hand-written twins there. Modules here import each
other relatively, so that each build finds its own.
"""
