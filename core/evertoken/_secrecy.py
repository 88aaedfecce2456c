"""Values that hold a secret or a token, kept out of pickles, serializers of dataclasses, and tracebacks.

Texts, such as what a server said, are kept clean in ``_scrub.py``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn, Self, SupportsIndex, TypeVar, cast

_T = TypeVar("_T")

_TELLTALE = ("__dataclass_fields__", "__dataclass_params__", "__replace__")
"""What others find the fields of a dataclass by, hidden from its repr or not; and a ``__replace__`` that needs them."""


class Unpicklable:
    """The base of values that would show a secret or a token in clear if they were written down by accident.

    ``pickle`` refuses them, and whatever looks for the fields of dataclasses finds none: ``dataclasses.asdict``,
    orjson, pydantic, msgspec. Subclasses are made by ``dataclass(frozen=True, slots=True)`` all the same, and keep the
    methods that it adds. A copy of such a value is the value itself.
    """

    __slots__ = ()
    __match_args__: ClassVar[tuple[str, ...]]

    def __init_subclass__(cls) -> None:
        # For slots, ``dataclass`` makes the class anew, with all that it added to the first one: this runs for both.
        super().__init_subclass__()
        for name in _TELLTALE:
            if name in cls.__dict__:
                delattr(cls, name)

    def __replace__(self, /, **changes: object) -> Self:
        """The same but for ``changes``: for ``copy.replace``, since ``dataclasses.replace`` finds no fields here."""
        made = _made(type(self), {**self._arguments(), **changes})
        del changes  # Error trackers show the local variables of every frame.
        if isinstance(made, Exception):
            raise made
        return made

    def _arguments(self) -> dict[str, object]:
        """The arguments that make another value equal to this one."""
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
    """A text that its repr does not show.

    For local variables of frames that an exception may pass, whose reprs error trackers show.
    """

    __slots__ = ("reveal",)

    reveal: Callable[[], str]

    def __init__(self, text: str) -> None:
        self.reveal = lambda: text


def replace(value: _T, /, **changes: Any) -> _T:  # noqa: ANN401 - of whatever the fields are
    """``value`` with ``changes``: ``copy.replace`` of Python 3.13 for any dataclass, also under an older Python."""
    kept: Callable[..., _T] = getattr(type(value), "__replace__", cast("Callable[..., Any]", dataclasses.replace))
    return kept(value, **changes)


def _made(kind: Callable[..., _T], values: dict[str, object]) -> _T | Exception:
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        return error.with_traceback(None)
