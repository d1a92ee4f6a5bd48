"""Which files are watched: directories and patterns, from the options.

A pattern without a slash is for the name of a file or directory, one with slashes for that many last parts of a path,
and an absolute one for all of it; ``**`` stands for any number of parts. Looks at the disk once, when it is made, to
see which patterns are directories or files that exist. Knows nothing of time and of changes.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from typing import Iterable, NamedTuple, Sequence

from ..config import Config
from ..options import OptionError

DEFAULT_INCLUDES = ("*.py",)
DEFAULT_EXCLUDES = (".*", ".py[cod]", ".sw.*", "~*")

#: Directories that are watched only when an option names them. Besides these: what has a file pyvenv.cfg in it.
NEVER = frozenset(("__pycache__", "node_modules", ".git", ".hg", ".svn"))

_MAGIC = re.compile(r"[*?[]")


class Pattern(NamedTuple):
    """One pattern as the user wrote it, and what it means in the current directory.

    ``text`` is tidied up, ``match`` is for :class:`Patterns`. ``lead`` is the absolute path up to the first part that
    has wildcards, ``rest`` what follows, if anything does.
    """

    text: str
    match: str
    lead: str
    rest: str

    def places(self) -> list[str]:
        """The directories there are now that it stands for."""
        if not self.rest:
            found = [self.lead]
        elif os.path.basename(self.rest).lstrip(".").startswith("*"):
            found = []  # this is about files, as in *.html
        else:
            found = glob.glob(glob.escape(self.lead) + self.rest)
        return [os.path.realpath(path) for path in found if os.path.isdir(path)]


def _pattern(text: str, here: str) -> Pattern:
    text = os.path.normpath(text)
    place = os.path.normpath(os.path.join(here, text))
    lead = place
    while _MAGIC.search(lead) and not os.path.exists(lead):
        lead = os.path.dirname(lead)
    rest = place[len(lead) :]
    if os.path.isabs(text) or text.split(os.sep)[0] in (os.curdir, os.pardir):
        lead = _real(lead)
        match = glob.escape(lead) + rest
    else:
        match = text if rest else glob.escape(text)
    return Pattern(text, match, _real(lead), rest)


def _real(path: str) -> str:
    """`path` with the links in it resolved, as they are in the paths of roots; the name of a file stays."""
    if os.path.isdir(path):
        return os.path.realpath(path)
    return os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))


class Patterns:
    """Some patterns, to be compared with paths."""

    def __init__(self, texts: Iterable[str]) -> None:
        names = []
        self._paths: list[list[str]] = []
        for text in texts:
            parts = os.path.normcase(text).split(os.sep)
            if len(parts) == 1:
                names.append(parts[0])
            else:
                # What is relative can be anywhere.
                self._paths.append(parts if os.path.isabs(text) else ["**", *parts])
        self._names = re.compile("|".join(map(fnmatch.translate, names))) if names else None

    def fit(self, path: str) -> bool:
        """Whether the absolute `path` fits one of them."""
        path = os.path.normcase(path)
        if self._names is not None and self._names.match(path.rpartition(os.sep)[2]):
            return True
        return bool(self._paths) and any(_fits(path.split(os.sep), parts) for parts in self._paths)


def _fits(path: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not path
    if pattern[-1] == "**":
        return any(_fits(path[:length], pattern[:-1]) for length in range(len(path), -1, -1))
    return bool(path) and fnmatch.fnmatchcase(path[-1], pattern[-1]) and _fits(path[:-1], pattern[:-1])


class Selection:
    """What the reload options of `config` select.

    ``roots`` are the directories to watch, with all that is below them; ``files`` are files to watch wherever they are.
    All paths are absolute. Raises :class:`asgiserve.ConfigError`: there is no such directory, or a pattern is wrong.
    """

    def __init__(self, config: Config) -> None:
        try:
            self._here = os.path.realpath(os.getcwd())
        except OSError as exc:
            raise OptionError("reload", f"the current directory cannot be watched: {exc.strerror}") from None
        includes = self._patterns("reload_includes", config.reload_includes)
        excludes = self._patterns("reload_excludes", config.reload_excludes)
        self.files = [pattern.lead for pattern in includes if not pattern.rest and os.path.isfile(pattern.lead)]
        self.roots = self._roots(config, includes, excludes)
        kept = {pattern.text for pattern in includes} - {pattern.text for pattern in excludes}
        wanted = [pattern for pattern in includes if pattern.text in kept]
        defaults = [text for text in DEFAULT_INCLUDES if text not in [pattern.text for pattern in excludes]]
        self._includes = Patterns([*defaults, *(pattern.match for pattern in wanted)])
        self._excludes = Patterns([pattern.match for pattern in excludes])
        self._default_excludes = Patterns([text for text in DEFAULT_EXCLUDES if text not in kept])
        # Who writes the dot, or the whole name, means it.
        self._dotted = Patterns([p.match for p in wanted if os.path.basename(p.text).startswith(".")])
        self._literal = Patterns([p.match for p in wanted if not p.rest])

    def _patterns(self, name: str, texts: Iterable[str]) -> list[Pattern]:
        if not all(text.strip() for text in texts):
            raise OptionError(name, "a pattern is empty")
        return [_pattern(text, self._here) for text in texts]

    def _roots(self, config: Config, includes: Iterable[Pattern], excludes: Iterable[Pattern]) -> list[str]:
        roots = self._directories(config)
        for pattern in includes:
            roots += [place for place in pattern.places() if os.path.basename(place) not in NEVER]
            # Such as templates/*.html: the directory may be one that would not be looked into, or be elsewhere.
            is_path = bool(pattern.rest) and os.sep in pattern.text
            if is_path and os.path.isdir(pattern.lead) and os.path.dirname(pattern.lead) != pattern.lead:
                roots.append(pattern.lead)
        excluded = [place for pattern in excludes for place in pattern.places()]
        left = [root for root in dict.fromkeys(roots) if not any(is_within(root, place) for place in excluded)]
        if not left:
            raise OptionError("reload_excludes", "no directory is left to watch")
        return left

    def _directories(self, config: Config) -> list[str]:
        for directory in config.reload_dirs:
            if not os.path.isdir(directory):
                raise OptionError("reload_dirs", f"{directory!r} is not a directory")
        if config.reload_dirs:
            return [os.path.realpath(directory) for directory in config.reload_dirs]
        elsewhere = config.app_dir and os.path.isdir(config.app_dir)
        return [self._here, *([os.path.realpath(config.app_dir or "")] if elsewhere else [])]

    @property
    def places(self) -> list[str]:
        """The least number of directories and files in which all that is watched is found."""
        every = [*self.roots, *self.files]
        return [path for path in every if not any(path != other and is_within(path, other) for other in every)]

    def takes(self, path: str) -> bool:
        """Whether the file `path`, in a directory that is entered, is watched."""
        if self._literal.fit(path):
            return True
        if not self._includes.fit(path) or self._excludes.fit(path):
            return False
        return not self._default_excludes.fit(path) or self._dotted.fit(path)

    def enters(self, path: str) -> bool:
        """Whether the directory `path`, found in one that is entered, is looked into. Roots always are."""
        if os.path.basename(path) in NEVER or self._excludes.fit(path):
            return False
        return not self._default_excludes.fit(path) or self._dotted.fit(path)


def is_within(path: str, directory: str) -> bool:
    """Whether `path` is `directory` or below it."""
    return path == directory or path.startswith(directory.rstrip(os.sep) + os.sep)


def shown(path: str, here: str) -> str:
    """The path as the log shows it: relative if it is below the directory `here`, what is no text escaped."""
    name = os.path.relpath(path, here) if path != here and is_within(path, here) else path
    return name if name.isprintable() else ascii(name)
