"""The registry behind ``Coordinator.shared``: nothing that counts is forgotten, and nothing else is kept."""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Callable

import pytest

from evertoken import BlockKind, Challenge, ClientCredentials, HttpResponse, Policy, TokenRequest, TokenUnavailable
from evertoken_transports import Coordinator, _coordinator, _registry
from evertoken_transports._carrier import carry
from evertoken_transports.threads import TokenSource
from tests.kits import canary
from tests.kits.worlds import Clock, run_in_threads

LIFE = 1_200
OK = HttpResponse(200, (), f'{{"access_token":"{canary.token()}","token_type":"bearer","expires_in":{LIFE}}}'.encode())
LOCKED = HttpResponse(400, (), b'{"error":"unauthorized_client"}')
BAD = HttpResponse(500, (), b"")


def kept() -> int:
    return len(_coordinator._registry._kept)


def clients(count: int) -> list[ClientCredentials]:
    return [canary.grant(client_id=f"client{number}") for number in range(count)]


class Asked:
    """An exchange that gives one answer, and counts."""

    def __init__(self, answer: HttpResponse = OK) -> None:
        self.answer = answer
        self.total = 0

    def __call__(self, request: TokenRequest, /) -> HttpResponse:
        self.total += 1
        return self.answer


def shared(grant: ClientCredentials, clock: Clock) -> Coordinator:
    """As ``Coordinator.shared`` gives it, but for the clock."""
    found = Coordinator.shared(grant, Policy())
    found.clock = clock
    return found


def source_for(grant: ClientCredentials, clock: Clock, exchange: Asked) -> TokenSource:
    return TokenSource(grant, coordinator=shared(grant, clock), exchange=exchange, background=False)


def pass_by(count: int = 20) -> None:
    """Others make grants of their own, and never use them."""
    for number in range(count):
        Coordinator.shared(canary.grant(client_id=f"passer-by{number}"), Policy())
    gc.collect()


@pytest.mark.parametrize("answer", [OK, LOCKED], ids=["granted", "locked"])
def test_a_source_for_each_call_of_257_grants_in_turn_costs_one_request_for_each_grant(answer: HttpResponse) -> None:
    exchange, clock = Asked(answer), Clock()
    for _ in range(2):
        for grant in clients(257):
            source = source_for(grant, clock, exchange)
            try:
                source.authorization()
            except TokenUnavailable:
                assert answer is LOCKED
    assert exchange.total == 257


def test_grants_that_were_never_asked_for_are_not_kept() -> None:
    for grant in clients(200):
        Coordinator.shared(grant, Policy())
    gc.collect()
    assert kept() <= 2
    assert len(_coordinator._registry._alive) <= 3


def test_one_that_somebody_uses_is_found_though_it_is_not_kept() -> None:
    grant = canary.grant()
    mine = Coordinator.shared(grant, Policy())
    pass_by()
    assert kept() <= 2
    assert Coordinator.shared(grant, Policy()) is mine


def test_what_lived_once_is_forgotten_as_others_are_made() -> None:
    exchange, clock = Asked(), Clock()
    for grant in clients(100):
        source_for(grant, clock, exchange).authorization()
    pass_by()
    assert kept() >= 100
    clock.now += LIFE
    pass_by(200)
    assert kept() <= 10


def be_granted(coordinator: Coordinator, clock: Clock) -> None:
    carry(coordinator, Asked(), claimed(coordinator))
    clock.now += 700


def leave_in_flight(coordinator: Coordinator, _: Clock) -> None:
    coordinator._claim_or_wait(print)


def be_locked(coordinator: Coordinator, _: Clock) -> None:
    coordinator.endpoint_blocked(BlockKind.LOCKED, 500)


def spend(coordinator: Coordinator, _: Clock) -> None:
    coordinator.request_abandoned(claimed(coordinator))


def fail(coordinator: Coordinator, clock: Clock) -> None:
    carry(coordinator, Asked(BAD), claimed(coordinator))
    clock.now += 700


def be_unlocked(coordinator: Coordinator, clock: Clock) -> None:
    carry(coordinator, Asked(LOCKED), claimed(coordinator))
    coordinator.lift_block()
    clock.now += 700


def drop(coordinator: Coordinator, clock: Clock) -> None:
    carry(coordinator, Asked(), claimed(coordinator))
    clock.now += 700
    coordinator.token_rejected(f"Bearer {canary.token()}", Challenge.TOKEN)
    clock.now += 100


def be_rotated(coordinator: Coordinator, _: Clock) -> None:
    coordinator.replace_credentials(coordinator.machine.grant.with_secret(canary.secret(1)))


def claimed(coordinator: Coordinator) -> TokenRequest:
    _, request = coordinator._claim_or_wait(print)
    assert request is not None
    return request


@pytest.mark.parametrize(
    ("happen", "over"),
    [
        (be_granted, LIFE),
        (leave_in_flight, 100_000),
        (be_locked, 100_000),
        (spend, 100),
        (fail, 86_400),
        (be_unlocked, 86_400),
        (drop, LIFE),
        (be_rotated, 86_400),
    ],
)
def test_one_that_remembers_is_kept_until_that_is_over(happen: Callable[[Coordinator, Clock], None], over: int) -> None:
    grant, clock = canary.grant(), Clock()
    coordinator = shared(grant, clock)
    happen(coordinator, clock)
    known = weakref.ref(coordinator)
    del coordinator
    pass_by()
    assert Coordinator.shared(grant, Policy()) is known()
    clock.now += over
    pass_by()
    assert known() is None


def test_one_that_is_busy_is_not_waited_for() -> None:
    mine = Coordinator.shared(canary.grant(), Policy())
    with mine._lock:
        run_in_threads(1, lambda _: pass_by())()


def test_one_whose_source_has_not_asked_yet_is_not_forgotten_once_it_has() -> None:
    exchange, clock, grant = Asked(), Clock(), canary.grant()
    source = source_for(grant, clock, exchange)
    pass_by()
    source.authorization()
    del source
    gc.collect()
    source_for(grant, clock, exchange).authorization()
    assert exchange.total == 1


def test_to_make_one_among_thousands_takes_a_look_at_two(monkeypatch: pytest.MonkeyPatch) -> None:
    exchange, clock = Asked(), Clock()
    for grant in clients(60):
        source_for(grant, clock, exchange).authorization()
    looks: list[Coordinator] = []
    is_worth_keeping = _registry._is_worth_keeping

    def counted(coordinator: Coordinator) -> bool:
        looks.append(coordinator)
        return is_worth_keeping(coordinator)

    monkeypatch.setattr(_registry, "_is_worth_keeping", counted)
    pass_by(10)
    assert len(looks) == 20
    looks.clear()
    for grant in clients(60):
        Coordinator.shared(grant, Policy())
    assert looks == []


def test_thousands_that_are_kept_are_told_of_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_registry, "_MANY", 20)
    exchange, clock = Asked(), Clock()
    for grant in clients(30):
        source_for(grant, clock, exchange).authorization()
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert warning.getMessage().startswith("20 grants have a token")
    assert "scope or parameter" in warning.getMessage()
