"""The kit for property tests: what it draws is what it says, it finds nothing in the machine, and it finds bugs."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from evertoken import (
    BasicAuthentication,
    BlockKind,
    Challenge,
    ClientCredentials,
    Granted,
    HttpResponse,
    Outcome,
    Policy,
    Rejection,
    SendReason,
    SendRequest,
    TokenEndpoint,
    TokenMachine,
    Wait,
    WaitReason,
    mangopay,
    outcomes,
    read_challenge,
)
from evertoken._secrecy import replace
from evertoken.testing import (
    SMALL_POLICY,
    Alphabet,
    AuthorizationServer,
    Scenario,
    Script,
    ServerRequest,
    broken_by,
    broken_in,
    simulate,
)
from evertoken.testing import functional as f
from evertoken_transports.testing import hypothesis as kit
from tests.kits import canary
from tests.kits.source_tree import ROOT

FEW = settings(max_examples=12, stateful_step_count=25)
SEARCH = settings(max_examples=200, stateful_step_count=15, report_multiple_bugs=False, phases=(Phase.generate,))


def read(response: HttpResponse) -> Outcome:
    """What a machine makes of the answer to its first request."""
    machine = TokenMachine(canary.grant(), draw=lambda: 0.0)
    return machine.receive_response(0, machine.start_request(0), response)


# What is drawn
# -------------


@given(kit.policies())
def test_policies_are_valid_and_short(policy: Policy) -> None:
    assert max(policy.retry_cap, policy.locked_wait_cap, policy.budget_interval, policy.malformed_cap) <= 16


@given(kit.policies(leeway=0, locked_wait_cap=2, retry_base=20, budget_interval=1, budget_interval_floor=0.5))
def test_policies_keep_what_an_sdk_sets_itself(policy: Policy) -> None:
    assert (policy.leeway, policy.locked_wait_cap, policy.retry_base, policy.budget_interval) == (0, 2, 20, 1)


@given(kit.granted_responses(kit.access_tokens()))
def test_granted_responses_grant(response: HttpResponse) -> None:
    assert isinstance(read(response), Granted)


@given(kit.error_responses())
def test_error_responses_grant_nothing(response: HttpResponse) -> None:
    assert not isinstance(read(response), Granted)


def test_every_kind_of_answer_is_among_the_responses() -> None:
    missing: set[object] = {outcomes.Granted, outcomes.Failed, outcomes.Malformed, *BlockKind}

    def was_the_last(response: HttpResponse) -> bool:
        outcome = read(response)
        missing.discard(outcome.kind if isinstance(outcome, outcomes.Blocked) else type(outcome))
        return not missing

    # How many that takes depends on what is imported beside this: Hypothesis tries the constants that it finds there.
    find(kit.responses(), was_the_last, settings=settings(max_examples=5_000, phases=(Phase.generate,)))


def test_every_challenge_is_among_the_api_responses() -> None:
    seen: set[Challenge] = set()

    @given(kit.api_responses(), kit.challenges())
    def look(response: HttpResponse, challenge: Challenge) -> None:
        seen.add(read_challenge(response.status, response.headers, response.body, mangopay.PROFILE))
        assert challenge in Challenge

    look()
    assert seen == set(Challenge)


def test_outcomes_and_inputs_can_be_folded_and_break_no_law() -> None:
    @settings(max_examples=30)
    @given(st.data())
    def fold(data: st.DataObject) -> None:
        now, state = 0.0, f.settle(SMALL_POLICY, f.first_state(SMALL_POLICY), 0.0)
        for _ in range(8):
            now += data.draw(st.integers(0, 3))
            state = f.settle(SMALL_POLICY, state, now)
            happened = data.draw(kit.inputs(SMALL_POLICY, state, now))
            if isinstance(happened, f.AnswerReceived):
                happened = replace(happened, answer=data.draw(kit.outcomes()))
            after, told = f.step(SMALL_POLICY, state, happened)
            assert not [*broken_by(SMALL_POLICY, state, happened, after, told), *broken_in(SMALL_POLICY, after, now)]
            state = after

    fold()


def test_where_nothing_may_happen_there_is_no_input() -> None:
    nothing = Alphabet(reports=(), rotates=False)
    claimed, _ = f.step(SMALL_POLICY, f.first_state(SMALL_POLICY), f.RequestClaimed(0.0, 0.0))
    state, _ = f.step(SMALL_POLICY, claimed, f.AnswerReceived(0.0, 1, Granted("token#1", 8)))
    assert kit.inputs(SMALL_POLICY, state, 0.0, replace(nothing, challenges=())).is_empty


@settings(max_examples=30)
@given(kit.scripts(), st.lists(st.integers(0, 1_200), max_size=5))
def test_scripts_can_be_written_down_and_performed(script: Script, moments: list[int]) -> None:
    assert Script.from_json(script.to_json()) == script
    server = AuthorizationServer("client", canary.secret(), script=script)
    for now in sorted(moments):
        server.handle(now, ServerRequest("POST", "/v2.01/oauth/token"))
    assert len(server.arrivals) == len(moments)


@settings(max_examples=8)
@given(kit.scenarios(seconds=1_800.0))
def test_scenarios_can_be_simulated(scenario: Scenario) -> None:
    report = simulate(scenario)
    assert report.broken is None
    assert report.seconds >= 1_800.0


# The machine holds
# -----------------


class UnderAnyPolicy(kit.TokenMachineStateMachine):
    """Each life under a policy of its own, for a client that is not Mangopay's."""

    grant = ClientCredentials(
        TokenEndpoint("https://auth.example/token", BasicAuthentication("rfc6749")), "client", canary.secret()
    )

    @initialize(policy=kit.policies())
    def under(self, policy: Policy) -> None:
        self.begin(policy)


