"""The functions behind the machine, as a simulator of one's own finds them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from evertoken import Granted, LocalProtocolError, State, TokenMachine, happenings
from evertoken.happenings import Happening
from evertoken.testing import SMALL_POLICY, Alphabet, Restart, enabled_inputs
from evertoken.testing import functional as f
from tests.kits import canary
from tests.kits.driving import LOCKED, granted, machine


def test_a_machine_is_what_the_functions_make_of_its_inputs() -> None:
    driven = machine(SMALL_POLICY)
    sent = driven.start_request(10)
    driven.receive_response(11, sent, granted(0, 8))
    state, _ = f.step(SMALL_POLICY, f.first_state(SMALL_POLICY), f.RequestClaimed(10, draw=0.0))
    state, told = f.step(SMALL_POLICY, state, f.AnswerReceived(11, sent.id, Granted(canary.token(), 8)))
    assert told == driven.happenings == (happenings.RequestEnded(1, Granted(canary.token(), 8)),)
    assert state == driven.state_value
    assert f.publish(SMALL_POLICY, state) == driven.published
    for now in (11, 14, 20):
        seen = f.settle(SMALL_POLICY, state, now)
        assert f.decide(seen) == driven.poll(now)
        assert f.freshness(seen) is driven.freshness(now)
        assert f.request_state(seen) is driven.request_state(now)


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


# From states and inputs back to machines
# ---------------------------------------

DEMANDING = Alphabet(demands=(0.0, 2.0), draws=(0.0, 0.5))


def no_draw() -> float:
    raise AssertionError("an input has its own number")


def at(state: State, draw: Callable[[], float] = no_draw) -> TokenMachine:
    return f.machine_at(canary.grant(), state, policy=SMALL_POLICY, draw=draw)


def states(depth: int) -> list[State]:
    """Every state that so many inputs lead to, one second apart."""
    found = [f.settle(SMALL_POLICY, f.first_state(SMALL_POLICY), 0.0)]
    for now in range(depth):
        found = [
            f.step(SMALL_POLICY, state, happened)[0]
            for state in dict.fromkeys(found)
            for happened in enabled_inputs(SMALL_POLICY, state, float(now), DEMANDING)
        ]
    return list(dict.fromkeys(found))


def test_every_input_that_is_enabled_can_be_done_to_a_machine_in_that_state() -> None:
    kinds: set[str] = set()
    for state in states(2):
        for happened in enabled_inputs(SMALL_POLICY, state, 2.0, DEMANDING):
            machine = at(state)
            assert machine.state_value is state
            assert machine.published == f.publish(SMALL_POLICY, state)
            f.feed(machine, happened)
            after, told = f.step(SMALL_POLICY, state, happened)
            assert (machine.state_value, machine.happenings) == (after, told)
            assert machine.published == f.publish(SMALL_POLICY, after)
            kinds.add(type(happened).__name__)
    assert kinds >= {"RequestClaimed", "AnswerReceived", "BlockReported", "CredentialsReplaced"}


def test_a_machine_that_is_fed_and_one_that_is_driven_are_the_same() -> None:
    driven, fed = machine(SMALL_POLICY), machine(SMALL_POLICY)
    sent = driven.start_request(1.0)
    f.feed(fed, f.RequestClaimed(1.0, draw=0.0))
    attempt = fed.state_value.attempt
    assert attempt is not None
    request = f.request_of(fed, attempt)
    assert request == sent
    assert request.secrets == sent.secrets
    assert fed.receive_response(2.0, request, LOCKED) == driven.receive_response(2.0, sent, LOCKED)
    assert fed.state_value == driven.state_value


def test_whoever_looks_on_sees_what_is_fed() -> None:
    seen: list[tuple[f.Input, State]] = []

    class Watched(TokenMachine):
        def stepped(self, happened: f.Input, after: State, happenings: tuple[Happening, ...]) -> None:
            seen.append((happened, after))
            super().stepped(happened, after, happenings)

    watched = Watched(canary.grant(), draw=no_draw)
    f.feed(watched, f.RequestClaimed(0.0, draw=0.5))
    assert seen == [(f.RequestClaimed(0.0, draw=0.5), watched.state_value)]


def test_a_claim_against_poll_is_refused_and_changes_nothing() -> None:
    fed = machine(SMALL_POLICY)
    f.feed(fed, f.RequestClaimed(0.0, draw=0.0))
    before = fed.state_value
    with pytest.raises(LocalProtocolError, match=r"wait \(response\)"):
        f.feed(fed, f.RequestClaimed(0.5, draw=0.0))
    assert fed.state_value is before


def test_a_moment_that_is_none_is_refused() -> None:
    fed = machine(SMALL_POLICY)
    with pytest.raises(ValueError, match="now"):
        f.feed(fed, f.BlockLifted(float("nan")))
