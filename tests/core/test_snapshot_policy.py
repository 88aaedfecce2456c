"""Snapshots under another policy, or from another hand: no block stands for ever, and no budget grows."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import pytest

from evertoken import BlockKind, HttpResponse, Policy, SendRequest, Snapshot, TokenMachine, Wait
from evertoken._policy import TICK, whole_ticks
from evertoken.testing import SMALL_POLICY, liveness_bound
from tests.kits import canary
from tests.kits.driving import (
    FAILED,
    LIMITED,
    LOCKED,
    MALFORMED,
    REFUSED,
    attempt,
    granted,
    machine,
    sealed,
    seasoned,
    serve,
)

GRANT = canary.grant()
HASTY = Policy(retry_base=1, retry_cap=1)
"""Back-offs so short that nothing but the budget holds a machine back."""
STRICT = replace(HASTY, budget_interval=600, budget_burst=2)
LOOSE = replace(HASTY, budget_interval=2, budget_burst=10)
FAR = 2.0**41


def restored(text: str, now: float, elapsed: float = 0.0, policy: Policy | None = None) -> TokenMachine:
    return TokenMachine.restore(GRANT, Snapshot.from_json(text), now, elapsed, policy=policy, draw=lambda: 0.0)


def exchanges(m: TokenMachine, now: float, end: float, answer: HttpResponse = FAILED) -> list[float]:
    """When requests are started from ``now`` to ``end`` by somebody who never stops asking."""
    started: list[float] = []
    while now < end:
        action = m.poll(now)
        if isinstance(action, Wait):
            now = action.until
        else:
            started.append(now)
            attempt(m, now, answer)
    return started


def started_again(m: TokenMachine, every: int, policy: Policy) -> int:
    """How many requests there are in 1000 seconds in which the machine is restored under ``policy`` again and again."""
    text, count = m.snapshot(0).to_json(), 0
    for now in range(0, 1_000, every):
        m = restored(text, now, policy=policy)
        count += len(exchanges(m, now, now + every))
        text = m.snapshot(now + every).to_json()
    return count


# The budget under another policy
# -------------------------------


@pytest.mark.no_cover
@pytest.mark.parametrize("every", [1_000, 50, 3])
def test_a_stricter_budget_holds_from_the_restart_on(every: int) -> None:
    count = started_again(machine(LOOSE, credentials=GRANT), every, STRICT)
    assert STRICT.budget_burst <= count <= STRICT.budget_burst + 2


@pytest.mark.no_cover
@pytest.mark.parametrize("every", [1_000, 50, 3])
def test_under_the_same_tunables_the_budget_of_short_lived_tokens_goes_on(every: int) -> None:
    m = machine(STRICT, credentials=GRANT)
    serve(m, 0, expires_in=4)
    assert m.state_value.budget.interval == 2
    assert 499 <= started_again(m, every, STRICT) <= 502


def test_under_the_tunables_that_made_it_an_interval_is_kept() -> None:
    m = machine(credentials=GRANT)
    serve(m, 0, expires_in=10)
    assert restored(m.snapshot(0).to_json(), 0).state_value.budget == m.state_value.budget
    assert m.state_value.budget.interval == 5
    other = restored(m.snapshot(0).to_json(), 0, policy=Policy(budget_interval_floor=3))
    assert other.state_value.budget.interval == 60


@pytest.mark.parametrize("interval", [0.0, 1e9])
def test_no_interval_is_outside_of_what_the_policy_could_have_made(interval: float) -> None:
    content = json.loads(machine(credentials=GRANT).snapshot(0).to_json())
    content["budget"]["interval"] = interval
    assert restored(sealed(GRANT, content), 0).state_value.budget.interval == min(max(interval, 2), 60)


@pytest.mark.parametrize("refill_at", [None, FAR])
@pytest.mark.parametrize("policy", [STRICT, Policy()])
def test_restoring_again_and_again_does_not_push_the_next_request_away(refill_at: float | None, policy: Policy) -> None:
    content = json.loads(machine(credentials=GRANT).snapshot(0).to_json())
    content["budget"] |= {"level": 0, "refill_at": refill_at}
    text = sealed(GRANT, content)
    waits = [isinstance(restored(text, 0, elapsed, policy).poll(0), Wait) for elapsed in range(0, 700, 7)]
    assert waits.index(False) == -(-policy.budget_interval // 7)


@pytest.mark.no_cover
def test_two_policies_by_turns_neither_starve_nor_gain() -> None:
    text, counts = machine(STRICT, credentials=GRANT).snapshot(0).to_json(), {LOOSE: 0, STRICT: 0}
    for turn in range(200):
        policy, now = (LOOSE, STRICT)[turn % 2], turn * 10.0
        m = restored(text, now, policy=policy)
        counts[policy] += len(exchanges(m, now, now + 10))
        text = m.snapshot(now + 10).to_json()
    assert 0 < counts[STRICT] <= 200
    assert 100 * 4 < counts[LOOSE] <= 100 * 6


# Waits under another policy
# --------------------------


@pytest.mark.parametrize("answer", [LOCKED, REFUSED, LIMITED, MALFORMED, FAILED])
def test_a_wait_is_no_longer_than_the_policy_could_have_made_it(answer: HttpResponse) -> None:
    m = machine(credentials=GRANT, retry_base=500, retry_cap=5_000, malformed_cap=5_000, rate_limited_wait=4_000)
    attempt(m, 0, answer)
    short = Policy(
        locked_wait=1, locked_wait_cap=16, refused_wait=1, refused_wait_cap=16, doubted_refusal_wait=1,
        rate_limited_wait=1, rate_limited_wait_cap=16, retry_base=1, retry_cap=16, malformed_cap=16,
    )  # fmt: skip
    twin = restored(m.snapshot(0).to_json(), 0, policy=short)
    assert getattr(twin.poll(0), "until", None) == whole_ticks(16 + 1.6)


@pytest.mark.parametrize("kind", [BlockKind.LOCKED, BlockKind.REFUSED, BlockKind.RATE_LIMITED])
def test_the_longest_wait_that_this_policy_makes_is_kept(kind: BlockKind) -> None:
    m = machine(SMALL_POLICY, credentials=GRANT, draw=0.999_999)
    m.endpoint_blocked(1e9 + 0.3, kind, 1e9)
    twin = TokenMachine.restore(GRANT, m.snapshot(1e9 + 0.3), 1e9 + 0.3, policy=SMALL_POLICY, draw=lambda: 0.0)
    assert twin.state_value == m.state_value


def test_a_doubted_refusal_keeps_its_wait_though_it_is_longer_than_the_cap() -> None:
    policy = Policy(refused_wait=10, refused_wait_cap=20, doubted_refusal_wait=300)
    m = machine(policy, credentials=GRANT)
    serve(m, 0)
    attempt(m, 290, REFUSED)
    assert restored(m.snapshot(290).to_json(), 290, policy=policy).state_value == m.state_value._replace(token=None)


def test_a_rate_limit_that_was_lengthened_to_the_back_off_keeps_its_wait_though_it_is_longer_than_the_cap() -> None:
    policy = Policy(rate_limited_wait=5, rate_limited_wait_cap=10, retry_base=100)
    m = machine(policy, credentials=GRANT, draw=0.999_999)
    attempt(m, 0, LIMITED)
    assert m.state_value.unblock_at > 99
    assert restored(m.snapshot(0).to_json(), 0, policy=policy).state_value == m.state_value


def test_rejections_are_not_disbelieved_nor_tokens_shunned_for_longer_than_the_policy_could_have_made_it() -> None:
    content = json.loads(kept())
    content["rejections"]["allowed_at"] = FAR
    content["rejections"]["dropped"] = [{"digest": "0" * 64, "shunned_until": FAR, "forget_at": FAR}]
    policy = Policy(rejection_interval=20, rejection_interval_cap=30, max_lifetime=400)
    rejections = restored(sealed(GRANT, content), 100, 10, policy).state_value.rejections
    assert rejections.allowed_at == 90 + 30
    assert rejections.dropped[0][1:] == (90 + 20, 90 + 400)


def test_what_was_learnt_was_learnt_before_the_snapshot() -> None:
    places = [("backoff", "found"), ("blocks", 0, "found"), ("granted_at",), ("lost", "started"), ("lost", "deadline")]
    m = restored(spoilt(FAR, *places), 100)
    state = m.state_value
    assert state.lost is not None
    assert (state.backoff.found, state.granted_at, state.lost.started) == (100, 100, 100)
    assert state.blocks[0].found == 100 + TICK
    m = restored(spoilt(FAR, *places, secrets=False), 100, 10)
    now = served_at(m, 100)
    assert (m.state_value.blocks, m.explain(now).failures) == ((), 0)


def test_a_token_and_an_attempt_are_no_longer_lived_than_the_policy_allows() -> None:
    m = machine(credentials=GRANT, request_timeout=1_000)
    serve(m, 0, expires_in=50_000)
    m.start_request(49_990)
    policy = Policy(max_lifetime=100, request_timeout=10)
    text = m.snapshot(50_000, secrets=True).to_json()
    twin = restored(text, 50_000, policy=policy)
    assert twin.state_value.token is not None
    assert twin.state_value.token.expires_at == twin.state_value.token.fresh_until == 100
    assert twin.state_value.attempt is None
    assert twin.state_value.lost is not None
    assert twin.state_value.backoff.failures == 1
    m = machine(credentials=GRANT, request_timeout=1_000)
    m.start_request(0)
    attempt = restored(m.snapshot(0).to_json(), 0, policy=policy).state_value.attempt
    assert attempt is not None
    assert attempt.deadline == 10


def moments(value: object, *path: str | int) -> Iterator[tuple[str | int, ...]]:
    """The place of each number with a fraction, or that is null, in a snapshot."""
    if isinstance(value, dict | list):
        pairs = (
            cast("dict[str, object]", value).items()
            if isinstance(value, dict)
            else enumerate(cast("list[object]", value))
        )
        for name, inner in pairs:
            yield from moments(inner, *path, name)
    elif value is None or isinstance(value, float):
        yield path


@functools.cache
def kept() -> str:
    """A snapshot of a machine that has seen all."""
    m = seasoned()
    return m.snapshot(m.state_value.now, secrets=True).to_json()


def spoilt(value: float, *paths: tuple[str | int, ...], secrets: bool = True) -> str:
    """The same with its budget spent, and with another moment at these places."""
    content = json.loads(kept())
    content["budget"]["level"] = 0
    for *path, last in paths:
        place = content
        for name in path:
            place = place[name]
        place[last] = value
    if not secrets:
        content["token"] = None
    return sealed(GRANT, content)


ALONE = list(moments(json.loads(spoilt(0.0))))
TOGETHER = [
    (("token", "started"), ("token", "refresh_at"), ("token", "fresh_until"), ("token", "expires_at")),
    (("attempt", "started"), ("attempt", "deadline")),
    (("lost", "started"), ("lost", "deadline")),
    (("attempt", "started"), ("attempt", "deadline"), ("backoff", "found"), ("blocks", 0, "found"), ("granted_at",)),
]


def served_at(m: TokenMachine, now: float) -> float:
    """When whoever asks from ``now`` on has a token, at an endpoint that gives one to each request."""
    while m.authorization(now) is None:
        action = m.poll(now)
        if isinstance(action, SendRequest):
            attempt(m, now, granted(7))
        else:
            now = action.until
    return now


@pytest.mark.no_cover
@pytest.mark.parametrize("policy", [Policy(), SMALL_POLICY])
@pytest.mark.parametrize("value", [FAR, -FAR, 1e6, -1e6])
@pytest.mark.parametrize("secrets", [False, True])
def test_once_faults_have_ended_there_is_a_token_in_time_whatever_a_snapshot_says(
    value: float, policy: Policy, secrets: bool
) -> None:
    readable = 0
    for group in [*((place,) for place in ALONE), *TOGETHER]:
        try:
            m = restored(spoilt(value, *group, secrets=secrets), 0, policy=policy)
        except ValueError:  # Refused: that is as good.
            continue
        readable += 1
        start = served_at(m, 0)
        assert start <= liveness_bound(policy), group
        token = m.token(start)
        assert token is not None
        assert token.expires_at <= start + policy.max_lifetime + policy.request_timeout
        assert served_at(m, token.fresh_until) <= token.fresh_until + liveness_bound(policy), group
    assert readable > len(ALONE) // 2
