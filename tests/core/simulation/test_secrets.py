"""Clients that ask a vault for their secret, in the simulated world: rotations that nobody notices."""

from __future__ import annotations

import pytest
from typing_extensions import override

from evertoken import Failed, HttpResponse, TokenMachine, TokenRequest, mangopay
from evertoken._grammar import AnswerReceived, CredentialsReplaced, RequestClaimed
from evertoken._secrecy import replace
from evertoken.testing import Calls, ClientPlan, Scenario, WorldFault, draw_scenario
from evertoken.testing._enabled import Alphabet, enabled_inputs
from evertoken.testing._explorer import SMALL_POLICY
from evertoken.testing.world._checks import GAVE_UP
from evertoken.testing.world._clients import Client
from evertoken.testing.world._world import World
from tests.kits.vaults import AskingClient, SealedClient

ROTATIONS = Scenario(
    seed=1,
    seconds=3_600.0,
    lifetime=60,
    latency=(0.05, 1.0),
    clients=(ClientPlan(period=5.0, patience=30.0), ClientPlan(calls=Calls.BURSTY, patience=30.0)),
    rates=((WorldFault.ROTATED, 120.0), (WorldFault.REVOKED, 20.0)),
)
"""Both clients wait long enough for a request that is refused, and for another one."""


@pytest.mark.no_cover
@pytest.mark.parametrize("seed", range(4))
def test_no_call_fails_over_rotations_at_any_moment_and_each_costs_one_refused_request_at_most(seed: int) -> None:
    world = World(replace(ROTATIONS, seed=seed), client=AskingClient)
    report = world.run()
    assert report.broken is None
    assert report.seen.get(GAVE_UP, 0) == 0
    refused = [client.refused for client in world.clients if isinstance(client, AskingClient)]
    assert 0 < sum(count for each in refused for count in each.values()) < world._keys
    assert {count for each in refused for count in each.values()} == {1}


SMALL_CHANCE = ((WorldFault.ABANDONED, 0.0),)
"""None at all; but with faults that could be, the weather is not called fair."""


def secret() -> str:
    return "key-0"


class Hasty(AskingClient):
    """One that takes the first refusal for the last word."""

    @override
    def _may_have_been_replaced(self, request: TokenRequest, response: HttpResponse) -> bool:
        return False


@pytest.mark.no_cover
@pytest.mark.parametrize("client", [Client, Hasty])
def test_the_same_rotations_cost_calls_without_a_vault_or_where_it_is_not_asked_again(client: type[Client]) -> None:
    report = World(replace(ROTATIONS, seed=1), client=client).run()
    assert report.broken is None
    assert report.seen[GAVE_UP] > 0


class Misled(AskingClient):
    """One whose vault has the key of something else."""

    @override
    def _secret(self) -> str | None:
        return "another key"


class Knocker(Misled):
    """One that sends the same request once more when it was refused."""

    @override
    def receive(self, request: TokenRequest, response: HttpResponse) -> None:
        super().receive(request, response)
        self._world.after(10.0, self._world.send_token_request, self, request)


def test_a_wrong_key_is_tried_once_an_hour_and_who_knocks_again_is_found_out() -> None:
    minutes = Scenario(seed=1, seconds=600.0, rates=SMALL_CHANCE)
    misled = World(minutes, client=Misled)
    assert misled.run().broken is not None  # There is no token in the end.
    assert misled.server.arrivals[0].status == 401
    knocked = World(minutes, client=Knocker).run()
    assert knocked.broken is not None
    assert knocked.broken.law.startswith("credentials that the server has refused are not tried again")
    assert knocked.token_requests == 1


def test_a_vault_that_fails_now_and_then_costs_no_request_and_there_is_a_token_in_the_end() -> None:
    rates = ((WorldFault.ROTATED, 30.0),)
    report = World(Scenario(seed=3, seconds=1_200.0, lifetime=60, rates=rates), client=SealedClient).run()
    assert report.broken is None
    assert report.seen["outcome: Failed"] > 0


def test_an_attempt_that_asks_may_find_another_secret_or_none() -> None:
    m = TokenMachine(mangopay.sandbox("client", secret), policy=SMALL_POLICY, draw=lambda: 0.0)
    m.start_request(0)
    found = list(enabled_inputs(SMALL_POLICY, m.state_value, 1.0, Alphabet(asks=True)))
    assert CredentialsReplaced(1.0, 1) in found
    assert [
        each.answer.unsent for each in found if isinstance(each, AnswerReceived) and isinstance(each.answer, Failed)
    ]
    assert not [each for each in found if isinstance(each, RequestClaimed)]


@pytest.mark.no_cover
@pytest.mark.parametrize("client", [AskingClient, SealedClient])
@pytest.mark.parametrize("seed", range(3))
def test_every_law_holds_where_a_vault_is_asked_whatever_goes_wrong(client: type[Client], seed: int) -> None:
    drawn = draw_scenario(seed, seconds=43_200.0)
    rates = tuple((fault, rate) for fault, rate in drawn.rates if fault is not WorldFault.RESTART)
    report = World(replace(drawn, rates=(*rates, (WorldFault.ROTATED, 1.0))), client=client).run()
    assert report.broken is None, report.broken
