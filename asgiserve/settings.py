"""Where settings come from: the command line, the environment, a file; and which of them wins.

Knows the spellings of each source, and nothing of what a setting means: :class:`asgiserve.Config` checks the values.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Mapping, NamedTuple, Optional

from .errors import ConfigError
from .option_kinds import MULTIPLE
from .options import COMMAND_OPTIONS, ENV_PREFIX, OPTIONS, nearest

COMMAND_LINE = "command line"
UVICORN_PREFIX = "UVICORN_"
CONFIG_VARIABLE = ENV_PREFIX + "CONFIG"

#: How variables begin that are no options: the build, the tests and asgiserve itself read them.
NO_OPTIONS = tuple(ENV_PREFIX + word for word in ("EXTENSIONS", "LLHTTP", "E2E", "FUZZ", "HANDOVER"))

_PYPROJECT = "pyproject.toml"
_KNOWN = {option.name: option for option in OPTIONS}

#: Options that count for nothing beside others of the same source, so that from a stronger source they have to put
#: those of weaker ones out of the way: a port on the command line wins over a socket in the file.
_DISPLACES = {
    "host": ("uds", "fd", "bind"),
    "port": ("uds", "fd", "bind"),
    "uds": ("fd", "bind"),
    "fd": ("bind",),
    **{option.name: (option.alias_of,) for option in OPTIONS if option.alias_of},
}


class Setting(NamedTuple):
    """A value as it was given, not checked yet, and where it comes from: ``command line``, the name of an environment
    variable, or ``FILE: key``."""

    value: Any
    origin: str


def gather(command_line: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Setting]:
    """The settings that were given, by option name, each from the strongest of its sources: the command line, then
    ``ASGISERVE_*``, then ``UVICORN_*``, then the file.

    `command_line` has option names and values, also those of COMMAND_OPTIONS. Raises :class:`asgiserve.ConfigError`
    for a variable or key that is no option, and for a file that cannot be read.
    """
    path = command_line.get("config") or environ.get(CONFIG_VARIABLE)
    commands = {option.name for option in COMMAND_OPTIONS}
    named = {name: Setting(value, COMMAND_LINE) for name, value in command_line.items() if name not in commands}
    found: dict[str, Setting] = {}
    file = _from_file(path) if path else _from_pyproject()
    for layer in (file, _from_uvicorns_environment(environ), _from_environment(environ), named):
        for name in layer:
            for weaker in _DISPLACES.get(name, ()):
                found.pop(weaker, None)
        found.update(layer)
    return found


def _from_environment(environ: Mapping[str, str]) -> dict[str, Setting]:
    """What ``ASGISERVE_*`` variables say. An empty one says nothing."""
    known = {option.env for option in _KNOWN.values()} | {CONFIG_VARIABLE}
    for variable in environ:
        if variable.startswith(ENV_PREFIX) and variable not in known and not variable.startswith(NO_OPTIONS):
            raise ConfigError(_unknown(variable, "variable", sorted(known)))
    given = ((option, environ.get(option.env)) for option in _KNOWN.values())
    return {option.name: Setting(text, option.env) for option, text in given if text}


def _from_uvicorns_environment(environ: Mapping[str, str]) -> dict[str, Setting]:
    """What ``UVICORN_*`` variables say, as far as they are options."""
    found = {}
    for option in _KNOWN.values():
        variable = UVICORN_PREFIX + option.name.upper()
        text = environ.get(variable)
        if text:
            # uvicorn's users separate the values of one variable by white space.
            found[option.name] = Setting(text.split() if option.kind in MULTIPLE else text, variable)
    return found


def _from_pyproject() -> dict[str, Setting]:
    """``[tool.asgiserve]`` in the current directory's pyproject.toml, if it has that."""
    return _from_file(_PYPROJECT) if os.path.isfile(_PYPROJECT) else {}


def _from_file(path: str) -> dict[str, Setting]:
    """The settings in a TOML file: in a pyproject.toml those below ``[tool.asgiserve]``, elsewhere all there is."""
    table: Any = _read(path)
    if os.path.basename(path) == _PYPROJECT:
        for part in ("tool", "asgiserve"):
            table = table.get(part, {})
            if not isinstance(table, dict):
                raise ConfigError(f"{path}: {part} is not a table")
    found: dict[str, Setting] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in _KNOWN:
            raise ConfigError(_unknown(f"{path}: {key}", "option", list(_KNOWN), name))
        if name in found:
            raise ConfigError(f"{path}: {key} is there twice, once with - and once with _")
        found[name] = Setting(value, f"{path}: {key}")
    return found


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            data = file.read()
    except (OSError, ValueError) as exc:  # ValueError: a name with NUL in it
        raise ConfigError(f"{path} cannot be read: {getattr(exc, 'strerror', None) or exc}") from None
    if os.path.basename(path) == _PYPROJECT and b"asgiserve" not in data:
        return {}  # it is the file of others: whether it is right is not for us to say
    try:
        return _parse(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise ConfigError(f"{path} cannot be read: it is not UTF-8 text") from None
    except (ValueError, RecursionError) as exc:
        raise ConfigError(f"{path} is not TOML: {exc}") from None


def _parse(text: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib as toml
    else:
        import tomli as toml
    parsed: dict[str, Any] = toml.loads(text)
    return parsed


def _unknown(shown: str, what: str, names: list[str], name: Optional[str] = None) -> str:
    close = nearest(name or shown, names)
    return f"{shown}: there is no such {what}" + (f", did you mean {close}?" if close else "")
