"""What a machine does before a shared store, taken away rule by rule: the explorer finds each."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from evertoken import Policy, State
from evertoken._grammar import AnswerReceived, BlockReported, Input, RequestClaimed, TokenRejected
from evertoken._secrecy import replace
from evertoken._step import step as real_step
from evertoken.happenings import Happening
from evertoken.outcomes import Abandoned, Blocked, Failed, Postponed
from evertoken.testing import SMALL_POLICY, Alphabet, explore

Stepped = tuple[State, tuple[Happening, ...]]
Step = Callable[[Policy, State, Input], Stepped]


def charges_for_looks(policy: Policy, state: State, happened: Input) -> Stepped:
    """What nobody was asked for is charged all the same."""
    after, told = real_step(policy, state, happened)
    refunded = isinstance(happened, AnswerReceived) and after.budget.level > state.budget.level
    return (after._replace(budget=state.budget), told) if refunded else (after, told)


def counts_a_wait_as_a_failure(policy: Policy, state: State, happened: Input) -> Stepped:
    """Who waited in vain backs off, longer each time."""
    if isinstance(happened, AnswerReceived) and isinstance(happened.answer, Postponed):
        happened = replace(happened, answer=Failed(happened.answer.problem))
    return real_step(policy, state, happened)


def asks_again_at_once(policy: Policy, state: State, happened: Input) -> Stepped:
    """A wait in vain leaves no moment to wait for."""
    if isinstance(happened, AnswerReceived) and isinstance(happened.answer, Postponed):
        happened = replace(happened, answer=Abandoned())
    return real_step(policy, state, happened)


def lives_from_the_claim(policy: Policy, state: State, happened: Input) -> Stepped:
    """The life of a token counts from the claim, whoever asked for it, and when."""
    attempt = state.attempt
    if isinstance(happened, AnswerReceived) and happened.seen is not None and attempt is not None:
        happened = replace(happened, seen=replace(happened.seen, asked_at=attempt.started))
    return real_step(policy, state, happened)


def does_its_own_waiting(policy: Policy, state: State, happened: Input) -> Stepped:
    """A block from the store is waited out as one of our own."""
    if isinstance(happened, AnswerReceived) and isinstance(happened.answer, Blocked) and happened.seen is not None:
        happened = replace(happened, seen=replace(happened.seen, ends=None, look_at=None, asked=True))
    return real_step(policy, state, happened)


def never_looks_before_the_end(policy: Policy, state: State, happened: Input) -> Stepped:
    """A block is looked at when it ends, and no operator's word is heard before."""
    after, told = real_step(policy, state, happened)
    return after._replace(blocks=tuple([block._replace(look_at=block.until) for block in after.blocks])), told


def backs_off_for_itself(policy: Policy, state: State, happened: Input) -> Stepped:
    """The back-off of each process grows as if there were no store that keeps the fleet's."""
    if isinstance(happened, RequestClaimed | BlockReported):
        happened = replace(happened, tiers=0)
    return real_step(policy, state, happened)


def drops_tokens_behind_a_closed_door(policy: Policy, state: State, happened: Input) -> Stepped:
    """One odd 401 takes the token away while the door is shut and may merely be looked at."""
    after, told = real_step(policy, state, happened)
    if isinstance(happened, TokenRejected) and state.standing and after.token is not None:
        return after._replace(token=None), told
    return after, told


def vouches_for_what_others_were_granted(policy: Policy, state: State, happened: Input) -> Stepped:
    """A token from the store counts as one that our own credentials were granted with."""
    if isinstance(happened, AnswerReceived) and happened.seen is not None and not happened.seen.asked:
        after, told = real_step(policy, state, happened)
        proven = after.credentials._replace(proven=after.token is not None)
        return after._replace(credentials=proven), told
    return real_step(policy, state, happened)


DOUBLES: tuple[Step, ...] = (
    charges_for_looks,
    counts_a_wait_as_a_failure,
    asks_again_at_once,
    lives_from_the_claim,
    does_its_own_waiting,
    never_looks_before_the_end,
    backs_off_for_itself,
    drops_tokens_behind_a_closed_door,
    vouches_for_what_others_were_granted,
)


@pytest.mark.parametrize("double", DOUBLES, ids=lambda double: double.__name__)
def test_the_explorer_finds_a_machine_that_is_not_made_for_a_store(double: Step) -> None:
    found = explore(SMALL_POLICY, alphabet=Alphabet(shared=True), max_states=3_000, max_violations=1, step=double)
    assert found.violations
