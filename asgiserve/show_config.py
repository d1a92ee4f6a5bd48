"""The text of ``--print-config``: every option, its value and where it comes from, as a TOML file that
``--config`` reads."""

from __future__ import annotations

import json
from typing import Any, Iterator, Mapping

from .config import Config
from .options import OPTIONS, Option
from .settings import Setting

_DEFAULT = "default"
_WIDTH = 44  # where the origins begin, unless a line is longer


def lines(config: Config, settings: Mapping[str, Setting]) -> Iterator[str]:
    """The lines of the file. `settings` are those that were given and that `config` was made from."""
    group = ""
    for option in OPTIONS:
        if option.group != group:
            yield from ([""] if group else [])
            group = option.group
            yield f"# {group}"
        origin = settings[option.name].origin if option.name in settings else _DEFAULT
        value = getattr(config, option.name)
        if origin == _DEFAULT:
            origin = _alias_origin(option, settings)
        yield f"{_assignment(option, value, origin):<{_WIDTH}}  # {origin}"


def _alias_origin(option: Option, settings: Mapping[str, Setting]) -> str:
    """Where the value comes from when another option, that is a second name of this one, was given."""
    for other in OPTIONS:
        if other.alias_of == option.name and other.name in settings:
            return f"{settings[other.name].origin} ({other.name})"
    return _DEFAULT


def _assignment(option: Option, value: Any, origin: str) -> str:
    if option.secret and value is not None:
        return f"# {option.name} = (hidden)"
    if origin == _DEFAULT and (value is None or option.default_text):
        return f"# {option.name} = ({option.default_text or 'none'})"
    return f"{option.name} = {toml(value)}"


def toml(value: Any) -> str:
    """`value` (None, bool, number, text, or a sequence or dict of them) in one line of TOML; None is ``"none"``, pairs
    are headers."""
    if value is None:
        return '"none"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_text(str(key))} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_text(": ".join(item)) if _is_pair(item) else toml(item) for item in value) + "]"
    return _text(str(value))


def _is_pair(item: Any) -> bool:
    return isinstance(item, tuple) and len(item) == 2


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
