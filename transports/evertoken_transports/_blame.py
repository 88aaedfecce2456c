"""Telling a fault in somebody's code from one of the network, and where it lies.

The text of an exception is not shown, since it may quote what the code was given: the secret, or an answer with a token
in it. Only that of a WrongArgument is, which repeats no value.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import cast

from evertoken._checks import WrongArgument

_BUGS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    ImportError,
    LookupError,
    NameError,
    ReferenceError,
    RuntimeError,
    StopAsyncIteration,
    StopIteration,
    SyntaxError,
    TypeError,
    ValueError,
)
"""What Python raises over code and values. The network's errors are OSErrors, or classes of the libraries' own."""


def is_bug(error: BaseException) -> bool:
    """Whether ``error`` is a fault in code, against which no waiting and no mending of networks helps."""
    return isinstance(error, _BUGS) and not isinstance(error, OSError)


def bug_in(error: BaseException) -> BaseException | None:
    """``error`` if it is a bug; if it is a group, as tasks raise it, its first exception if that is one; else None."""
    for cause in causes_of(error):
        if is_bug(cause):
            return cause
        if not isinstance(cause, BaseExceptionGroup):
            return None
    return None


def place_of(error: BaseException) -> str:
    """The type of ``error`` and where it was raised, as in "TypeError in app.vault.read, line 12".

    For a WrongArgument of the core, it is where that argument was given, and what is wrong with it.
    """
    found = name_of(type(error))
    frames = list(_frames(error.__traceback__))
    if isinstance(error, WrongArgument):
        found = "TypeError"
        frames = [
            frame for frame in frames if not frame.tb_frame.f_globals.get("__name__", "").startswith("evertoken.")
        ]
    if not frames:
        return found
    last = frames[-1]
    where = f"{last.tb_frame.f_globals.get('__name__', '?')}.{last.tb_frame.f_code.co_qualname}"
    what = f" ({error})" if isinstance(error, WrongArgument) else ""
    return f"{found} in {where}, line {last.tb_lineno}{what}"


def name_of(kind: type) -> str:
    """The full name of ``kind``; the bare one if it is Python's own."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def causes_of(error: BaseException | None) -> Iterator[BaseException]:
    """``error`` and what led to it, the outermost first: libraries wrap what happened in errors that say less.

    A group is followed by its first exception.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        inner = cast("BaseExceptionGroup[BaseException]", error) if isinstance(error, BaseExceptionGroup) else None
        error = error.__cause__ or error.__context__ if inner is None else inner.exceptions[0]


def _frames(traceback: TracebackType | None) -> Iterator[TracebackType]:
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next
