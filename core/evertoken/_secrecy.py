"""For values that hold a secret or a token: they are not written down by accident."""

from __future__ import annotations

from typing import NoReturn, Self, SupportsIndex

__all__ = ("Unpicklable",)


class Unpicklable:
    """An immutable value whose pickle would hold a secret or a token in clear. A copy of it is itself."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(f"{type(self).__name__} cannot be pickled: the pickle would hold a secret or a token in clear")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self
