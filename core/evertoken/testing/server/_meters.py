"""What the server counts: calls per rate limit window, and token requests for the overuse rule."""

from __future__ import annotations

import hashlib
import math
from collections import deque
from typing import NamedTuple

from evertoken.testing.server._answers import Lines
from evertoken.testing.server._script import MANGOPAY_RATE_LIMITS, Overuse, RateLimit


class Windows(NamedTuple):
    """The windows of the rate limits as they stand. Immutable: when one of them ends, a new value takes its place."""

    limits: tuple[RateLimit, ...]
    began: tuple[int, ...]
    """How many calls there had been in all when each window began."""
    ends: tuple[int, ...]
    """When each window ends, in seconds since the start."""

    @classmethod
    def opened(cls, limits: tuple[RateLimit, ...]) -> Windows:
        """The windows at the start."""
        return cls(limits, (0,) * len(limits), tuple(limit.seconds for limit in limits))

    def turned(self, elapsed: float, total: int) -> Windows:
        """The windows at ``elapsed`` seconds since the start, where those that have ended begin with ``total``."""
        began, ends = list(self.began), list(self.ends)
        for index, limit in enumerate(self.limits):
            if elapsed >= ends[index]:
                began[index] = total
                ends[index] = (int(elapsed // limit.seconds) + 1) * limit.seconds
        return Windows(self.limits, tuple(began), tuple(ends))

    def lines(self, total: int, wall: float | None, *, exhausted: int | None = None) -> Lines:
        """Mangopay's three header lines after ``total`` calls; no X-RateLimit-Reset where ``wall`` is None.

        ``wall`` is the Unix time of ``start``. With ``exhausted``, the first window is used up until that Unix time;
        for that, a script without windows is given Mangopay's.
        """
        if not self.limits:
            return () if exhausted is None else _MANGOPAY.lines(0, wall, exhausted=exhausted)
        made = [total - begin for begin in self.began]
        left = [max(0, limit.calls - calls) for limit, calls in zip(self.limits, made, strict=True)]
        resets = None if wall is None else [int(wall + end) for end in self.ends]
        if exhausted is not None and resets is not None:
            made[0], left[0], resets[0] = self.limits[0].calls, 0, exhausted
        lines = (("X-RateLimit", _joined(made)), ("X-RateLimit-Remaining", _joined(left)))
        return lines if resets is None else (*lines, ("X-RateLimit-Reset", _joined(resets)))


_MANGOPAY = Windows.opened(MANGOPAY_RATE_LIMITS)


def _joined(values: list[int]) -> str:
    return ", ".join(map(str, values))


class RateMeter:
    """Calls per window. The windows are fixed ones that follow each other from ``start``; Mangopay's slide.

    Every call counts in every window, so a window's count is the total less what the total was when it began. A call is
    compared with two numbers, the total at which the first window is full and the moment at which the next one ends.
    Both change only when a window ends, which keeps a call cheap.
    """

    __slots__ = ("_end", "_most", "_start", "total", "windows")

    def __init__(self, limits: tuple[RateLimit, ...], start: float) -> None:
        self._start = start
        self.total = 0
        self._use(Windows.opened(limits))

    def _use(self, windows: Windows) -> None:
        self.windows = windows
        full = (begin + limit.calls for begin, limit in zip(windows.began, windows.limits, strict=True))
        self._most = min(full, default=math.inf)
        self._end = min(windows.ends, default=math.inf)

    def copy(self) -> RateMeter:
        """An independent meter with the same counts."""
        twin = RateMeter((), self._start)
        twin.total = self.total
        twin._use(self.windows)
        return twin

    def count(self, now: float) -> bool:
        """Count one call, and say whether it is within every limit."""
        elapsed = now - self._start
        if elapsed >= self._end:
            self._use(self.windows.turned(elapsed, self.total))
        self.total += 1
        return self.total <= self._most


class OveruseMeter:
    """Token requests, all and refused, and the lock that too many of them bring about."""

    __slots__ = ("_refused", "_requests", "_rule", "locked_until", "locks")

    def __init__(self, rule: Overuse | None) -> None:
        self._rule = rule
        self._requests: deque[float] = deque()
        self._refused: deque[float] = deque()
        self.locked_until = -math.inf
        self.locks = 0

    def copy(self, rule: Overuse | None) -> OveruseMeter:
        """An independent meter with the same counts and the same lock, under ``rule``."""
        twin = OveruseMeter(rule)
        twin._requests = self._requests.copy()
        twin._refused = self._refused.copy()
        twin.locked_until = self.locked_until
        twin.locks = self.locks
        return twin

    def request(self, now: float) -> bool:
        """Count one token request, and say whether it finds, or makes, the account locked."""
        rule = self._rule
        if now < self.locked_until:
            if rule is not None and rule.extends:
                self.locked_until = max(self.locked_until, now + rule.lock_seconds)
            return True
        return rule is not None and self._count(rule, self._requests, rule.requests, now)

    def refusal(self, now: float) -> bool:
        """Count one refused token request, and say whether it makes the account locked."""
        rule = self._rule
        if rule is None or rule.refused is None:
            return False
        return self._count(rule, self._refused, rule.refused, now)

    def _count(self, rule: Overuse, times: deque[float], most: int, now: float) -> bool:
        times.append(now)
        while times[0] <= now - rule.seconds:
            times.popleft()
        if len(times) <= most:
            return False
        self._requests.clear()
        self._refused.clear()
        self.locked_until = now + rule.lock_seconds
        self.locks += 1
        return True


class WorkMeter:
    """How often each unsafe API call was carried out. Bodies are kept as digests."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, bytes], int] = {}

    def copy(self) -> WorkMeter:
        """An independent meter with the same counts."""
        twin = WorkMeter()
        twin._counts = self._counts.copy()
        return twin

    def count(self, method: str, path: str, body: bytes) -> None:
        """Count one call."""
        key = (method, path, hashlib.sha256(body).digest())
        self._counts[key] = self._counts.get(key, 0) + 1

    def done(self, method: str, path: str, body: bytes) -> int:
        """How often that call was counted."""
        return self._counts.get((method, path, hashlib.sha256(body).digest()), 0)
