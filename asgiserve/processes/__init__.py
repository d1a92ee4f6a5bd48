"""Worker processes: a parent that binds the sockets, starts workers, watches and replaces them.

The parent never imports the application. :mod:`.parent` is its event loop and knows signals and sockets,
:mod:`.supervisor` decides, :mod:`.process` is one worker as the parent sees it, :mod:`.worker` is what runs there, and
:mod:`.link` is what the two say to each other. :mod:`.handover` gives the sockets to a new program.
"""
