"""What the server counts: calls per rate limit window, and token requests for the overuse rule."""

from __future__ import annotations

import hashlib
import math
from collections import deque

from evertoken.testing._script import MANGOPAY_RATE_LIMITS, Overuse, RateLimit

__all__ = ("OveruseMeter", "RateMeter", "WorkMeter")


class RateMeter:
    """Calls per window. The windows are fixed ones that follow each other from ``start``; Mangopay's slide.

    Every call counts in every window, so a window's count is the total less what the total was when it began. That, the
    total at which it is full, and when it ends change only where a window ends.
    """

    __slots__ = ("_began", "_end", "_ends", "_full", "_limits", "_most", "_start", "_total")

    def __init__(self, limits: tuple[RateLimit, ...], start: float) -> None:
        self._limits = limits
        self._start = start
        self._total = 0
        self._began = [0] * len(limits)
        self._ends = [limit.seconds for limit in limits]
        self._settle()

    def _settle(self) -> None:
        self._full = [begin + limit.calls for begin, limit in zip(self._began, self._limits, strict=True)]
        self._most = min(self._full, default=math.inf)
        self._end = min(self._ends, default=math.inf)

    def copy(self) -> RateMeter:
        """An independent meter with the same counts."""
        twin = RateMeter(self._limits, self._start)
        twin._total = self._total
        twin._began = self._began.copy()
        twin._ends = self._ends.copy()
        twin._settle()
        return twin

    def count(self, now: float) -> bool:
        """Count one call; whether it is within every limit."""
        if now - self._start >= self._end:
            self._turn(now - self._start)
        self._total += 1
        return self._total <= self._most

    def _turn(self, elapsed: float) -> None:
        for index, limit in enumerate(self._limits):
            if elapsed >= self._ends[index]:
                self._began[index] = self._total
                self._ends[index] = (int(elapsed // limit.seconds) + 1) * limit.seconds
        self._settle()

    def headers(self, wall: float | None, *, exhausted: int | None = None) -> tuple[tuple[str, str], ...]:
        """Mangopay's three header lines, one value per window; no X-RateLimit-Reset where ``wall`` is None.

        ``wall`` is the Unix time of ``start``. With ``exhausted``, the first window is used up until that Unix time;
        where there are no windows, it is the first of Mangopay's.
        """
        if not self._limits:
            return () if exhausted is None else RateMeter(MANGOPAY_RATE_LIMITS, 0).headers(wall, exhausted=exhausted)
        total = self._total
        made = [total - begin for begin in self._began]
        left = [full - total for full in self._full]
        if total > self._most:
            left = [max(0, calls) for calls in left]
        resets = None if wall is None else [int(wall + end) for end in self._ends]
        if exhausted is not None and resets is not None:
            made[0], left[0], resets[0] = self._limits[0].calls, 0, exhausted
        lines = (("X-RateLimit", _joined(made)), ("X-RateLimit-Remaining", _joined(left)))
        return lines if resets is None else (*lines, ("X-RateLimit-Reset", _joined(resets)))


def _joined(values: list[int]) -> str:
    return ", ".join(map(str, values))


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
        """Count one token request; whether it finds, or makes, the account locked."""
        rule = self._rule
        if now < self.locked_until:
            if rule is not None and rule.extends:
                self.locked_until = max(self.locked_until, now + rule.lock_seconds)
            return True
        return rule is not None and self._count(rule, self._requests, rule.requests, now)

    def refusal(self, now: float) -> bool:
        """Count one refused token request; whether it makes the account locked."""
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
