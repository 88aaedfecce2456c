"""DriverCheck finds each bug that embedders plant in a driver, names the rule, and raises no alarm over a right one."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace

import pytest
from typing_extensions import override

from evertoken import HttpResponse, TokenRequest, TokenUnavailable
from evertoken.testing import (
    AuthorizationServer,
    DriverCheck,
    Script,
    ServerRequest,
    TokenBehaviour,
    TokenFault,
    draw_scenario,
)
from evertoken_transports import Coordinator
from evertoken_transports.asyncio import TokenSource as AsyncioSource
from evertoken_transports.testing import _source_world
from evertoken_transports.threads import TokenSource
from evertoken_transports.trio import TokenSource as TrioSource
from tests.kits.driver_bugs import BUGS, Shop, breaches
from tests.kits.loops import LOOPS, Loop
from tests.kits.source_tree import ROOT

pytestmark = pytest.mark.usefixtures("unlogged")

PAGE = (ROOT / "docs" / "simulation.md").read_text(encoding="utf-8")
HEAD = "| Bug | Rule | What the check says that it did |\n|---|---|---|\n"


def table() -> str:
    """The bugs as the page shows them."""
    rows = [HEAD]
    for bug, rule in BUGS.items():
        (breach, *_) = [one for one in breaches(bug, 0) if one.rule is rule]
        assert bug.__doc__ is not None
        rows.append(f"| {bug.__doc__} | {rule.value} (`{rule.name}`) | {breach.did} |\n")
    return "".join(rows)


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found_on_every_seed_by_a_message_that_names_the_rule(bug: type[Shop]) -> None:
    for seed in range(6):
        found = {breach.rule: breach for breach in breaches(bug, seed)}
        said = str(found[BUGS[bug]])
        assert re.fullmatch(r"shop \d broke a rule at [\d.]+ s: .+\. What it did: .+\. What it should do: .+\.", said)
        assert BUGS[bug].value in said
        assert "token-" not in said
        assert "made-up" not in said


def test_the_driver_of_the_example_breaks_no_rule() -> None:
    found = {seed: breaches(Shop, seed) for seed in range(15)}
    assert not {seed: said for seed, said in found.items() if said}


def test_the_page_shows_every_bug_and_what_is_said_of_it() -> None:
    assert table() in PAGE


class Watched(_source_world.SourceWorld):
    """The world around a real source, whose machines, exchanges and callers are looked at."""

    check: DriverCheck | None = None

    @override
    def _new_source(self) -> AsyncioSource | TrioSource:
        if self.check is None:
            self.check = DriverCheck(self._clock, snapshots=False)
        self.check.crashed()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_source_world, "TokenMachine", self.check.machine_class)
            return super()._new_source()

    @override
    async def _exchange(self, request: TokenRequest, /) -> HttpResponse:
        assert self.check is not None
        with self.check.exchange(request):
            return await super()._exchange(request)

    @override
    async def _token(self, source: AsyncioSource | TrioSource) -> str:
        assert self.check is not None
        with self.check.caller(min_ttl=self._plan.min_ttl):
            return await super()._token(source)

    @override
    async def _call(self, header: str) -> HttpResponse:
        assert self.check is not None
        self.check.api_call(header)
        return await super()._call(header)

    @override
    def _suspend(self, seconds: float) -> None:
        super()._suspend(seconds)
        assert self.check is not None
        self.check.resumed()

    @override
    async def _farewell(self) -> None:
        await super()._farewell()
        assert self.check is not None
        self.check.end()


@pytest.mark.parametrize("loop", LOOPS)
def test_our_own_sources_break_no_rule_in_a_hostile_world(loop: Loop) -> None:
    for seed in range(3):
        scenario = draw_scenario(seed, seconds=3_600.0)
        patient = replace(scenario.clients[0], patience=max(scenario.clients[0].patience, 1.0))
        world = Watched(replace(scenario, clients=(patient,)), loop, Coordinator)
        world.run()
        assert world.checks.broken is None
        assert world.check is not None
        assert not world.check.broken, seed


def test_our_own_source_for_threads_breaks_no_rule() -> None:
    now = 0.0
    check = DriverCheck(lambda: now)
    server = AuthorizationServer("client", "key", script=Script(lifetime=300))
    grant = server.grant("https://api.example")

    def exchange(request: TokenRequest) -> HttpResponse:
        with check.exchange(request):
            path = ServerRequest(request.method, "/v2.01/oauth/token", request.headers, request.body)
            response = server.handle(now, path).response
            if response is None:
                raise ConnectionError
            return response

    coordinator = Coordinator(check.machine_class(grant, draw=lambda: 0.5), clock=lambda: now)
    served = 0
    with TokenSource(grant, exchange=exchange, coordinator=coordinator, background=False) as source:
        for fault in (*TokenFault, *(TokenFault.NONE,) * 10):
            server.next_token_requests(TokenBehaviour(fault=fault))
            for _ in range(20):
                now += 30
                with suppress(TokenUnavailable), check.caller():
                    check.api_call(source.authorization(timeout=0.5))
                    served += 1
        assert not check.end()
    assert served > 300
    assert len(server.tokens) > 20
