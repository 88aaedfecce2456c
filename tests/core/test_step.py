"""``step`` is total: an input that the machine would refuse as misuse has a meaning too, for whoever folds a trace."""

from __future__ import annotations

import pytest

from evertoken import Policy, State
from evertoken._inputs import ExchangeStarted, RequestClaimed
from evertoken._states import first_state
from evertoken._step import step
from tests.core.driving import machine

POLICY = Policy()
NEW = first_state(POLICY)
IN_FLIGHT = step(POLICY, NEW, RequestClaimed(0, 0.5))
CLAIMED = step(POLICY, NEW, RequestClaimed(0, 0.5, shared=True))


@pytest.mark.parametrize(("state", "request_id"), [(NEW, 1), (IN_FLIGHT, 1), (CLAIMED, 2)])
def test_an_exchange_without_its_claim_changes_nothing_but_the_time(state: State, request_id: int) -> None:
    assert step(POLICY, state, ExchangeStarted(1, request_id)) == state._replace(now=1)


def test_states_are_values() -> None:
    again = step(POLICY, first_state(POLICY), RequestClaimed(0, 0.5))
    assert again == IN_FLIGHT
    assert hash(again) == hash(IN_FLIGHT)


def test_a_machine_begins_with_the_default_policy_and_keeps_the_one_it_is_given() -> None:
    assert machine().policy == POLICY
    other = Policy(leeway=1)
    assert machine(other).policy is other
