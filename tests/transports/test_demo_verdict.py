"""The verdict: an honest run keeps every promise at any pace, and each way to break one is found in the log."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest

from evertoken.testing import Arrival, AuthorizationKind, Route, TokenFault, TokenTruth
from evertoken_transports.tools._demo.story import FAULTS, Story, Weather, tell
from evertoken_transports.tools._demo.verdict import Finding, Ruling, Verdict, judge
from tests.kits.demo_worlds import simulated

WHOLE = tell(20.0, 8)
SHORT = tell(13.0, 8)

Log = Sequence[Arrival]


@cache
def honest() -> Log:
    return simulated(WHOLE, seed=1, slowness=0.005)


def broken(verdict: Verdict) -> list[str]:
    return [finding.promise for finding in verdict.findings if finding.ruling is Ruling.BROKEN]


def finding(verdict: Verdict, word: str) -> Finding:
    (found,) = [finding for finding in verdict.findings if word in finding.promise]
    return found


def reordered(log: list[Arrival]) -> Log:
    ordered = sorted(log, key=lambda arrival: arrival.now)
    return [arrival._replace(seq=seq) for seq, arrival in enumerate(ordered)]


def first(log: Log, fault: TokenFault) -> Arrival:
    return next(arrival for arrival in log if arrival.fault is fault)


def revoked_call(log: Log) -> Arrival:
    return next(arrival for arrival in log if arrival.token_truth is TokenTruth.REVOKED)


# An honest run
# -------------


@pytest.mark.parametrize("story", [WHOLE, SHORT], ids=["20 s", "13 s"])
@pytest.mark.parametrize("slowness", [0.001, 0.01, 0.03], ids=["quick", "busy", "slow"])
@pytest.mark.parametrize("seed", range(4))
def test_an_honest_run_keeps_every_promise_at_any_pace(story: Story, slowness: float, seed: int) -> None:
    verdict = judge(story, simulated(story, seed, slowness))
    assert verdict.is_kept, [finding for finding in verdict.findings if finding.ruling is not Ruling.KEPT]
    assert len(verdict.findings) == 13


def test_calls_do_fail_while_the_endpoint_is_locked_and_that_is_no_broken_promise() -> None:
    numbers = [int(arrival.request_id.rpartition("-")[2]) for arrival in honest() if arrival.request_id]
    served = len({arrival.request_id for arrival in honest() if arrival.request_id and arrival.status == 200})
    assert served < max(numbers) * WHOLE.threads
    assert finding(judge(WHOLE, honest()), "lost").measured == f"0 of {sum(a.route is Route.API for a in honest())}"


# Each promise, broken
# --------------------


def test_two_token_requests_at_once_are_seen() -> None:
    request = first(honest(), TokenFault.NONE)
    twin = request._replace(now=request.now + 0.001)
    verdict = judge(WHOLE, reordered([*honest(), twin]))
    assert finding(verdict, "in flight").measured == "2"
    assert "token requests in flight at once" in broken(verdict)


def test_a_request_that_is_never_answered_stays_in_flight() -> None:
    hanging = first(honest(), TokenFault.NONE)._replace(answered_at=None)
    log = [hanging if arrival.seq == hanging.seq else arrival for arrival in honest()]
    assert "token requests in flight at once" in broken(judge(WHOLE, log))


def test_a_token_request_that_fair_weather_did_not_need_is_seen() -> None:
    request = first(honest(), TokenFault.NONE)
    extra = [request._replace(now=request.now + 0.2 * n, answered_at=request.now + 0.2 * n + 0.05) for n in (1, 2, 3)]
    assert broken(judge(WHOLE, reordered([*honest(), *extra]))) == ["token requests in fair weather"]


def test_more_attempts_than_back_off_allows_are_seen() -> None:
    failed = first(honest(), FAULTS[Weather.OUTAGE])
    extra = [failed._replace(now=failed.now + 0.06 * n, answered_at=failed.now + 0.06 * n + 0.05) for n in range(1, 10)]
    assert "token requests during the outage" in broken(judge(WHOLE, reordered([*honest(), *extra])))


@pytest.mark.parametrize(
    ("weather", "seconds", "word"),
    [(Weather.RATE_LIMIT, 1.0, "Retry-After"), (Weather.LOCK, WHOLE.policy.locked_wait, "lock")],
)
def test_a_knock_before_the_stated_moment_is_seen_and_one_after_it_is_not(
    weather: Weather, seconds: float, word: str
) -> None:
    closed = first(honest(), FAULTS[weather])
    assert closed.answered_at is not None
    for late, ruling in ((seconds - 0.001, Ruling.BROKEN), (seconds, Ruling.KEPT)):
        moment = closed.answered_at + late
        knock = first(honest(), TokenFault.NONE)._replace(now=moment, answered_at=moment + 0.05)
        others = [a for a in honest() if a.route is not Route.TOKEN or a.now <= closed.now]
        found = [f for f in judge(WHOLE, reordered([*others, knock])).findings if "requests within" in f.promise]
        assert [f.ruling for f in found if f"of a {'429' if word == 'Retry-After' else word}" in f.promise] == [ruling]


@pytest.mark.parametrize(
    "change",
    [
        {"token_truth": TokenTruth.EXPIRED},
        {"token_truth": TokenTruth.UNKNOWN, "token_number": None},
        {"authorization": AuthorizationKind.NONE, "token_truth": None, "token_number": None},
    ],
    ids=["expired", "unknown", "none"],
)
def test_a_call_with_a_token_that_could_not_be_good_is_seen(change: dict[str, Any]) -> None:
    call = next(arrival for arrival in honest() if arrival.route is Route.API)
    log = [call._replace(**change) if arrival.seq == call.seq else arrival for arrival in honest()]
    assert broken(judge(WHOLE, log)) == ["calls with an expired token, or none"]


def test_more_calls_with_the_revoked_token_than_there_are_callers_are_seen() -> None:
    call = revoked_call(honest())
    extra = [call._replace(now=call.now + 0.001 * n) for n in range(1, 9)]
    assert broken(judge(WHOLE, reordered([*honest(), *extra]))) == ["calls with a revoked token (one a thread)"]


def test_a_call_repeated_with_the_token_just_rejected_is_seen() -> None:
    call = revoked_call(honest())
    log = [call._replace(replayed=True) if arrival.seq == call.seq else arrival for arrival in honest()]
    assert broken(judge(WHOLE, log)) == ["calls repeated with the rejected token"]


def test_a_call_that_never_arrived_though_a_token_was_at_hand_is_seen() -> None:
    log = [arrival for arrival in honest() if arrival.request_id != "3-5"]
    verdict = judge(WHOLE, log)
    assert broken(verdict) == ["calls lost while a live token was at hand"]
    assert finding(verdict, "lost").measured.startswith("1 of ")


def test_a_call_that_arrived_and_was_never_served_is_seen_whatever_the_weather() -> None:
    call = revoked_call(honest())
    log = [a for a in honest() if a.request_id != call.request_id or a.seq == call.seq]
    assert broken(judge(WHOLE, log)) == ["calls lost while a live token was at hand"]


def test_a_call_that_met_two_revoked_tokens_was_repeated_as_often_as_promised() -> None:
    call = revoked_call(honest())
    log = [
        a._replace(status=401, token_number=(a.token_number or 0) - 1, token_truth=TokenTruth.REVOKED)
        if a.request_id == call.request_id and a.status == 200
        else a
        for a in honest()
    ]
    again = [a.token_number for a in log if a.request_id == call.request_id]
    assert again == [call.token_number, call.token_number]
    assert broken(judge(WHOLE, log)) == ["calls lost while a live token was at hand"]
    another = [a._replace(token_number=99) if a.request_id == call.request_id and a.seq != call.seq else a for a in log]
    assert not broken(judge(WHOLE, another))


def test_a_caller_that_is_not_served_at_the_end_is_seen() -> None:
    last = max(int(a.request_id.partition("-")[2]) for a in honest() if a.request_id and a.request_id.startswith("3-"))
    log = [a._replace(status=503) if a.request_id == f"3-{last}" else a for a in honest()]
    assert broken(judge(WHOLE, log)) == ["calls lost while a live token was at hand"]


@pytest.mark.parametrize("weather", [Weather.OUTAGE, Weather.RATE_LIMIT, Weather.LOCK])
def test_a_token_that_does_not_come_back_is_seen(weather: Weather) -> None:
    last = [arrival for arrival in honest() if arrival.fault is FAULTS[weather]][-1]
    log = [a for a in honest() if a.route is not Route.TOKEN or a.now <= last.now]
    late = [f for f in judge(WHOLE, log).findings if f.measured == "none came"]
    assert [f.ruling for f in late] == [Ruling.BROKEN] * len(late) != []


def test_a_token_that_comes_back_late_is_seen() -> None:
    last = [arrival for arrival in honest() if arrival.fault is FAULTS[Weather.LOCK]][-1]
    late = WHOLE.longest_wait(Weather.LOCK) + WHOLE.policy.request_timeout + 0.2
    log = [
        a._replace(now=a.now + late, answered_at=(a.answered_at or 0.0) + late)
        if a.route is Route.TOKEN and a.now > last.now
        else a
        for a in honest()
    ]
    assert "a token again after the last lock" in broken(judge(WHOLE, reordered(log)))


# What proves nothing
# -------------------


def test_a_fault_that_met_nobody_leaves_its_promises_untested_and_the_verdict_is_not_kept() -> None:
    log = [arrival for arrival in honest() if arrival.fault is not FAULTS[Weather.LOCK]]
    verdict = judge(WHOLE, log)
    untested = [f.promise for f in verdict.findings if f.ruling is Ruling.UNTESTED]
    assert untested == ["requests within 2.75 s of a lock", "a token again after the last lock"]
    assert not verdict.is_kept
    assert str(verdict) == "11 kept, 2 untested"


def test_an_empty_log_keeps_no_promise() -> None:
    verdict = judge(WHOLE, [])
    assert {finding.ruling for finding in verdict.findings} == {Ruling.UNTESTED}


def test_only_the_chapters_of_the_story_are_judged() -> None:
    story = tell(5.0, 8, [Weather.REVOKED])
    promises = [finding.promise for finding in judge(story, []).findings]
    assert not [promise for promise in promises if "outage" in promise or "429" in promise or "lock" in promise]
    assert len(promises) == 7
