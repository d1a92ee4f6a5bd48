"""What changed on disk: watches the files of an application while it is developed.

A :class:`Tree` knows how the files look now. A :class:`Watcher` compares that with how they looked before, in a thread
of its own, and tells which differ. It looks when watchfiles hears of something, where that is installed and the system
tells it anything, and else again and again. So both ways find the same, be it by patterns, for files that came, went
or moved with their directory, or after a burst of changes. Knows nothing of processes.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import threading
import time
from typing import Any, Callable, Iterable, Optional

from ..config import Config
from .patterns import Selection, is_within, shown

logger = logging.getLogger("asgiserve.error")

MIN_PAUSE = 0.05
"""Seconds between two looks, at the least."""

SHARE = 0.2
"""The share of its time that the thread may spend looking."""

MOST_LOOKS = 40
"""How often to look, while files go on changing, before what has changed is told all the same."""

BACKSTOP = 2.0
"""Seconds after which to look although nothing was heard: not every file system tells of every change."""

MISSES = 2
"""How many changes may go unheard before listening is given up."""

_READY = 5.0
_JOIN = 2.0

_Signature = tuple[int, int, int]


class Tree:
    """The watched files. ``directories`` (set of str) are those that the last snapshot looked into."""

    def __init__(self, selection: Selection) -> None:
        self.directories: set[str] = set()
        self._selection = selection
        self._roots = frozenset(selection.roots)

    def snapshot(self) -> dict[str, _Signature]:
        """Each watched file, with what differs once it has been written or replaced. What cannot be read is absent."""
        found: dict[str, _Signature] = {}
        paths, seen = set(), set()
        # Each with where it really is. Links come last: what they lead to may have been seen by then.
        directories = [(root, root) for root in self._selection.roots]
        links: list[tuple[str, str]] = []
        while directories or links:
            path, real = directories.pop() if directories else links.pop()
            if real in seen or (path != real and any(is_within(root, real) for root in self._roots)):
                continue
            paths.add(path)
            seen.add(real)
            for below, is_link in self._read(path, found):
                if is_link:
                    links.append((below, os.path.realpath(below)))
                else:
                    directories.append((below, os.path.join(real, os.path.basename(below))))
        for path in self._selection.files:
            try:
                found[path] = _signature(os.stat(path))
            except OSError:
                pass
        self.directories = paths
        return found

    def _read(self, directory: str, found: dict[str, _Signature]) -> list[tuple[str, bool]]:
        """Adds the files in `directory`; returns the directories to look into next, and whether each is a link."""
        below: list[tuple[str, bool]] = []
        try:
            with os.scandir(directory) as listing:
                entries = list(listing)
        except OSError:
            return []
        if directory not in self._roots and any(entry.name == "pyvenv.cfg" for entry in entries):
            return []
        for entry in entries:
            try:
                if entry.is_dir():
                    if entry.path not in self._roots and self._selection.enters(entry.path):
                        below.append((entry.path, entry.is_symlink()))
                elif self._selection.takes(entry.path) and entry.is_file():
                    found[entry.path] = _signature(entry.stat())
            except OSError:
                pass  # it went away meanwhile, or is none of ours
        return below

    def concerns(self, path: str) -> bool:
        """Whether a change at `path` can be one of a watched file."""
        if path in self.directories or path in self._selection.files:
            return True
        if os.path.dirname(path) not in self.directories:
            return False
        return self._selection.takes(path) or (self._selection.enters(path) and os.path.isdir(path))


def _signature(status: os.stat_result) -> _Signature:
    return status.st_mtime_ns, status.st_size, status.st_ino


class Watcher:
    """Tells of files that changed, were made or removed.

    Raises :class:`asgiserve.ConfigError` when the reload options of `config` cannot work.
    """

    def __init__(self, config: Config) -> None:
        self._selection = Selection(config)
        self._tree = Tree(self._selection)
        self._delay = max(MIN_PAUSE, config.reload_delay)
        self._deliver: Callable[[set[str]], None] = _ignore
        self._known: dict[str, _Signature] = {}
        self._cost = 0.0  # seconds that the last look took
        self._begun = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="asgiserve-reload", daemon=True)

    def start(self, deliver: Callable[[set[str]], None]) -> None:
        """From now on calls `deliver` with the absolute paths that changed, in a thread of its own, once the files have
        been quiet for ``reload_delay`` seconds."""
        self._deliver = deliver
        self._thread.start()
        self._begun.wait(_READY)  # what changes after this call is told, unless there are very many files

    def stop(self) -> None:
        """Stops watching, at once; after this `deliver` is not called any more."""
        self._stop.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(_JOIN)

    def _run(self) -> None:
        try:
            self._known = self._look()
            self._begun.set()
            watch = _watchfiles()
            if watch is not None:
                self._say("told by watchfiles")
                self._listen(watch)
            else:
                self._say(f"looking every {self._delay:g} seconds")
            while not self._stop.wait(self._pause()):
                self._compare()
        except Exception as exc:
            logger.error("Files are not watched any more: %s: %s", type(exc).__name__, _one_line(exc))
        finally:
            self._begun.set()

    def _say(self, how: str) -> None:
        logger.info("Watching for changes in %s, %s", ", ".join(self._selection.roots), how)

    def _pause(self) -> float:
        return max(self._delay, self._cost / SHARE)

    def _look(self) -> dict[str, _Signature]:
        began = time.monotonic()
        try:
            return self._tree.snapshot()
        finally:
            self._cost = time.monotonic() - began

    def _compare(self) -> bool:
        """Looks at the files, until they are quiet if something changed, and tells what did. Whether something did."""
        now = self._look()
        if now == self._known:
            return False
        for _ in range(MOST_LOOKS):
            if self._stop.wait(self._pause()):
                return True
            before, now = now, self._look()
            if now == before:
                break
        old, self._known = self._known, now
        changed = {path for path in old.keys() | now.keys() if old.get(path) != now.get(path)}
        if changed and not self._stop.is_set():
            self._deliver(changed)
        return True

    def _listen(self, watch: Callable[..., Iterable[set[Any]]]) -> None:
        """Looks whenever something is heard. Returns when told to stop, or when listening turns out to be of no use."""
        unheard, due = 0, 0.0
        try:
            for events in watch(
                *self._selection.places,
                watch_filter=None,
                stop_event=self._stop,
                rust_timeout=int(BACKSTOP * 1000),
                yield_on_timeout=True,
                force_polling=False,
                ignore_permission_denied=True,
            ):
                if any(self._tree.concerns(path) for _, path in events):
                    unheard = 0
                    self._compare()
                elif unheard >= MISSES:
                    why = "the system does not tell of all changes"
                    break
                elif time.monotonic() >= due:
                    unheard += self._compare()
                    due = time.monotonic() + max(BACKSTOP / 2, self._cost * 50)
            else:
                why = "watchfiles ended"
        except Exception as exc:
            why = _one_line(exc)
        if not self._stop.is_set():
            logger.warning("From now on looking for changes every %g seconds: %s", self._delay, why)


def _ignore(changed: set[str]) -> None:
    pass


def _watchfiles() -> Optional[Callable[..., Iterable[set[Any]]]]:
    """The library's ``watch``; None where it is not installed or the environment asks for polling."""
    if os.environ.get("WATCHFILES_FORCE_POLLING", "false").lower() not in ("", "false", "disable", "disabled"):
        return None
    try:
        import watchfiles

        watch: Callable[..., Iterable[set[Any]]] = watchfiles.watch
    except ImportError:
        return None
    except Exception as exc:
        logger.warning("watchfiles cannot be used: %s", _one_line(exc))
        return None
    # It logs each change that it hears of, also of files that are not watched, such as the log's own.
    chatter = logging.getLogger("watchfiles.main")
    if chatter.level == logging.NOTSET:
        chatter.setLevel(logging.WARNING)
    return watch


def _one_line(exc: Exception) -> str:
    return " ".join(str(exc).split()) or type(exc).__name__


def forget_bytecode(changed: Iterable[str]) -> None:
    """Removes what Python has compiled of these files.

    Python takes it for the newest if the file has the size, and the time in whole seconds, that it was compiled at: a
    small change a moment later would be overlooked.
    """
    for path in changed:
        if path.endswith(".py"):
            with contextlib.suppress(OSError, NotImplementedError):
                os.unlink(importlib.util.cache_from_source(path))


def describe(changed: Iterable[str]) -> str:
    """Which files changed, in one line of the log."""
    here = _here()
    names = sorted(shown(path, here) for path in changed)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    files = "1 file" if len(names) == 1 else f"{len(names)} files"
    return f"{files} changed: {', '.join(names[:3])}{more}"


def _here() -> str:
    try:
        return os.path.realpath(os.getcwd())
    except OSError:
        return ""  # it was removed: all paths are shown whole
