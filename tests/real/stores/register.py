"""Whether a history of calls can be explained by one register that does one call at a time.

That is linearizability (Herlihy and Wing, 1990): every call seems to happen at one moment between its beginning and its
end. The search is Wing and Gong's, which tries which call may have been next, with Lowe's memory of what was tried. A
call without an end (its process was killed, or nobody knows what came of it) may have happened at any moment after its
beginning, or never.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

__all__ = ("Call", "is_linearizable")


@dataclass(frozen=True)
class Call:
    """A load, or a swap of ``expected`` for ``value``. ``end`` is None as long as nobody knows what came of it.

    ``done`` says whether a swap was done, ``found`` what stood there, or stands there now.
    """

    process: str
    begin: int
    end: int | None = None
    expected: bytes | None = None
    value: bytes | None = None
    done: bool | None = None
    found: bytes | None = None
    is_swap: bool = True

    def over(self, end: int, done: bool | None, found: bytes | None) -> Call:
        """The same, and what came of it."""
        return replace(self, end=end, done=done, found=found)

    def as_json(self) -> list[Any]:
        """For one line of text."""
        shown = [None if each is None else each.decode() for each in (self.expected, self.value, self.found)]
        return [self.process, self.begin, self.end, *shown, self.done, self.is_swap]

    @classmethod
    def from_json(cls, said: list[Any]) -> Call:
        """The opposite."""
        process, begin, end, *texts, done, is_swap = said
        expected, value, found = (None if each is None else str(each).encode() for each in texts)
        return cls(process, begin, end, expected, value, done, found, is_swap)

    def moves(self, stands: bytes | None) -> _Move:
        """What a register does in which ``stands``, and whether that is what was told of this call."""
        if not self.is_swap:
            return _Move(stands, self.end is None or self.found == stands)
        does = stands == self.expected
        after = self.value if does else stands
        return _Move(after, self.end is None or (self.done == does and self.found == after))


class _Move(NamedTuple):
    stands: bytes | None
    fits: bool


def is_linearizable(history: Sequence[Call], stands: bytes | None = None) -> bool:
    """Whether one register, in which ``stands`` at first, explains all of ``history``."""
    # Loads of which nobody knows anything explain themselves.
    calls = sorted((call for call in history if call.is_swap or call.end is not None), key=lambda call: call.begin)
    return _Search(calls).succeeds(stands)


class _Search:
    """Depth first, with a stack of its own: histories are longer than Python's."""

    def __init__(self, calls: list[Call]) -> None:
        self._calls = calls
        self._tried: set[tuple[int, frozenset[int], bytes | None]] = set()

    def succeeds(self, stands: bytes | None) -> bool:
        stack = [(0, frozenset[int](), stands)]
        while stack:
            first, ahead, now = stack.pop()
            # ``ahead``: those after the first that is not placed yet which have been placed before it.
            while first in ahead:
                ahead -= {first}
                first += 1
            if all(self._calls[at].end is None for at in range(first, len(self._calls)) if at not in ahead):
                return True
            if (first, ahead, now) in self._tried:
                continue
            self._tried.add((first, ahead, now))
            moves = [(at, self._calls[at].moves(now)) for at in self._candidates(first, ahead)]
            fitting = [(at, move) for at, move in moves if move.fits]
            # What changes nothing may as well come first: whatever comes later can come later all the same.
            idle = [(at, move) for at, move in fitting if move.stands == now and self._calls[at].end is not None]
            changing = [(at, move) for at, move in fitting if move.stands != now]
            stack += [(first, ahead | {at}, move.stands) for at, move in idle[:1] or changing]
        return False

    def _candidates(self, first: int, ahead: frozenset[int]) -> list[int]:
        """Who may be next: whoever began before the first end of those that are not placed yet."""
        found, soonest = list[int](), float("inf")
        for at in range(first, len(self._calls)):
            call = self._calls[at]
            if call.begin > soonest:
                break
            if at not in ahead:
                found.append(at)
                soonest = min(soonest, float("inf") if call.end is None else call.end)
        return [at for at in found if self._calls[at].begin <= soonest]
