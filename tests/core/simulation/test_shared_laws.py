"""The laws about answers that a shared store gives: they hold, and a step that is made otherwise breaks one."""

from __future__ import annotations

import pytest

from evertoken import BlockKind, Problem, ProblemKind, Seen, State
from evertoken._grammar import AnswerReceived, BlockReported, Input, RequestClaimed
from evertoken._states import first_state
from evertoken._step import settle, step
from evertoken.outcomes import Blocked, Failed, Granted, Postponed
from evertoken.testing import SMALL_POLICY, broken_by, broken_in

PROBLEM = Problem(ProblemKind.POSTPONED, "Another process is asking")
LOCKED = Blocked(BlockKind.LOCKED, Problem(ProblemKind.LOCKED, "Locked out"))
BUSY = Failed(Problem(ProblemKind.SERVER, "The server cannot serve now"))


def after(*inputs: Input) -> State:
    state = settle(SMALL_POLICY, first_state(SMALL_POLICY), 0.0)
    for happened in inputs:
        state, _ = step(SMALL_POLICY, state, happened)
    return state


def broken(before: State, happened: Input, wrong: State | None = None) -> list[str]:
    """The laws that are broken by the step, or by ``wrong`` in the place of what it leads to."""
    right, told = step(SMALL_POLICY, before, happened)
    return broken_by(SMALL_POLICY, before, happened, right if wrong is None else wrong, told if wrong is None else None)


HELD = after(
    RequestClaimed(0.0, 0.0, tiers=1),
    AnswerReceived(0.0, 1, Granted("token#1", 8.0)),
    RequestClaimed(6.0, 0.0, tiers=1),
)
LOOKING = after(
    RequestClaimed(0.0, 0.0, tiers=1),
    AnswerReceived(0.0, 1, LOCKED, Seen(0.0, look_at=1.0, ends=6.0)),
    RequestClaimed(1.0, 0.0, tiers=1),
)


def test_a_refresh_that_is_postponed_while_the_token_is_good_is_due_later_and_nothing_else() -> None:
    postponed = AnswerReceived(6.0, 2, Postponed(6.5, PROBLEM))
    assert not broken(HELD, postponed)
    right, _ = step(SMALL_POLICY, HELD, postponed)
    for wrong in (
        right._replace(problem=PROBLEM),
        right._replace(token=HELD.token),
        right._replace(backoff=right.backoff._replace(retry_at=7.0)),
    ):
        assert broken(HELD, postponed, wrong)


def test_a_failure_that_a_store_has_let_happen_ends_what_was_known() -> None:
    failed = AnswerReceived(1.0, 2, BUSY, Seen(1.0, look_at=2.0))
    assert not broken(LOOKING, failed)
    right, _ = step(SMALL_POLICY, LOOKING, failed)
    assert right.standing == ()
    assert any("known blocks" in law for law in broken(LOOKING, failed, right._replace(blocks=LOOKING.blocks)))


def test_a_report_during_the_wait_for_a_refusal_that_was_asked_for_later_is_known_by_the_refusal() -> None:
    waiting = after(RequestClaimed(0.0, 0.0, tiers=1), BlockReported(0.5, BlockKind.LOCKED, None, 0.0, tiers=1))
    refused = AnswerReceived(2.0, 1, LOCKED, Seen(1.0, look_at=3.0, ends=8.0))
    assert not broken(waiting, refused)
    state, _ = step(SMALL_POLICY, waiting, refused)
    (block,) = state.standing
    assert (block.found, block.until, block.problem) == (1.0, 8.0, LOCKED.problem)


def test_a_block_is_looked_at_before_it_ends_if_at_all() -> None:
    (block,) = LOOKING.blocks
    wrong = LOOKING._replace(blocks=(block._replace(look_at=7.0),))
    assert any("looked at before" in law for law in broken_in(SMALL_POLICY, wrong, 1.0))


def test_the_state_stays_blocked_during_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not broken_in(SMALL_POLICY, LOOKING, 1.5)
    monkeypatch.setattr(State, "is_look", False)
    assert any("while a store is looked at" in law for law in broken_in(SMALL_POLICY, LOOKING, 1.5))
