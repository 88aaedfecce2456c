"""The demo's weather as data: a script for the emulator, a policy that fits its short-lived tokens, and when is what.

Every length follows from the lifetime of a token. A fault window lasts as long as a token can go without renewal, and
a margin, so that a renewal surely falls into it; a recovery lasts as long as the policy may wait afterwards, and a
margin. The longest lifetime whose story fits into the given seconds is taken, and calm weather fills up what is left.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from evertoken import Policy
from evertoken.testing import ApiBehaviour, Phase, Script, TokenBehaviour, TokenFault

SLACK = 0.5
"""Seconds added to whatever has to happen within a span, for machines that are busy with something else."""

LONGEST_LIFETIME = 4
SHORTEST_LIFETIME = 2
"""A token that lives a second leaves no room for a call that takes its time."""
MOST_THREADS = 64
MOST_SECONDS = 3_600
RETRY_AFTER = 1
"""Seconds: the shortest wait, apart from none, that the header can state."""

_BEFORE, _AFTER = 0.02, 0.05
"""Seconds that the token endpoint takes before and after a token is issued. Two requests at once would overlap."""
_API = ApiBehaviour(latency=0.01)
_STEP = 8
"""Spans are whole eighths of a second."""


class StoryError(ValueError):
    """There is no such story; the text says what to change."""


@enum.unique
class Weather(enum.Enum):
    """What a span of the story is about. The value is the name by which people choose it."""

    FAIR = "fair"
    OUTAGE = "outage"
    RATE_LIMIT = "rate-limit"
    REVOKED = "revoked"
    LOCK = "lock"
    RECOVERY = "recovery"


TROUBLES = (Weather.OUTAGE, Weather.RATE_LIMIT, Weather.REVOKED, Weather.LOCK)
"""The chapters that can be chosen, in the order of the whole story."""

FAULTS = {
    Weather.OUTAGE: TokenFault.SERVER_ERROR,
    Weather.RATE_LIMIT: TokenFault.RATE_LIMITED_RETRY_AFTER,
    Weather.LOCK: TokenFault.LOCKED,
}
"""What the token endpoint answers in the chapters that close it."""


class Span(NamedTuple):
    """A stretch of the story, in seconds since its start: ``at <= time < until``."""

    at: float
    until: float
    weather: Weather


@dataclass(frozen=True, slots=True)
class Story:
    """One demo, whole: who calls, what the weather is, and the policy that the callers' machine runs by."""

    threads: int
    lifetime: int
    policy: Policy
    spans: tuple[Span, ...]

    @property
    def seconds(self) -> float:
        """How long the story takes."""
        return self.spans[-1].until

    @property
    def patience(self) -> float:
        """Seconds that a call waits for a token. Longer than any outage here, so that only a lock fails a call."""
        return self.policy.request_timeout + max(span.until - span.at for span in self.spans) + self.policy.retry_cap

    @property
    def troubles(self) -> tuple[Weather, ...]:
        """The chapters in which something goes wrong, in order."""
        return tuple(span.weather for span in self.spans if span.weather in TROUBLES)

    @property
    def revocations(self) -> tuple[float, ...]:
        """When every token issued before is revoked."""
        return tuple(span.at for span in self.spans_of(Weather.REVOKED))

    @property
    def leeway(self) -> float:
        """Seconds before its expiry from which a token is no longer handed out."""
        return min(self.policy.leeway, self.policy.leeway_share * self.lifetime)

    @property
    def earliest_due(self) -> float:
        """Seconds from the start of a token request to the earliest moment at which the policy starts the next one."""
        return latest_due(self.policy, self.lifetime) - self.policy.refresh_jitter_share * self.lifetime

    @property
    def script(self) -> Script:
        """The script by which the emulator plays this story."""
        phases = [
            Phase(at=span.at, until=span.until, token=_faulty(fault))
            for span in self.spans
            if (fault := FAULTS.get(span.weather)) is not None
        ]
        return Script(
            lifetime=self.lifetime,
            token=TokenBehaviour(latency_before=_BEFORE, latency_after=_AFTER),
            api=_API,
            phases=tuple(phases),
            revocations=self.revocations,
        )

    def spans_of(self, weather: Weather) -> tuple[Span, ...]:
        """The spans of that weather."""
        return tuple(span for span in self.spans if span.weather is weather)

    def span_at(self, elapsed: float) -> Span:
        """The span that holds ``elapsed``; after the end, the last one."""
        return next((span for span in self.spans if span.at <= elapsed < span.until), self.spans[-1])

    def tokens_needed(self, elapsed: float) -> int:
        """The most tokens that a client without a fault needs up to ``elapsed``, since each lasts ``earliest_due``.

        One when fair weather begins, or the token in hand is revoked, and one more each time it falls due.
        """
        stretches = [(at, min(until, elapsed)) for at, until in self._fair_stretches() if at <= elapsed]
        return sum(1 + int((until - at) / self.earliest_due) for at, until in stretches)

    def _fair_stretches(self) -> list[tuple[float, float]]:
        """Stretches in which the token endpoint is fine and no token is revoked.

        Spans that follow each other in fair weather are one stretch; a revocation begins another. The last stretch has
        no end, since calls may last longer than the story.
        """
        stretches: list[tuple[float, float]] = []
        for span in self.spans:
            if span.weather in FAULTS:
                continue
            if stretches and stretches[-1][1] == span.at and span.weather is not Weather.REVOKED:
                stretches[-1] = (stretches[-1][0], span.until)
            else:
                stretches.append((span.at, span.until))
        stretches[-1] = (stretches[-1][0], math.inf)
        return stretches

    def longest_wait(self, weather: Weather) -> float:
        """The longest that the policy stays away after one answer of that kind, in seconds."""
        policy = self.policy
        spread = min(policy.wait_spread, policy.wait_spread_share * RETRY_AFTER)
        waits = {
            Weather.OUTAGE: policy.retry_cap,
            Weather.RATE_LIMIT: max(RETRY_AFTER + spread, policy.retry_cap),
            Weather.LOCK: policy.locked_wait,
        }
        return waits.get(weather, 0.0)

    def attempts_allowed(self, seconds: float) -> int:
        """The most token requests that back-off and budget allow in ``seconds`` in which each of them fails."""
        policy, attempts, wait = self.policy, 0, 0.0
        while wait <= seconds:
            attempts += 1
            wait += min(policy.retry_cap, policy.retry_base * 2.0 ** (attempts - 1)) / 2
        refills = 1 + int(seconds / max(policy.budget_interval_floor, min(policy.budget_interval, self.lifetime / 2)))
        return min(attempts, policy.budget_burst + refills)


