"""Frozen dataclasses to JSON and back, driven by their field types. Used for scripts.

It knows the types that a script is made of and no more: numbers, flags, text, enums by value, tuples, nested
dataclasses, each of them optional. Ranges are checked where they are known, in the dataclasses themselves.
"""

from __future__ import annotations

import enum
import functools
import json
import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, NoReturn, TypeAlias, TypeVar, cast, get_args, get_type_hints

from evertoken.testing.server._faults import ScriptError

_T = TypeVar("_T")
_Kind: TypeAlias = Any  # what get_type_hints finds: a class, an optional class, a tuple of some length


def encode(value: object) -> str:
    """``value``, a dataclass instance, as indented JSON without the fields that are at their default."""
    return json.dumps(_plain(value), indent=2, allow_nan=False)


def decode(kind: type[_T], text: str) -> _T:
    """The instance of the dataclass ``kind`` that ``text`` describes.

    Raises:
        ScriptError: with the path of the wrong field; ``script`` stands for the whole.
    """
    try:
        data = json.loads(text, object_pairs_hook=_object_once, parse_constant=_no_constant)
    except ScriptError:
        raise
    except (ValueError, RecursionError) as error:
        raise ScriptError("script", f"is not JSON: {error}") from None
    return cast("_T", _instance(kind, data, ""))


def _plain(value: object) -> object:
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, tuple):
        return [_plain(item) for item in cast("tuple[object, ...]", value)]
    if is_dataclass(value):
        named = ((field, getattr(value, field.name)) for field in fields(value))
        return {field.name: _plain(item) for field, item in named if item != field.default}
    return None if value == math.inf else value


def _object_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in pairs:
        if name in found:
            raise ScriptError(name, "stands twice in one object")
        found[name] = value
    return found


def _no_constant(name: str) -> NoReturn:
    raise ScriptError("script", f"is not JSON: {name} is not a number there")


def _read(kind: _Kind, data: object, path: str) -> object:
    if isinstance(kind, types.UnionType):
        return None if data is None else _read(get_args(kind)[0], data, path)
    if isinstance(kind, types.GenericAlias):
        return _items(get_args(kind)[0], data, path)
    if is_dataclass(kind):
        return _instance(kind, data, path)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _choice(kind, data, path)
    return math.inf if kind is float and data is None else data


def _items(kind: _Kind, data: object, path: str) -> tuple[object, ...]:
    if not isinstance(data, list):
        raise ScriptError(path, "must be an array")
    return tuple(_read(kind, item, f"{path}[{index}]") for index, item in enumerate(cast("list[object]", data)))


def _choice(kind: type[enum.Enum], data: object, path: str) -> enum.Enum:
    for member in kind:
        if member.value == data:
            return member
    allowed = ", ".join(str(member.value) for member in kind)
    raise ScriptError(path, f"{json.dumps(data)} is not one of the allowed values: {allowed}")


def _instance(kind: _Kind, data: object, path: str) -> object:
    if not isinstance(data, dict):
        raise ScriptError(path or "script", "must be an object")
    given = cast("dict[str, object]", data)
    hints = _hints(kind)
    for name in given:
        if name not in hints:
            raise ScriptError(_join(path, name), f"is unknown; the fields here are: {', '.join(hints)}")
    for field in fields(kind):
        if field.default is MISSING and field.name not in given:
            raise ScriptError(_join(path, field.name), "is missing")
    values = {name: _read(hints[name], item, _join(path, name)) for name, item in given.items()}
    try:
        return kind(**values)
    except ScriptError as error:
        raise (error.within(path) if path else error) from None


@functools.cache
def _hints(kind: _Kind) -> Mapping[str, Any]:
    return get_type_hints(kind)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
