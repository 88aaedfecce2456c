"""States are values, for whoever folds a trace."""

from __future__ import annotations

from evertoken import Policy
from evertoken._grammar import RequestClaimed
from evertoken._states import first_state
from evertoken._step import step
from tests.kits.driving import machine

POLICY = Policy()
NEW = first_state(POLICY)
IN_FLIGHT, _ = step(POLICY, NEW, RequestClaimed(0, 0.5))


def test_states_are_values() -> None:
    again, _ = step(POLICY, first_state(POLICY), RequestClaimed(0, 0.5))
    assert again == IN_FLIGHT
    assert hash(again) == hash(IN_FLIGHT)


def test_a_machine_begins_with_the_default_policy_and_keeps_the_one_it_is_given() -> None:
    assert machine().policy == POLICY
    other = Policy(leeway=1)
    assert machine(other).policy is other