def chapters(names: str | None) -> tuple[Weather, ...]:
    """The chapters that ``names``, joined by commas, stand for; all of them for None.

    Raises:
        StoryError: one is unknown.
    """
    if names is None:
        return TROUBLES
    known = {weather.value: weather for weather in TROUBLES}
    for name in names.split(","):
        if name not in known:
            raise StoryError(f"--chapters: {name!r} is not one of {', '.join(known)}")
    return tuple(known[name] for name in names.split(","))


def tell(seconds: float, threads: int, troubles: Sequence[Weather] = TROUBLES) -> Story:
    """The story of about ``seconds`` with these chapters.

    Raises:
        StoryError: it would not fit, or a number makes no sense.
    """
    if not 1 <= threads <= MOST_THREADS:
        raise StoryError(f"--threads must be from 1 to {MOST_THREADS}, not {threads}")
    if not 0 < seconds <= MOST_SECONDS:
        raise StoryError(f"--seconds must be above 0 and at most {MOST_SECONDS}, not {seconds:g}")
    for lifetime in range(LONGEST_LIFETIME, SHORTEST_LIFETIME - 1, -1):
        story = _fitted(threads, lifetime, troubles, seconds)
        if story is not None:
            return story
    least = _shortest(SHORTEST_LIFETIME, troubles)
    raise StoryError(f"--seconds must be at least {least:g} for these chapters, not {seconds:g}")


def latest_due(policy: Policy, lifetime: float) -> float:
    """Seconds from the start of a token request to the moment at which the next one is due, without jitter."""
    return lifetime - min(policy.refresh_before, policy.refresh_before_share * lifetime)


def _policy_for(lifetime: int) -> Policy:
    """The default policy with its seconds shrunk for tokens that live only a few.

    The shares are larger than the default ones, since calls take as long as ever.
    """
    shares = Policy(refresh_before_share=0.45, leeway_share=0.2)
    return Policy(
        refresh_before_share=shares.refresh_before_share,
        leeway_share=shares.leeway_share,
        request_timeout=2.0,
        retry_base=lifetime / 16,
        retry_cap=lifetime / 4,
        # This is as long as the lock itself, so that only one request meets it.
        locked_wait=_rounded(latest_due(shares, lifetime) + SLACK),
        rate_limited_wait=lifetime / 8,
        budget_interval=lifetime / 2,
        budget_interval_floor=lifetime / 2,
        rejection_interval=float(lifetime),
    )


def _fitted(threads: int, lifetime: int, troubles: Sequence[Weather], seconds: float) -> Story | None:
    spare = seconds - _shortest(lifetime, troubles)
    if spare < 0:
        return None
    before, after = spare / 2, spare / 2
    return Story(threads, lifetime, _policy_for(lifetime), _spans(lifetime, troubles, before, after))


def _shortest(lifetime: int, troubles: Sequence[Weather]) -> float:
    return _spans(lifetime, troubles, 0.0, 0.0)[-1].until


def _spans(lifetime: int, troubles: Sequence[Weather], before: float, after: float) -> tuple[Span, ...]:
    policy = _policy_for(lifetime)
    draft = Story(1, lifetime, policy, (Span(0.0, 0.0, Weather.FAIR),))
    window = _rounded(latest_due(policy, lifetime) + SLACK)
    lengths: list[tuple[Weather, float]] = [(Weather.FAIR, window + before)]
    for weather in troubles:
        lengths += _chapter(draft, weather, window)
    lengths.append((Weather.FAIR if not troubles else Weather.RECOVERY, SLACK + after))
    return _laid_out(lengths)


def _chapter(draft: Story, weather: Weather, window: float) -> list[tuple[Weather, float]]:
    if weather is Weather.REVOKED:
        return [(weather, _rounded(SLACK + draft.lifetime / 8))]
    extra = draft.lifetime / 4 if weather is Weather.OUTAGE else 0.0
    return [(weather, window + extra), (Weather.RECOVERY, _rounded(draft.longest_wait(weather) + SLACK))]


def _laid_out(lengths: Sequence[tuple[Weather, float]]) -> tuple[Span, ...]:
    spans: list[Span] = []
    at = 0.0
    for weather, length in lengths:
        if spans and spans[-1].weather is weather is Weather.RECOVERY:
            spans[-1] = spans[-1]._replace(until=at + length)
        else:
            spans.append(Span(at, at + length, weather))
        at += length
    return tuple(spans)


def _rounded(seconds: float) -> float:
    return math.ceil(seconds * _STEP) / _STEP


def _faulty(fault: TokenFault) -> TokenBehaviour:
    stated = RETRY_AFTER if fault is TokenFault.RATE_LIMITED_RETRY_AFTER else None
    return TokenBehaviour(fault=fault, latency_before=_BEFORE, latency_after=_AFTER, retry_after=stated)
