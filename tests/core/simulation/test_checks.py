"""The checks that only a wrong machine sets off, each set off by hand: a law that nothing can break is no law."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from evertoken import BlockKind, Challenge, Ignored, Policy, Rejection, State
from evertoken._grammar import AnswerReceived, CredentialsReplaced, Input, RequestClaimed, TokenRejected
from evertoken._shared_problems import REPORTED
from evertoken._states import Block, first_state
from evertoken._step import step
from evertoken.happenings import EndpointBlocked, Happening, RejectionJudged, RequestEnded, RequestStarted
from evertoken.outcomes import Blocked, Failed, Granted
from evertoken.testing import broken_by
from evertoken.testing._explorer import SMALL_POLICY
from evertoken.testing._restart import Restart, restarted
from evertoken.testing.laws._restart_laws import broken_by_restart
from evertoken.testing.world._bystanders import DrawCheck, FairCheck, FlightCheck
from evertoken.testing.world._checks import SITUATIONS, Checks, LawBroken
from evertoken.testing.world._scenario import Scenario
from tests.kits.driving import LOCKED, attempt, bearer, machine, serve

POLICY = SMALL_POLICY
REPORT = REPORTED[BlockKind.LOCKED]


def after(*inputs: object) -> State:
    """The state after these inputs, from nothing."""
    state = first_state(POLICY)
    for happened in inputs:
        state, _ = step(POLICY, state, happened)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    return state


BLOCK = Block(BlockKind.LOCKED, 9.0, 1.0, 1, REPORT, 9.0)
CLAIMED = after(RequestClaimed(0.0, 0.0))
HELD = after(RequestClaimed(0.0, 0.0), AnswerReceived(0.0, 1, Granted("token#1", 8.0)))
REFUSAL = Blocked(BlockKind.REFUSED, REPORT)


def test_a_stale_refusal_that_blocks_breaks_a_law() -> None:
    before = after(RequestClaimed(0.0, 0.0), CredentialsReplaced(0.0))
    happened = AnswerReceived(0.0, 1, REFUSAL)
    closed = step(POLICY, before, happened)[0]._replace(blocks=(BLOCK,))
    assert "a refusal of credentials that have been replaced since changes nothing" in broken_by(
        POLICY, before, happened, closed
    )


def test_a_due_token_whose_rejection_is_charged_breaks_a_law() -> None:
    happened = TokenRejected(6.2, "Bearer token#1", Challenge.TOKEN)
    dropped, _ = step(POLICY, HELD, happened)
    assert not broken_by(POLICY, HELD, happened, dropped)
    charged = dropped._replace(rejections=dropped.rejections._replace(believed=1))
    assert "a token that was due for renewal is dropped without charging the interval" in broken_by(
        POLICY, HELD, happened, charged
    )


# What a step tells
# -----------------

Told = tuple[Happening, ...]
UNTOLD: dict[str, tuple[State, Input, Callable[[Told], Told]]] = {
    "the end of a request is told once: when it is lost, and when it is answered": (
        CLAIMED,
        CredentialsReplaced(30.0),
        lambda told: told[1:],
    ),
    "the start of a request is told, and of nothing else": (
        HELD,
        CredentialsReplaced(0.0),
        lambda told: (RequestStarted(7), *told),
    ),
    "a verdict says whether the token was dropped": (
        HELD,
        TokenRejected(6.2, "Bearer token#1", Challenge.TOKEN),
        lambda _: (RejectionJudged(Rejection.KEPT),),
    ),
    "an outcome says whether a token was taken": (
        CLAIMED,
        AnswerReceived(0.0, 1, Granted("token#1", 8.0)),
        lambda _: (RequestEnded(1, Ignored()),),
    ),
    "a failure is told when it is counted, with the problem that is told from then on": (
        after(RequestClaimed(0.0, 0.0), RequestClaimed(9.0, 0.0)),
        AnswerReceived(9.0, 1, Failed(REPORT)),
        lambda _: (RequestEnded(1, Failed(REPORT)),),
    ),
    "a block is told when it begins and when it ends, and not in between": (
        CLAIMED,
        AnswerReceived(0.0, 1, REFUSAL),
        lambda told: told[1:],
    ),
}


@pytest.mark.parametrize("law", UNTOLD)
def test_a_step_that_tells_something_else_than_it_did_breaks_a_law(law: str) -> None:
    before, happened, lie = UNTOLD[law]
    state, told = step(POLICY, before, happened)
    assert not broken_by(POLICY, before, happened, state, told)
    assert law in broken_by(POLICY, before, happened, state, lie(told))


def test_a_block_that_is_told_and_does_not_stand_breaks_a_law() -> None:
    happened = CredentialsReplaced(0.0)
    state, told = step(POLICY, HELD, happened)
    lie = (EndpointBlocked(BlockKind.LOCKED, 9.0, REPORT), *told)
    assert broken_by(POLICY, HELD, happened, state, lie) == [
        "a block is told when it begins and when it ends, and not in between"
    ]


# Restarts
# --------


def _known() -> State:
    m = machine()
    serve(m, 0, 0, 2_000)
    m.token_rejected(80, bearer(), Challenge.TOKEN)
    serve(m, 80, 1)
    attempt(m, 370, LOCKED)
    return m.state_value


KNOWN = _known()
RESTART = Restart(KNOWN.now, 5.0, 10.0, secrets=True)
KEPT = restarted(machine().policy, KNOWN, RESTART)
FORGOTTEN: dict[str, State] = {
    "a block stands over a restart": KEPT._replace(blocks=()),
    "a back-off goes on over a restart": KEPT._replace(backoff=KEPT.backoff._replace(failures=9)),
    "no budget is refunded by a restart": KEPT._replace(budget=KEPT.budget._replace(level=10)),
    "what was counted and told before a restart counts and is told after it": KEPT._replace(
        credentials=KEPT.credentials._replace(generation=9)
    ),
    "rejections are remembered over a restart": KEPT._replace(rejections=KEPT.rejections._replace(dropped=())),
    "a token is as old after a restart as before it, and gone where the snapshot holds no secrets": KEPT._replace(
        token=None
    ),
}


def test_a_restart_that_keeps_everything_breaks_no_law() -> None:
    assert broken_by_restart(machine().policy, KNOWN, RESTART, KEPT) == []


@pytest.mark.parametrize("law", FORGOTTEN)
def test_whatever_a_restart_forgets_breaks_a_law(law: str) -> None:
    assert broken_by_restart(machine().policy, KNOWN, RESTART, FORGOTTEN[law]) == [law]


# What a world checks beside the laws
# -----------------------------------


def _never(*_: object) -> bool:
    return False


GRANTED = AnswerReceived(0.0, 1, Granted("token#1", 8.0))
ASIDE: dict[str, tuple[type, str]] = {
    "at most one request is in flight": (FlightCheck, "step"),
    "who was told the same moment does not come back at the same moment": (DrawCheck, "answer"),
    "in fair weather there is one request for each token, and nobody waits but for the first": (FairCheck, "step"),
}


@pytest.mark.parametrize("law", ASIDE)
def test_what_a_bystander_sees_stops_the_run(law: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, method = ASIDE[law]
    monkeypatch.setattr(kind, method, _never)
    with pytest.raises(LawBroken) as caught:
        _checked(Checks(Scenario(seed=1)))
    assert caught.value.broken.law == law


def _checked(checks: Checks) -> None:
    checks.step(0, POLICY, after(RequestClaimed(0.0, 0.0)), GRANTED, HELD)


def test_a_step_that_breaks_a_law_stops_the_run() -> None:
    with pytest.raises(LawBroken):
        Checks(Scenario(seed=1)).step(0, POLICY, after(RequestClaimed(0.0, 0.0)), GRANTED, first_state(POLICY))


def test_a_restart_that_forgets_stops_the_run() -> None:
    checks = Checks(Scenario(seed=1))
    checks.restarted(0, machine().policy, KNOWN, RESTART, KEPT)
    with pytest.raises(LawBroken, match="a block stands over a restart"):
        checks.restarted(0, machine().policy, KNOWN, RESTART, KEPT._replace(blocks=()))


def test_a_token_that_goes_by_an_answer_has_no_draw_to_look_at() -> None:
    failed = AnswerReceived(0.0, 1, Failed(REPORT))
    assert DrawCheck().answer(POLICY, HELD, failed, HELD._replace(token=None))


@pytest.mark.parametrize(("spread", "is_right"), [(0.0, False), (1.0, True)])
def test_a_fleet_that_is_told_the_same_wait_has_to_come_back_at_many_moments(spread: float, is_right: bool) -> None:
    policy, check = Policy(), DrawCheck()
    limited = AnswerReceived(0.0, 1, Blocked(BlockKind.RATE_LIMITED, REPORT, 60.0))
    seen = set[bool]()
    for n in range(100):
        until = 60.0 + spread * (n % 2) * min(policy.wait_spread, policy.wait_spread_share * 60.0)
        block = Block(BlockKind.RATE_LIMITED, until, 0.0, 1, REPORT, until)
        seen.add(check.answer(policy, CLAIMED, limited, CLAIMED._replace(blocks=(block,))))
    assert seen == ({True} if is_right else {True, False})


def test_each_situation_is_named_once() -> None:
    assert len(SITUATIONS) == len(set(SITUATIONS))
