"""Whoever looks on at a world is told all of it, and changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from evertoken import State
from evertoken._grammar import Input
from evertoken.testing import (
    Arrival,
    AuthorizationServer,
    Broken,
    Route,
    Scenario,
    TokenFault,
    WorldFault,
)
from evertoken.testing.world._clients import Client
from evertoken.testing.world._world import World


class Tally:
    """A watcher that counts, and holds what it is told together."""

    def __init__(self) -> None:
        self.told: Counter[str] = Counter()
        self.faults: set[WorldFault] = set()
        self.states: dict[int, State] = {}
        self.time = 0

    def _at(self, time: int, kind: str) -> None:
        assert time >= self.time
        self.time = time
        self.told[kind] += 1

    def begin(self, scenario: Scenario, clients: Sequence[Client], server: AuthorizationServer) -> None:
        assert len(clients) == len(scenario.clients)
        assert not server.tokens
        self.states = {client.number: client.machine.state_value for client in clients}

    def step(self, time: int, client: Client, before: State, happened: Input | None, after: State) -> None:
        self._at(time, "restarts" if happened is None else "steps")
        assert before == self.states[client.number]
        self.states[client.number] = after

    def arrival(self, time: int, client: Client, arrival: Arrival) -> None:
        self._at(time, "token requests" if arrival.route is Route.TOKEN else "API calls")
        assert arrival.now == time / 1e9

    def fault(self, time: int, kind: WorldFault, client: Client | None, until: int) -> None:
        self._at(time, "faults")
        assert until >= time
        self.faults.add(kind)

    def gave_up(self, time: int, client: Client) -> None:
        self._at(time, "gave up")

    def end(self, time: int, broken: Broken | None) -> None:
        self._at(time, "ends")
        assert broken is None


@pytest.mark.no_cover
def test_a_watcher_is_told_all_of_it_and_changes_nothing() -> None:
    rates = tuple((fault, 0.5) for fault in WorldFault)
    faults = tuple(TokenFault)
    scenario = Scenario(seed=7, seconds=40_000.0, lifetime=300, latency=(0.01, 4.0), rates=rates, token_faults=faults)
    tally = Tally()
    report = World(scenario, watch=tally).run()
    assert report == World(scenario).run()
    assert tally.faults == set(WorldFault)
    told = tally.told
    assert (told["token requests"], told["API calls"]) == (report.token_requests, report.api_calls)
    assert (told["steps"], told["gave up"], told["ends"]) == (report.steps, report.seen["a caller gave up"], 1)
    assert told["restarts"]
