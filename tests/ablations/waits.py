"""Doubles without one of the safeguards about asking: the slot, the budget and the back-off."""

from __future__ import annotations

import pytest

from evertoken import Policy, SendReason, SendRequest, State, TokenMachine, Wait, WaitReason
from evertoken._grammar import AnswerReceived, Input, RequestClaimed
from evertoken._look import due_at, publish
from evertoken._secrecy import replace
from evertoken._shared_problems import LOST
from evertoken._states import Attempt, BackOff, first_state
from evertoken._step import settle
from evertoken.outcomes import Abandoned, Failed, Malformed
from tests.ablations.double import answers, decide, everywhere, polls, replace_step, step, steps, whole_machine

__all__ = ()

# One slot
# --------


@polls("single flight")
def sends_beside_the_first(state: State, min_ttl: float) -> SendRequest | Wait:
    """Whoever wants a token while a request is in flight sends one too."""
    return decide(state._replace(attempt=None), min_ttl)


@polls("progress")
def waits_until_now(state: State, min_ttl: float) -> SendRequest | Wait:
    """At the very moment of a deadline poll says: wait until now."""
    action = decide(state, min_ttl)
    moments = (due_at(state.token, min_ttl), state.backoff.retry_at, state.budget_at, state.unblock_at)
    at_one = isinstance(action, SendRequest) and state.now in moments
    return Wait(state.now, WaitReason.RETRY) if at_one else action


@polls("longest min_ttl")
def honours_every_min_ttl(state: State, min_ttl: float) -> SendRequest | Wait:
    """A min_ttl that no token could satisfy is asked for again and again."""
    action = decide(state, min_ttl)
    if state.token is None or not min_ttl or state.now < state.token.fresh_until - min_ttl:
        return action
    tokenless = decide(state._replace(token=None))
    return SendRequest(SendReason.REFRESH_DUE) if isinstance(tokenless, SendRequest) else action


@whole_machine("quiet_until")
def tells_readers_too_late(patch: pytest.MonkeyPatch) -> None:
    """What lock-free readers compare with is a second late."""

    def published(policy: Policy, state: State) -> tuple[float, str | None]:
        quiet_until, header = publish(policy, state)
        return quiet_until + 1, header

    everywhere(patch, publish, published)


@steps("lost attempts")
def waits_for_ever(policy: Policy, state: State, happened: Input) -> State:
    """An attempt has no deadline: it is in flight until somebody reports what came of it."""
    after = step(policy, state, happened)
    if isinstance(happened, RequestClaimed) and after.attempt is not None:
        return after._replace(attempt=after.attempt._replace(deadline=after.now + 1e8))
    return after


@whole_machine("lost attempts")
def loses_nothing(patch: pytest.MonkeyPatch) -> None:
    """The loss of an attempt frees the slot and counts as nothing."""

    def settled(policy: Policy, state: State, now: float) -> State:
        attempt = state.attempt
        if attempt is not None and attempt.deadline <= now:
            state = state._replace(attempt=None, lost=attempt)
        return settle(policy, state, now)

    def stepped(policy: Policy, state: State, happened: Input) -> State:
        return step(policy, settled(policy, state, happened.now), happened)

    everywhere(patch, settle, settled)
    replace_step(patch, stepped)


# The budget
# ----------


@steps("budget")
def charges_nothing(policy: Policy, state: State, happened: Input) -> State:
    """Requests are not counted."""
    after = step(policy, state, happened)
    return after._replace(budget=first_state(policy).budget)


@steps("budget is never refunded")
def refunds_what_was_abandoned(policy: Policy, state: State, happened: Input) -> State:
    """A request that was given up is given back."""
    after = step(policy, state, happened)
    given_up = isinstance(happened, AnswerReceived) and isinstance(happened.answer, Abandoned)
    if given_up and state.attempt is not None and after.attempt is None:
        level = min(policy.budget_burst, after.budget.level + 1)
        return after._replace(budget=after.budget._replace(level=level))
    return after


