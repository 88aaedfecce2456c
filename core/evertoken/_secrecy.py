"""For values that hold a secret or a token: they are not written down by accident."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn, Self, SupportsIndex, TypeVar, cast

_T = TypeVar("_T")

_TELLTALE = ("__dataclass_fields__", "__dataclass_params__", "__replace__")
"""What a dataclass has beside its methods, and by which others find out what is in it, hidden from the repr or not."""


class Unpicklable:
    """What would show a secret or a token in clear if it were written down. A copy of it is itself.

    It is taken neither by ``pickle`` nor by what looks for the fields of dataclasses: ``dataclasses.asdict``, orjson,
    pydantic, msgspec. Subclasses are made by ``dataclass(frozen=True, slots=True)`` all the same, which leaves them
    their methods, and nothing to be found out by.
    """

    __slots__ = ()
    __match_args__: ClassVar[tuple[str, ...]]

    def __init_subclass__(cls) -> None:
        # For its slots, ``dataclass`` makes the class a second time, with all in it that it has added to the first.
        super().__init_subclass__()
        for name in _TELLTALE:
            if name in cls.__dict__:
                delattr(cls, name)

    def __replace__(self, /, **changes: object) -> Self:
        """The same but for ``changes``: for ``copy.replace``, since ``dataclasses.replace`` refuses it as well."""
        made = _made(type(self), {**self._arguments(), **changes})
        del changes  # Error trackers show the local variables of every frame.
        if isinstance(made, Exception):
            raise made
        return made

    def _arguments(self) -> dict[str, object]:
        """What another one like it is made of."""
        return {name: getattr(self, name) for name in self.__match_args__}

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(f"{type(self).__name__} cannot be pickled: the pickle would hold a secret or a token in clear")

    def __getstate__(self) -> NoReturn:
        self.__reduce_ex__(0)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self


class Hidden:
    """A text in the local variables of a frame that an exception may pass: error trackers show their reprs."""

    __slots__ = ("reveal",)

    reveal: Callable[[], str]

    def __init__(self, text: str) -> None:
        self.reveal = lambda: text


def replace(value: _T, /, **changes: Any) -> _T:  # noqa: ANN401 - of whatever the fields are
    """``value`` with ``changes``: ``copy.replace`` of Python 3.13, which asks the value, and here for any dataclass."""
    kept: Callable[..., _T] = getattr(type(value), "__replace__", cast("Callable[..., Any]", dataclasses.replace))
    return kept(value, **changes)


def _made(kind: Callable[..., _T], values: dict[str, object]) -> _T | Exception:
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        return error.with_traceback(None)
