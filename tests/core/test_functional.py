"""The functions behind the machine, as a simulator of one's own finds them."""

from __future__ import annotations

from evertoken import Granted, TokenMachine
from evertoken.testing import SMALL_POLICY, Restart, enabled_inputs
from evertoken.testing import functional as f
from tests import canary
from tests.core.driving import granted, machine


def test_a_machine_is_what_the_functions_make_of_its_inputs() -> None:
    driven = machine(SMALL_POLICY)
    sent = driven.start_request(10)
    driven.receive_response(11, sent, granted(0, 8))
    state = f.step(SMALL_POLICY, f.first_state(SMALL_POLICY), f.RequestClaimed(10, draw=0.0))
    state = f.step(SMALL_POLICY, state, f.AnswerReceived(11, sent.id, Granted(canary.token(), 8)))
    assert state == driven.state_value
    assert f.publish(SMALL_POLICY, state) == driven.published
    for now in (11, 14, 20):
        assert f.decide(SMALL_POLICY, state, now) == driven.poll(now)
        assert f.freshness(state, now) is driven.freshness(now)
        assert f.request_state(SMALL_POLICY, state, now) is driven.request_state(now)


def test_a_restart_is_a_value_and_gives_what_a_snapshot_would() -> None:
    driven = machine(SMALL_POLICY)
    driven.receive_response(11, driven.start_request(10), granted(0, 8))
    for secrets in (False, True):
        restart = f.Restart(taken_at=11, now=500, elapsed=2, secrets=secrets)
        snapshot = driven.snapshot(11, secrets)
        twin = TokenMachine.restore(driven.grant, snapshot, 500, 2, policy=SMALL_POLICY, draw=lambda: 0.0)
        assert f.restarted(SMALL_POLICY, driven.state_value, restart) == twin.state_value
    assert Restart is f.Restart


def test_every_input_that_is_enabled_is_of_a_class_to_match_on() -> None:
    state = f.settle(SMALL_POLICY, f.first_state(SMALL_POLICY), 0.0)
    offered = list(enabled_inputs(SMALL_POLICY, state, 0.0))
    assert {type(happened).__name__ for happened in offered} <= set(f.__all__)
    assert f.RequestClaimed(0.0, 0.0) in offered