class ForAnSdk(kit.TokenMachineStateMachine):
    """A subclass as embedders write it: Mangopay's defaults, a rule and an invariant."""

    policy = Policy()

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    @rule()
    def call_the_api(self) -> None:
        self.calls += self.machine.authorization(self.now) is not None

    @invariant()
    def requests_are_for_mangopay(self) -> None:
        assert all("mangopay.com" in request.url for request in self.requests)


@pytest.mark.parametrize("life", [kit.TokenMachineStateMachine, UnderAnyPolicy, ForAnSdk])
def test_no_life_of_the_real_machine_breaks_a_law(life: type[RuleBasedStateMachine]) -> None:
    run_state_machine_as_test(life, settings=FEW)


def test_a_late_token_that_was_overtaken_is_among_what_can_happen() -> None:
    life = kit.TokenMachineStateMachine()
    first, second = (HttpResponse(200, (), body) for body in (_token("issued-1"), _token("issued-2")))
    life.machine_lose(0.0)
    life.machine_refresh(0.0, 1.0, first)
    life.machine_receive_token(1, second)
    life.machine_breaks_no_law()
    assert life.machine.authorization(life.now) == "Bearer issued-1"


def _token(name: str) -> bytes:
    return f'{{"access_token": "{name}", "token_type": "bearer", "expires_in": 8}}'.encode()


# Bugs that were planted
# ----------------------


class Impatient(TokenMachine):
    """Lets a second request start while the first is under way."""

    def poll(self, now: float, min_ttl: float = 0.0) -> SendRequest | Wait:
        action = super().poll(now, min_ttl)
        impatient = isinstance(action, Wait) and action.reason is WaitReason.RESPONSE
        return SendRequest(SendReason.NO_TOKEN) if impatient else action


class Generous(TokenMachine):
    """Hands a token out until it expires, and not only until it might."""

    def authorization(self, now: float, min_ttl: float = 0.0) -> str | None:
        token = self.state_value.token
        return None if token is None or now >= token.expires_at - min_ttl else token.authorization


class Restless(TokenMachine):
    """Changes when it is asked."""

    def poll(self, now: float, min_ttl: float = 0.0) -> SendRequest | Wait:
        self._become(self._state._replace(next_id=self._state.next_id + 1))
        return super().poll(now, min_ttl)


class Talkative(TokenMachine):
    """Tells the reader of a log which token it lost."""

    def token_rejected(self, now: float, authorization: str, challenge: Challenge) -> Rejection:
        self.told = authorization
        return super().token_rejected(now, authorization, challenge)

    def __repr__(self) -> str:
        return f"<Talkative {getattr(self, 'told', '')}>"


class Siamese(TokenMachine):
    """Its fork is itself."""

    def fork(self, draw: Callable[[], float] | None = None) -> TokenMachine:
        return self


PLANTED: list[tuple[type[TokenMachine], str]] = [
    (Impatient, "at most one attempt before its deadline"),
    (Generous, "a token is handed out exactly until fresh_until - min_ttl"),
    (Restless, "extra polls change nothing"),
    (Talkative, "no secret and no token is shown"),
    (Siamese, "what happens to a fork happens to nobody else"),
]


def broken_by_lives_of(machine: type[TokenMachine], search: settings) -> kit.LawBroken:
    life = type("Life", (kit.TokenMachineStateMachine,), {"machine_class": machine})
    with pytest.raises(kit.LawBroken) as broken:
        run_state_machine_as_test(life, settings=search)
    return broken.value


@pytest.mark.parametrize(("machine", "law"), PLANTED, ids=lambda value: getattr(value, "__name__", ""))
def test_a_planted_bug_is_found(machine: type[TokenMachine], law: str) -> None:
    assert str(broken_by_lives_of(machine, SEARCH)).startswith(law)


def test_a_bug_is_told_in_the_fewest_steps() -> None:
    found = broken_by_lives_of(Impatient, settings(SEARCH, phases=(Phase.generate, Phase.shrink)))
    told = [line for line in "\n".join(found.__notes__).splitlines() if line.startswith("state.")]
    steps = [line for line in told if "machine_breaks_no_law" not in line and "teardown" not in line]
    assert len(steps) == 2, told


# Without the library
# -------------------


def test_without_hypothesis_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    monkeypatch.delitem(sys.modules, "evertoken_transports.testing.hypothesis")
    with pytest.raises(ImportError, match=r"pip install hypothesis"):
        importlib.import_module("evertoken_transports.testing.hypothesis")


WITHOUT_H11 = """
import sys
sys.modules["h11"] = None
from evertoken_transports.testing.hypothesis import TokenMachineStateMachine, responses
from evertoken_transports import testing
assert testing.VirtualClock and not hasattr(testing, "no_such_name")
try:
    testing.MangopayServer
except ImportError as error:
    print(error)
"""


def test_without_h11_the_kit_works_and_what_needs_it_says_how_to_install_it() -> None:
    paths = os.pathsep.join(str(ROOT / root) for root in ("core", "transports"))
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_H11],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert "pip install h11" in done.stdout
