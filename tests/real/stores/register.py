"""Whether a history of calls can be explained by one register that does one call at a time.

That is linearizability (Herlihy and Wing, 1990): every call seems to happen at one moment between its beginning and its
end. The search is Wing and Gong's, which tries which call may have been next, with Lowe's memory of what was tried. A
call without an end (its process was killed, or nobody knows what came of it) may have happened at any moment after its
beginning, or never.

A register may be followed by a replica that stands in for it later. What was written since the replica fell behind is
lost then, all of it, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

__all__ = ("Call", "Event", "FallBehind", "TakeOver", "is_linearizable")


class _State(NamedTuple):
    """What stands in the register, and in the replica if that does not follow it any more."""

    stands: bytes | None
    replica: bytes | None = None


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

    def after(self, state: _State) -> _State | None:
        """What becomes of a register in this ``state``; None if it would have told something else than was told."""
        does = self.is_swap and state.stands == self.expected
        after = state._replace(stands=self.value) if does else state
        is_so = self.end is None or (self.found == after.stands and (not self.is_swap or self.done == does))
        return after if is_so else None


@dataclass(frozen=True)
class FallBehind:
    """From some moment between these on, the replica hears of no change."""

    begin: int
    end: int

    def after(self, state: _State) -> _State:
        """What becomes of a register in this ``state``."""
        return state._replace(replica=state.stands)


@dataclass(frozen=True)
class TakeOver:
    """At some moment between these, the replica takes the register's place."""

    begin: int
    end: int

    def after(self, state: _State) -> _State:
        """What becomes of a register in this ``state``."""
        return _State(state.replica)


Event = Call | FallBehind | TakeOver
# The first that has no place yet, those after it that have one, and what has come of it.
_Placed = tuple[int, frozenset[int], _State]


def is_linearizable(history: Sequence[Event], stands: bytes | None = None) -> bool:
    """Whether one register, in which ``stands`` at first, explains all of ``history``."""
    # Loads of which nobody knows anything explain themselves.
    events = [each for each in history if each.end is not None or (isinstance(each, Call) and each.is_swap)]
    return _Search(sorted(events, key=lambda each: each.begin)).succeeds(_State(stands))


class _Search:
    """Depth first, with a stack of its own: histories are longer than Python's."""

    def __init__(self, events: list[Event]) -> None:
        self._events = events
        self._tried = set[_Placed]()

    def succeeds(self, state: _State) -> bool:
        stack = [(0, frozenset[int](), state)]
        while stack:
            first, ahead, now = stack.pop()
            while first in ahead:
                ahead -= {first}
                first += 1
            if all(self._events[at].end is None for at in range(first, len(self._events)) if at not in ahead):
                return True
            if (first, ahead, now) in self._tried:
                continue
            self._tried.add((first, ahead, now))
            idle, others = list[_Placed](), list[_Placed]()
            for at in self._candidates(first, ahead):
                event = self._events[at]
                after = event.after(now)
                if isinstance(event, Call) and after == now:
                    # It may as well come first, since what comes later can come later all the same. If nobody knows
                    # what came of it, it need not come at all.
                    idle += [(first, ahead | {at}, now)] * (event.end is not None)
                elif after is not None:
                    others.append((first, ahead | {at}, after))
            stack += idle[:1] or others
        return False

    def _candidates(self, first: int, ahead: frozenset[int]) -> list[int]:
        """Who may be next: whoever began before the first end of those that are not placed yet."""
        found, soonest = list[int](), float("inf")
        for at in range(first, len(self._events)):
            event = self._events[at]
            if event.begin > soonest:
                break
            if at not in ahead:
                found.append(at)
                soonest = min(soonest, float("inf") if event.end is None else event.end)
        return [at for at in found if self._events[at].begin <= soonest]
