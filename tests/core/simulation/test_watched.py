"""The laws between the machine's methods and its inputs: each is broken by a machine that does another thing."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from evertoken import (
    AccessToken,
    Challenge,
    Policy,
    Rejection,
    SendReason,
    SendRequest,
    TokenMachine,
    TokenRequest,
    Wait,
    WaitReason,
)
from evertoken._grammar import CredentialsReplaced, Input
from evertoken._patience import GiveUp, Ready
from evertoken._problems import unavailable
from evertoken._secrecy import replace
from evertoken._shared_problems import REPORTED
from evertoken._states import State, first_state
from evertoken._step import settle
from evertoken.happenings import Happening
from evertoken.outcomes import Abandoned, Ignored, Outcome
from evertoken.testing import Scenario, simulate
from evertoken.testing.world._clients import Client
from evertoken.testing.world._watched import Want, WatchedMachine, broken_by_move
from tests.kits import canary
from tests.kits.driving import bearer, machine, serve

NOW = 1_000.0
GIST = "an input says what the machine was told, and there is none but that"
SEND = SendRequest(SendReason.NO_TOKEN)
WAIT = Wait(NOW + 99, WaitReason.REFRESH)
GAVE_UP = GiveUp(unavailable(next(iter(REPORTED.values()))))
NOTHING = first_state(Policy())


class Told(list[str]):
    """What somebody who looks on is told: the laws that were broken, in order."""

    def note(self, before: State, happened: Input, after: State, told: tuple[Happening, ...]) -> None:
        assert happened.now >= before.now
        assert after.now >= before.now

    def fail(self, law: str) -> None:
        self.append(law)


def watched(told: Told) -> WatchedMachine:
    return WatchedMachine(canary.grant(), Policy(), lambda: 0.0, told)


def holding() -> State:
    """A token that was asked for at ``NOW`` and lives for 1,200 seconds."""
    m = machine()
    serve(m, NOW, expires_in=1_200)
    return m.state_value


def test_a_machine_that_does_what_it_is_told_breaks_no_law() -> None:
    told = Told()
    m = watched(told)
    m.request_abandoned(NOW, m.start_request(NOW))
    m.send_failed(NOW, m.start_request(NOW), "no route")
    m.request_postponed(NOW + 90, m.start_request(NOW + 90), NOW + 95)
    serve(m, NOW + 100)
    m.token_rejected(NOW + 150, bearer(1), Challenge.TOKEN)
    m.lift_block(NOW + 900)
    m.replace_credentials(NOW + 900, m.grant)
    m.replace_credentials(NOW + 900, replace(m.grant, client_secret="another"))
    assert told == []


def test_an_input_that_nobody_asked_for_breaks_a_law(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told()
    m = watched(told)

    def lift(self: TokenMachine, now: float) -> None:
        self._step(CredentialsReplaced(now))

    monkeypatch.setattr(TokenMachine, "lift_block", lift)
    m.lift_block(NOW)
    assert told == [GIST]


def test_what_is_told_and_has_no_effect_breaks_a_law(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told()
    m = watched(told)

    def lift(self: TokenMachine, now: float) -> None:
        assert now == NOW

    monkeypatch.setattr(TokenMachine, "lift_block", lift)
    m.lift_block(NOW)
    assert told == ["what the machine is told takes effect"]


def test_an_outcome_that_hides_a_token_breaks_a_law(monkeypatch: pytest.MonkeyPatch) -> None:
    told, real = Told(), TokenMachine.receive_response
    m = watched(told)

    def receive(self: TokenMachine, *arguments: object) -> Outcome:
        real(self, *arguments)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        return Ignored()

    monkeypatch.setattr(TokenMachine, "receive_response", receive)
    serve(m, NOW)
    assert told == ["an outcome says whether a token was taken"]


def test_a_verdict_that_hides_what_became_of_the_token_breaks_a_law(monkeypatch: pytest.MonkeyPatch) -> None:
    told, real = Told(), TokenMachine.token_rejected
    m = watched(told)
    serve(m, NOW)

    def reject(self: TokenMachine, *arguments: object) -> Rejection:
        real(self, *arguments)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        return Rejection.KEPT

    monkeypatch.setattr(TokenMachine, "token_rejected", reject)
    m.token_rejected(NOW + 100, bearer(), Challenge.TOKEN)
    assert told == ["a verdict says whether the token was dropped"]


def test_a_request_that_is_reported_as_something_else_breaks_a_law(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told()
    m = watched(told)
    request = m.start_request(NOW)
    monkeypatch.setattr(TokenMachine, "request_abandoned", _failed)
    assert not isinstance(m.request_abandoned(NOW, request), Abandoned)
    assert told == [GIST]


def _failed(self: TokenMachine, now: float, request: TokenRequest) -> Outcome:
    return TokenMachine.send_failed(self, now, request, "no route")


def held() -> AccessToken:
    token = holding().token
    assert token is not None
    return token


Right = tuple[State, float, Want, Ready | GiveUp | SendRequest | Wait]
ANY = Want(NOW, NOW + 60, 0.0)
RIGHT: dict[str, Callable[[], Right]] = {
    "ready": lambda: (holding(), NOW, ANY, Ready(held())),
    "the first request": lambda: (NOTHING, NOW, ANY, SEND),
    "no request while the token is good": lambda: (holding(), NOW, ANY, WAIT),
    "a request for more life": lambda: (holding(), NOW + 700, Want(NOW + 700, math.inf, 590.0), SEND),
    "no time is left": lambda: (NOTHING, NOW, Want(NOW, NOW, 0.0), GAVE_UP),
    "too much is wanted": lambda: (holding(), NOW + 700, Want(NOW + 700, math.inf, 5_000.0), GAVE_UP),
    "the newest is not good enough": lambda: (holding(), NOW + 700, Want(NOW, math.inf, 590.0), GAVE_UP),
}
SERVED = "a caller gets the token in hand, with as much life left in it as was asked for"
TOLD = "who may send a request is told so"
WRONG: dict[str, tuple[str, Callable[[], Right]]] = {
    "ready without a token": (SERVED, lambda: (NOTHING, NOW, ANY, Ready(replace(held(), authorization="Bearer x")))),
    "another token": (SERVED, lambda: (holding(), NOW, ANY, Ready(replace(held(), authorization="Bearer x")))),
    "too little life": (SERVED, lambda: (holding(), NOW + 700, ANY._replace(min_ttl=600.0), RIGHT["ready"]()[3])),
    "given up for nothing": ("who can be served is served", lambda: (holding(), NOW, ANY, GAVE_UP)),
    "given up too early": (TOLD, lambda: (NOTHING, NOW, ANY, GAVE_UP)),
    "waiting for nothing": (TOLD, lambda: (NOTHING, NOW, ANY, WAIT)),
    "waiting for the refresh": (TOLD, lambda: (holding(), NOW + 700, Want(NOW + 700, math.inf, 590.0), WAIT)),
    "a request too early": ("no request is started while the token is VALID: ", lambda: (holding(), NOW, ANY, SEND)),
}


@pytest.mark.no_cover
@pytest.mark.parametrize("name", RIGHT)
def test_what_a_caller_is_rightly_told_breaks_no_law(name: str) -> None:
    state, now, want, move = RIGHT[name]()
    assert broken_by_move(settle(Policy(), state, now), now, want, move) is None


@pytest.mark.parametrize("name", WRONG)
def test_what_a_caller_is_wrongly_told_breaks_a_law(name: str) -> None:
    law, made = WRONG[name]
    state, now, want, move = made()
    broken = broken_by_move(settle(Policy(), state, now), now, want, move)
    assert broken is not None
    assert broken.startswith(law)


def test_a_wrong_move_is_told_to_who_looks_on() -> None:
    told = Told()
    watched(told).hold(WAIT, NOW, ANY)
    assert told == [TOLD]


class Hesitant(WatchedMachine):
    """A machine that never asks for a token."""

    __slots__ = ()

    def poll(self, now: float, min_ttl: float = 0.0) -> SendRequest | Wait:
        assert min_ttl >= 0.0
        return Wait(now + 60, WaitReason.RETRY)


class Patient(Client):
    """A client with such a machine."""

    machine_class = Hesitant


def test_a_machine_that_breaks_such_a_law_stops_the_run() -> None:
    broken = simulate(Scenario(seed=1, seconds=3_600.0), client=Patient).broken
    assert broken is not None
    assert (broken.law, broken.client) == (TOLD, 0)
    assert 0.0 < broken.now < 3_600.0
