"""What a long run looked like, in little memory: bands of what lasted, marks for what happened.

Both have a resolution. Whatever lasted longer is kept to the nanosecond; what is shorter is merged with its neighbours,
and the share of each is kept. So the size of a picture follows from its width, not from the length of the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Span:
    """A stretch from ``start`` to ``end``, in nanoseconds, for ``shares[key]`` of which the band was ``key``.

    With one share the band was that all the time. With several, ``runs`` stretches took turns too quickly to be drawn.
    """

    start: int
    end: int
    shares: dict[str, int]
    runs: int = 1


class Band:
    """Something that is always in one of a few states, named by strings; ``""`` is for nothing to tell.

    Args:
        resolution: nanoseconds; what lasts less is merged.
    """

    __slots__ = ("_key", "_resolution", "_since", "end", "merged", "spans")

    def __init__(self, resolution: int) -> None:
        self.spans: list[Span] = []
        self.merged = 0
        """How many stretches are parts of a merged span."""
        self.end = 0
        self._resolution = resolution
        self._key = ""
        self._since = 0

    def extend(self, end: int, key: str) -> None:
        """From where the band ended until ``end`` it was ``key``. What lies behind its end changes nothing."""
        if end <= self.end:
            return
        if key != self._key:
            self._close()
            self._key = key
        self.end = end

    def finish(self) -> Sequence[Span]:
        """The spans, from 0 to the end, one after another."""
        self._close()
        return self.spans

    def _close(self) -> None:
        start, end = self._since, self.end
        self._since = end
        if start == end:
            return
        last = self.spans[-1] if self.spans else None
        if last is None or not self._belongs_to(last, end - start):
            self.spans.append(Span(start, end, {self._key: end - start}))
            return
        self.merged += 1 if last.runs > 1 else 2
        last.end = end
        last.shares[self._key] = last.shares.get(self._key, 0) + end - start
        last.runs += 1

    def _belongs_to(self, last: Span, length: int) -> bool:
        return length < self._resolution and last.end - last.start < self._resolution


@dataclass(slots=True)
class Mark:
    """Something that happened ``count`` times from ``start`` to ``end``, in nanoseconds; ``notes`` counts by note."""

    start: int
    end: int
    notes: dict[str, int] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How often it happened."""
        return sum(self.notes.values())


class Marks:
    """What happened, by kind. Of one kind, what happens within the resolution of the first is one mark."""

    __slots__ = ("_resolution", "by_kind")

    def __init__(self, resolution: int) -> None:
        self.by_kind: dict[str, list[Mark]] = {}
        self._resolution = resolution

    def add(self, time: int, kind: str, note: str) -> None:
        """At ``time``, never before what came earlier, ``kind`` happened. ``note`` is one of a few texts or empty."""
        marks = self.by_kind.setdefault(kind, [])
        if not marks or time - marks[-1].start >= self._resolution:
            marks.append(Mark(time, time))
        mark = marks[-1]
        mark.end = time
        mark.notes[note] = mark.notes.get(note, 0) + 1
