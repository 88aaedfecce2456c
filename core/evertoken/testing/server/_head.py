"""The head of an answer: the header lines that every answer has, put together when somebody reads them.

A simulated client judges most answers by their status and body alone. To make the lines takes as long as all the rest
of an answer, so until somebody reads them a head holds only what they follow from, which is immutable.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, overload

from typing_extensions import override

from evertoken._secrecy import Unpicklable
from evertoken.testing.server._answers import Delivery, Draft, Lines, http_date
from evertoken.testing.server._meters import Windows

_REFERENCE = 1_700_000_000
"""The Unix time of ``start`` in answers that make no sense without a Date, from a server that was told no epoch."""

_CHUNKED: Lines = (("Transfer-Encoding", "chunked"),)


class WallClock(NamedTuple):
    """The server's idea of Unix time."""

    start: float
    epoch: float | None
    """The Unix time at ``now`` 0; None for a server that was not told."""

    def at(self, now: float) -> float:
        """The Unix time at ``now``."""
        return now - self.start + _REFERENCE if self.epoch is None else self.epoch + now


class Head(Unpicklable, Sequence[tuple[str, str]]):
    """The header lines of one answer. A head compares and hashes as the tuple of its lines. The repr shows none."""

    __slots__ = ("_lines", "_parts")

    def __init__(self, draft: Draft, now: float, clock: WallClock, windows: Windows, total: int) -> None:
        self._parts = (draft, now, clock, windows, total)
        self._lines: Lines | None = None

    def lines(self) -> Lines:
        """All lines, in the order in which they are sent."""
        if self._lines is None:
            self._lines = _lines(*self._parts)
        return self._lines

    @override
    def __len__(self) -> int:
        return len(self.lines())

    @override
    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.lines())

    @overload
    def __getitem__(self, index: int) -> tuple[str, str]: ...

    @overload
    def __getitem__(self, index: slice) -> Lines: ...

    @override
    def __getitem__(self, index: int | slice) -> tuple[str, str] | Lines:
        return self.lines()[index]

    @override
    def __eq__(self, other: object) -> bool:
        return self.lines() == (other.lines() if isinstance(other, Head) else other)

    @override
    def __hash__(self) -> int:
        return hash(self.lines())

    @override
    def __repr__(self) -> str:
        return f"<{len(self)} header lines>"


def _lines(draft: Draft, now: float, clock: WallClock, windows: Windows, total: int) -> Lines:
    endless = draft.delivery is Delivery.ENDLESS
    frame = _CHUNKED if endless else (("Content-Length", str(len(draft.body))),)
    dated = draft.dated or clock.epoch is not None
    wall = clock.at(clock.start) if dated else None
    limits = windows.lines(total, wall, exhausted=draft.exhausted) if draft.own else ()
    date = (("Date", http_date(clock.at(now))),) if dated else ()
    return (*draft.headers, *frame, *limits, *date)
