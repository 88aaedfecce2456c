"""The state machine of Hypothesis as a base class: names, hooks, and moments of any kind."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Self

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from evertoken import BlockKind, ClientCredentials, HttpResponse, Policy, Snapshot, TokenMachine
from evertoken_transports.testing import hypothesis as kit

FEW = settings(max_examples=15, stateful_step_count=15)
GRANTED = HttpResponse(200, (), b'{"access_token": "issued-1", "token_type": "bearer", "expires_in": 8}')


# Names
# -----


class Bare(RuleBasedStateMachine):
    """What any state machine of Hypothesis has."""

    @rule()
    def live(self) -> None:
        """It needs one."""


def test_every_name_that_is_no_hook_is_one_that_nobody_else_would_choose() -> None:
    ours = ("machine_", "_TokenMachineStateMachine__", "__")
    names = {name for name in vars(kit.TokenMachineStateMachine) if not name.startswith(ours)}
    assert names - {"_abc_impl"} == {"policy", "grant", "begin", "adopt", "pass_time"}
    names = {name for name in vars(kit.TokenMachineStateMachine()) if not name.startswith(ours)}
    assert names - set(vars(Bare())) == {"machine", "now", "policy", "requests"}


class BusySdk(kit.TokenMachineStateMachine):
    """Its rules have the words that come to everybody's mind."""

    called: set[str]

    def __init__(self) -> None:
        super().__init__()
        self._answer = self._keep = self._request = self._witness = self._number = 0

    @rule()
    def refresh(self) -> None:
        self.called.add("refresh")

    @rule()
    def restart(self) -> None:
        self.called.add("restart")

    @rule()
    def lose(self) -> None:
        self.called.add("lose")

    @invariant()
    def every_law_holds(self) -> None:
        self.called.add("every_law_holds")


def test_rules_with_everyday_names_stand_beside_those_of_the_machine() -> None:
    seen: set[str] = set()

    class Life(BusySdk):
        called = seen

        def adopt(self, machine: TokenMachine) -> None:
            seen.add(f"adopted at {machine.state_value.now > 0}")

    run_state_machine_as_test(Life, settings=settings(FEW, max_examples=30))
    assert seen == {"refresh", "restart", "lose", "every_law_holds", "adopted at False", "adopted at True"}


@pytest.mark.parametrize("name", ["grant", "policy", "machine_class", "machine", "now", "requests"])
@pytest.mark.parametrize("decorator", [rule(), initialize(), functools.wraps(print)])
def test_a_rule_that_hides_an_attribute_is_refused_when_the_class_is_made(
    name: str, decorator: Callable[[Any], Any]
) -> None:
    def method(self: object) -> None:
        raise AssertionError(f"{self} was run")

    with pytest.raises(TypeError, match=rf"^Sdk\.{name} .* hides the {name} .* another name"):
        type("Sdk", (kit.TokenMachineStateMachine,), {name: decorator(method)})


# Hooks
# -----


def test_what_may_not_be_set_says_what_to_do_instead() -> None:
    life = kit.TokenMachineStateMachine()
    own = TokenMachine(life.grant, draw=lambda: 0.5)
    with pytest.raises(AttributeError, match=r"machine_class on the class.*override adopt\(machine\)"):
        life.machine = own
    with pytest.raises(AttributeError, match=r"set it on the class, or call begin\(policy\)"):
        life.policy = Policy()
    assert life.machine is not own
    assert life.policy == life.machine.policy


def test_a_policy_that_is_begun_with_is_that_of_the_machine() -> None:
    life = kit.TokenMachineStateMachine()
    life.begin(Policy(leeway=0))
    assert life.policy == life.machine.policy == Policy(leeway=0)


def test_an_object_of_ones_own_always_has_the_machine_that_is_tested() -> None:
    adopted: list[TokenMachine] = []

    class Life(kit.TokenMachineStateMachine):
        def adopt(self, machine: TokenMachine) -> None:
            assert machine is self.machine
            adopted.append(machine)

    life = Life()
    life.begin(Policy())
    life.machine_restart(1.0, secrets=True)
    assert len({id(machine) for machine in adopted}) == 3
    assert adopted[-1] is life.machine


def test_what_an_object_of_ones_own_does_to_the_machine_is_held_to_the_laws_too() -> None:
    life = kit.TokenMachineStateMachine()
    life.machine.receive_response(life.now, life.machine.start_request(life.now), GRANTED)
    life.machine_breaks_no_law()
    assert life.machine.authorization(life.now) == "Bearer issued-1"
    life.machine._become(life.machine.state_value._replace(token=None))
    with pytest.raises(kit.LawBroken, match="nothing but an input changes the state"):
        life.machine_breaks_no_law()


# Moments
# -------


@pytest.mark.parametrize(
    ("seconds", "passed"), [(0, 0.0), (0.1, 103 / 1024), (2**-12, 2**-10), (1.0, 1.0), (7, 7.0), (0.25, 0.25)]
)
def test_time_passes_in_ticks_and_never_less_than_is_asked_for(seconds: float, passed: float) -> None:
    life = kit.TokenMachineStateMachine()
    life.pass_time(seconds)
    assert life.now == passed


class OffTheGrid(kit.TokenMachineStateMachine):
    @rule(seconds=st.floats(0, 10))
    def later(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def a_little_later(self) -> None:
        self.now += 0.1


def test_moments_off_the_grid_raise_no_false_alarm() -> None:
    life = OffTheGrid()
    life.now = 1.9
    life.machine_start_request(0.25)
    life.machine_breaks_no_law()
    life.machine_restart(5.0, secrets=True)
    life.machine_breaks_no_law()
    run_state_machine_as_test(OffTheGrid, settings=settings(FEW, max_examples=30))


class Forgetful(TokenMachine):
    """Takes every block for over after a restart."""

    @classmethod
    def restore(
        cls,
        grant: ClientCredentials,
        snapshot: Snapshot,
        now: float,
        elapsed: float = 0.0,
        *,
        policy: Policy | None = None,
        draw: Callable[[], float],
        tiers: int = 0,
    ) -> Self:
        machine = super().restore(grant, snapshot, now, elapsed, policy=policy, draw=draw, tiers=tiers)
        machine._become(machine._state._replace(blocks=()))
        return machine


@pytest.mark.parametrize("now", [2.0, 1.9])
def test_a_block_that_a_restart_ends_is_noticed_on_the_grid_and_off_it(now: float) -> None:
    life = type("Life", (kit.TokenMachineStateMachine,), {"machine_class": Forgetful})()
    life.now = now
    life.machine_endpoint_blocked(BlockKind.LOCKED, None, 0.0)
    with pytest.raises(kit.LawBroken, match="a restart ends no block"):
        life.machine_restart(0.0, secrets=True)
