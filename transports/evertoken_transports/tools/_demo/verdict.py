"""The promises, each held against the emulator's arrival log: measured, allowed, kept or broken.

What is allowed follows from the story's policy and script, never from what was measured. All of it is counts and order;
the only durations are waits that the policy bounds, with a whole ``request_timeout`` on top.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from evertoken.testing import Arrival, AuthorizationKind, TokenFault, TokenTruth
from evertoken_transports.tools._demo.evidence import Evidence, answered
from evertoken_transports.tools._demo.story import FAULTS, RETRY_AFTER, Story, Weather


@enum.unique
class Ruling(enum.Enum):
    """What the log says of one promise."""

    KEPT = "kept"
    BROKEN = "broken"
    UNTESTED = "untested"
    """Nothing happened that could have broken the promise, so the log does not say whether it is kept."""


class Finding(NamedTuple):
    """One promise, judged. ``measured`` and ``allowed`` are for people."""

    heading: str
    promise: str
    measured: str
    allowed: str
    ruling: Ruling


class Verdict(NamedTuple):
    """The findings on all promises, in the order in which they are shown."""

    findings: tuple[Finding, ...]

    @property
    def is_kept(self) -> bool:
        """Whether every promise was put to the test and kept."""
        return all(finding.ruling is Ruling.KEPT for finding in self.findings)

    def __str__(self) -> str:
        counts = Counter(finding.ruling for finding in self.findings)
        if self.is_kept:
            return f"All {len(self.findings)} promises kept, by the emulator's own log."
        return ", ".join(f"{counts[ruling]} {ruling.value}" for ruling in Ruling if counts[ruling])


_MANY = "Never too many"
_DOOR = "Never knocks on a closed door"
_LATE = "Never late"


def judge(story: Story, arrivals: Sequence[Arrival]) -> Verdict:
    """The verdict on a story that was played to its end."""
    evidence = Evidence(story, arrivals)
    return Verdict((*_too_many(evidence), *_blocks(evidence), *_bad_tokens(evidence), *_late(evidence)))


def _too_many(evidence: Evidence) -> Iterator[Finding]:
    story = evidence.story
    most = evidence.most_at_once()
    yield _at_most(_MANY, "token requests in flight at once", most, 1, tested=most > 0)
    fair = len(evidence.met(TokenFault.NONE))
    yield _at_most(_MANY, "token requests in fair weather", fair, story.tokens_needed(evidence.end), tested=fair > 0)
    if Weather.OUTAGE in story.troubles:
        failed = len(evidence.met(FAULTS[Weather.OUTAGE]))
        allowed = sum(story.attempts_allowed(span.until - span.at) for span in story.spans_of(Weather.OUTAGE))
        yield _at_most(_MANY, "token requests during the outage", failed, allowed, tested=failed > 0)


def _blocks(evidence: Evidence) -> Iterator[Finding]:
    story = evidence.story
    for weather, seconds, promise in (
        (Weather.RATE_LIMIT, float(RETRY_AFTER), f"requests within Retry-After ({RETRY_AFTER} s) of a 429"),
        (Weather.LOCK, story.policy.locked_wait, f"requests within {story.policy.locked_wait:g} s of a lock"),
    ):
        if weather in story.troubles:
            closed = evidence.met(FAULTS[weather])
            knocks = sum(evidence.requests_within(arrival, seconds) for arrival in closed)
            yield _at_most(_DOOR, promise, knocks, 0, tested=bool(closed))


def _bad_tokens(evidence: Evidence) -> Iterator[Finding]:
    calls = evidence.calls
    bad = sum(
        call.authorization is not AuthorizationKind.BEARER
        or call.token_truth in (TokenTruth.EXPIRED, TokenTruth.UNKNOWN)
        for call in calls
    )
    yield _at_most(_LATE, "calls with an expired token, or none", bad, 0, of=len(calls), tested=bool(calls))
    if Weather.REVOKED not in evidence.story.troubles:
        return
    presented = Counter(call.token_number for call in calls if call.token_truth is TokenTruth.REVOKED)
    most, tested = max(presented.values(), default=0), bool(presented)
    # Each caller has one call under way, and learns from its answer. The others may have signed theirs by then.
    yield _at_most(_LATE, "calls with a revoked token (one a thread)", most, evidence.story.threads, tested=tested)
    replayed = sum(call.replayed for call in calls)
    yield _at_most(_LATE, "calls repeated with the rejected token", replayed, 0, tested=tested)


def _late(evidence: Evidence) -> Iterator[Finding]:
    calls = evidence.calls
    lost = sum(
        missing.was_given_up or evidence.was_token_at_hand(missing.after, missing.before)
        for missing in evidence.missing_calls()
    )
    yield _at_most(_LATE, "calls lost while a live token was at hand", lost, 0, of=len(calls), tested=bool(calls))
    for weather in dict.fromkeys(evidence.story.troubles):
        yield _recovery(evidence, weather)


def _recovery(evidence: Evidence, weather: Weather) -> Finding:
    """The next token comes as soon as the policy's wait is over, and one request has had its time."""
    story = evidence.story
    promise, longest = _RECOVERIES[weather], story.longest_wait(weather) + story.policy.request_timeout
    allowed = f"<= {longest:.2f} s"
    last = _last_setback(evidence, weather)
    if last is None:
        return Finding(_LATE, promise, "-", allowed, Ruling.UNTESTED)
    grant = evidence.next_grant(last.now)
    if grant is None:
        return Finding(_LATE, promise, "none came", allowed, Ruling.BROKEN)
    seconds = answered(grant) - answered(last)
    return Finding(_LATE, promise, f"{seconds:.2f} s", allowed, _ruling(seconds <= longest))


_RECOVERIES = {
    Weather.OUTAGE: "a token again after the last failure",
    Weather.RATE_LIMIT: "a token again after the last 429",
    Weather.REVOKED: "a token again after the first rejection",
    Weather.LOCK: "a token again after the last lock",
}


def _last_setback(evidence: Evidence, weather: Weather) -> Arrival | None:
    if weather is Weather.REVOKED:
        return next((call for call in evidence.calls if call.token_truth is TokenTruth.REVOKED), None)
    return next(iter(reversed(evidence.met(FAULTS[weather]))), None)


def _at_most(
    heading: str, promise: str, measured: int, allowed: int, *, tested: bool, of: int | None = None
) -> Finding:
    ruling = _ruling(measured <= allowed) if tested else Ruling.UNTESTED
    shown = f"{measured}" if of is None else f"{measured} of {of}"
    return Finding(heading, promise, shown, f"<= {allowed}" if allowed else "0", ruling)


def _ruling(is_kept: bool) -> Ruling:  # noqa: FBT001 (it is the only argument)
    return Ruling.KEPT if is_kept else Ruling.BROKEN