@steps("budget floor")
def has_no_floor(policy: Policy, state: State, happened: Input) -> State:
    """The shorter tokens live, the more often the bucket refills, without end."""
    after = step(policy, state, happened)
    if after.token is None or after.token is state.token:
        return after
    return after._replace(budget=after.budget._replace(interval=(after.token.expires_at - after.token.started) / 8))


# Back-off
# --------


@steps("back-off grows")
def never_backs_off_longer(policy: Policy, state: State, happened: Input) -> State:
    """The back-off after the tenth failure is that after the first."""
    settled = settle(policy, state, happened.now)
    if isinstance(happened, AnswerReceived) and isinstance(happened.answer, Failed | Malformed):
        after = step(policy, settled._replace(backoff=settled.backoff._replace(failures=0, malformed=0)), happened)
        counted = step(policy, settled, happened).backoff
        return after._replace(backoff=counted._replace(retry_at=after.backoff.retry_at))
    return step(policy, state, happened)


@answers("malformed answers wait longer", Malformed)
def takes_malformed_for_failed(state: State, attempt: Attempt, received: AnswerReceived) -> State:
    """A 200 that is no token answer is a failure like any other."""
    return state._replace(backoff=state.backoff._replace(malformed=0))


@whole_machine("draws")
def draws_nothing(patch: pytest.MonkeyPatch) -> None:
    """Every draw is the same number: all workers do the same at the same moment."""

    def drawn(machine: TokenMachine) -> float:
        return 0.5

    patch.setattr(TokenMachine, "_drawn", drawn)


@steps("back-off jitter")
def retries_all_at_once(policy: Policy, state: State, happened: Input) -> State:
    """The whole back-off is waited for, not a drawn part of it."""
    attempt = state.attempt
    if isinstance(happened, AnswerReceived) and isinstance(happened.answer, Failed | Malformed) and attempt is not None:
        return step(policy, state._replace(attempt=attempt._replace(draw=1 - 2**-53)), happened)
    return step(policy, state, happened)


@steps("spread of stated waits")
def comes_back_to_the_second(policy: Policy, state: State, happened: Input) -> State:
    """Who is told to wait a minute comes back after a minute, with everybody else."""
    return step(replace(policy, wait_spread=0.0), state, happened)


@steps("an abandoned attempt is no failure")
def takes_abandoned_for_failed(policy: Policy, state: State, happened: Input) -> State:
    """A caller who gives up makes everybody back off."""
    if isinstance(happened, AnswerReceived) and isinstance(happened.answer, Abandoned):
        happened = replace(happened, answer=Failed(LOST))
    return step(policy, state, happened)


@steps("a back-off learnt later stays")
def forgives_everything(policy: Policy, state: State, happened: Input) -> State:
    """A grant ends every back-off, also one that a later attempt has brought about."""
    after = step(policy, state, happened)
    taken = after.token is not None and after.token is not state.token
    return after._replace(backoff=BackOff(repeats=after.backoff.repeats)) if taken else after


@steps("late failures were counted")
def counts_a_loss_twice(policy: Policy, state: State, happened: Input) -> State:
    """A failure that is reported after its attempt was lost is one failure more."""
    settled = settle(policy, state, happened.now)
    lost = settled.lost
    if not isinstance(happened, AnswerReceived) or not isinstance(happened.answer, Failed):
        return step(policy, state, happened)
    if lost is None or lost.id != happened.id or settled.attempt is not None:
        return step(policy, state, happened)
    return step(policy, settled._replace(attempt=lost._replace(deadline=settled.now + 1), lost=None), happened)


@steps("each attempt has one outcome")
def hears_every_answer_twice(policy: Policy, state: State, happened: Input) -> State:
    """An attempt is remembered after its outcome, and its second answer counts too."""
    flying = settle(policy, state, happened.now).attempt
    after = step(policy, state, happened)
    if isinstance(happened, AnswerReceived) and flying is not None and flying.id == happened.id:
        return after._replace(lost=flying)
    return after
