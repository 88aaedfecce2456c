"""Metrics and traces through OpenTelemetry's own SDK."""

from __future__ import annotations

import asyncio
import gc
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from typing_extensions import override

from evertoken import BlockKind, Challenge, HttpResponse, TokenMachine, TokenRequest, TokenUnavailable
from evertoken.testing import TokenBehaviour, TokenFault
from evertoken_transports import Coordinator, RequestEnded, RequestNotSigned, StoreReported
from evertoken_transports.asyncio import TokenSource as AsyncioSource
from evertoken_transports.otel import Telemetry
from evertoken_transports.threads import TokenSource
from tests.kits import canary
from tests.kits.worlds import World

CLIENT = "evertoken.client.id"
Points = dict[tuple[tuple[str, object], ...], Any]


class _Listing(SpanProcessor):
    """Notes the name of each span that is begun."""

    def __init__(self, names: list[str]) -> None:
        self._names = names

    @override
    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self._names.append(span.name)


class Sdk:
    """The real thing, whose output stays here."""

    def __init__(self, *, by_client: bool = True) -> None:
        self.reader = InMemoryMetricReader()
        self.spans = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        self.begun: list[str] = []
        self.tracers.add_span_processor(_Listing(self.begun))
        self.telemetry = Telemetry(
            meter_provider=MeterProvider([self.reader]), tracer_provider=self.tracers, by_client=by_client
        )

    def points(self, name: str) -> Points:
        """Of an instrument: for each set of attributes what was counted, or the point of a histogram."""
        data = self.reader.get_metrics_data()
        every = [
            metric
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]
        found: Points = {}
        for point in (point for metric in every if metric.name == name for point in metric.data.data_points):
            found[attributes(point.attributes)] = point.value if isinstance(point, NumberDataPoint) else point
        return found

    def finished(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans.get_finished_spans() if span.name == name]


def attributes(given: Mapping[str, Any] | None) -> tuple[tuple[str, object], ...]:
    return tuple(sorted((key, value) for key, value in (given or {}).items() if key != CLIENT))


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def sdk() -> Sdk:
    return Sdk()


def source_of(world: World, sdk: Sdk) -> TokenSource:
    return TokenSource(
        world.grant,
        coordinator=world.coordinator,
        exchange=world.endpoint,
        background=False,
        on_event=sdk.telemetry,
    )


def test_requests_are_counted_by_reason_and_outcome(world: World, sdk: Sdk) -> None:
    source = source_of(world, sdk)
    world.server.next_token_requests(TokenBehaviour(fault=TokenFault.SERVER_ERROR))
    with pytest.raises(TokenUnavailable):
        source.authorization(timeout=0.01)
    world.advance(2)
    header = source.authorization()
    source.token_worked(header)
    source.token_rejected(header, Challenge.TOKEN)
    source.authorization()
    found = {key: point.count for key, point in sdk.points("evertoken.token.request.duration").items()}
    outcome, reason = "evertoken.request.outcome", "evertoken.request.reason"
    assert found == {
        (("error.type", "server"), (outcome, "failed"), (reason, "no token")): 1,
        ((outcome, "granted"), (reason, "no token")): 1,
        ((outcome, "granted"), (reason, "rejected")): 1,
    }
    assert sdk.points("evertoken.token.rejections") == {(("evertoken.rejection.verdict", "dropped"),): 1}


def test_calls_that_wait_and_calls_that_fail_are_measured_and_the_others_are_not(world: World, sdk: Sdk) -> None:
    source = source_of(world, sdk)
    source.authorization()
    for _ in range(50):
        source.authorization()
    world.clock.now += 2_000
    source.coordinator.endpoint_blocked(BlockKind.LOCKED, 60)
    with pytest.raises(TokenUnavailable):
        source.authorization()
    found = {key: point.count for key, point in sdk.points("evertoken.call.wait.duration").items()}
    assert found == {(): 1, (("error.type", "locked"),): 1}


def test_blocks_replacements_and_trouble_are_counted(world: World, sdk: Sdk) -> None:
    source = source_of(world, sdk)
    source.coordinator.endpoint_blocked(BlockKind.RATE_LIMITED, 60)
    source.replace_credentials(world.grant.with_secret(canary.secret(1)))
    source.coordinator._store_noted("the store is away")
    sdk.telemetry(RequestNotSigned("https://elsewhere.example"))
    sdk.telemetry(StoreReported("somebody", "so is theirs"))
    assert sdk.points("evertoken.endpoint.blocks") == {(("evertoken.block.kind", "rate limited"),): 1}
    assert sdk.points("evertoken.credentials.replacements") == {(): 1}
    assert sdk.points("evertoken.api.requests.unsigned") == {(("server.address", "https://elsewhere.example"),): 1}
    assert sdk.points("evertoken.store.troubles") == {(): 1}


def test_gauges_are_right_between_events_and_forget_a_source_that_is_gone(world: World, sdk: Sdk) -> None:
    source = source_of(world, sdk)
    assert sdk.points("evertoken.token.remaining") == {(): 0.0}
    source.authorization()
    world.clock.now += 95
    assert sdk.points("evertoken.token.remaining") == {(): 1_100.0}
    assert sdk.points("evertoken.budget.remaining") == {(): 10}
    source.endpoint_blocked(600)
    (until,) = [until for _, until in source.explain().blocks]
    world.clock.now += 100
    assert sdk.points("evertoken.endpoint.blocked.remaining") == {(): until - world.clock.now}
    del source
    world.coordinator = world.new_coordinator()
    gc.collect()
    assert sdk.points("evertoken.token.remaining") == {}


def test_of_several_sources_of_one_client_the_worst_is_shown_and_their_requests_are_not_confused(sdk: Sdk) -> None:
    worlds = [World(), World()]
    sources = [source_of(world, sdk) for world in worlds]
    requests = [world.coordinator._claim_or_wait(print)[1] for world in worlds]
    for world, request in zip(worlds, requests, strict=True):
        assert request is not None
        world.coordinator.receive_response(request, world.endpoint(request))
    assert [point.count for point in sdk.points("evertoken.token.request.duration").values()] == [2]
    worlds[0].clock.now += 195
    assert sdk.points("evertoken.token.remaining") == {(): 1_000.0}
    assert len(sdk.finished("evertoken token request")) == 2
    assert len(sources) == 2


def test_two_sources_of_one_coordinator_count_once(world: World, sdk: Sdk) -> None:
    first, second = source_of(world, sdk), source_of(world, sdk)
    first.authorization()
    assert [point.count for point in sdk.points("evertoken.token.request.duration").values()] == [1]
    assert second.authorization_nowait()


def test_without_client_ids_there_is_one_series_of_each(world: World) -> None:
    sdk = Sdk(by_client=False)
    source_of(world, sdk).authorization()
    data = sdk.reader.get_metrics_data()
    assert data is not None
    assert CLIENT not in str(data.to_json())


def test_a_request_is_a_root_span_with_a_link_and_a_wait_is_the_callers_child(world: World, sdk: Sdk) -> None:
    source = source_of(world, sdk)
    with sdk.tracers.get_tracer("test").start_as_current_span("the call") as call:
        source.authorization()
    (request,) = sdk.finished("evertoken token request")
    (wait,) = sdk.finished("evertoken wait for token")
    mine = call.get_span_context()
    assert request.parent is None
    assert [link.context.span_id for link in request.links] == [mine.span_id]
    assert request.attributes is not None
    assert dict(request.attributes) == {
        CLIENT: world.grant.client_id,
        "evertoken.request.reason": "no token",
        "evertoken.request.outcome": "granted",
    }
    assert wait.parent is not None
    assert wait.parent.span_id == mine.span_id
    assert wait.status.status_code is StatusCode.UNSET


def test_a_task_finds_its_wait_below_its_own_span(world: World, sdk: Sdk) -> None:
    async def exchange(request: TokenRequest) -> HttpResponse:
        return world.endpoint(request)

    async def call(name: str) -> None:
        with sdk.tracers.get_tracer("test").start_as_current_span(name):
            await source.authorization()

    async def main() -> None:
        await asyncio.gather(call("one"), call("two"))

    source = AsyncioSource(world.grant, coordinator=world.coordinator, exchange=exchange, on_event=sdk.telemetry)
    asyncio.run(main())
    waits = {span.parent.span_id for span in sdk.finished("evertoken wait for token") if span.parent is not None}
    calls = [span.get_span_context() for name in ("one", "two") for span in sdk.finished(name)]
    assert waits == {call.span_id for call in calls if call is not None}
    assert len(waits) == 2
    assert len(sdk.finished("evertoken token request")) == 1


def test_failures_are_marked_and_no_secret_is_in_what_is_exported(world: World, sdk: Sdk) -> None:
    source = source_of(world, sdk)
    world.server.next_token_requests(TokenBehaviour(fault=TokenFault.INVALID_CLIENT))
    with pytest.raises(TokenUnavailable):
        source.authorization()
    (request,) = sdk.finished("evertoken token request")
    (wait,) = sdk.finished("evertoken wait for token")
    for span in (request, wait):
        assert span.status.status_code is StatusCode.ERROR
        assert (span.attributes or {})["error.type"] == "credentials refused"
        canary.assert_clean(span.to_json())
    canary.assert_clean(sdk.reader.get_metrics_data())


def test_a_request_that_began_before_anybody_listened_is_not_counted(world: World, sdk: Sdk) -> None:
    _, request = world.coordinator._claim_or_wait(print)
    assert request is not None
    source = source_of(world, sdk)
    world.coordinator.receive_response(request, world.endpoint(request))
    assert sdk.points("evertoken.token.request.duration") == {}
    assert source.authorization_nowait()


def test_of_a_request_whose_end_nobody_hears_there_is_no_span_also_not_an_open_one(world: World, sdk: Sdk) -> None:
    source = source_of(world, sdk)
    _, request = world.coordinator._claim_or_wait(print)
    assert request is not None
    world.coordinator._tell_of_claim()
    assert sdk.begun == []
    world.advance(3)
    source.close()
    world.coordinator.receive_response(request, world.endpoint(request))
    assert sdk.begun == []


def test_a_forked_child_tells_no_end_of_the_request_of_its_parent(
    world: World, sdk: Sdk, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_of(world, sdk)
    _, request = world.coordinator._claim_or_wait(print)
    assert request is not None
    world.coordinator._tell_of_claim()
    with monkeypatch.context() as child:
        child.setattr(os, "getpid", lambda: -1)
        sdk.telemetry.watch(world.coordinator)(RequestEnded(world.grant.client_id, request.id, "abandoned"))
    assert sdk.begun == []
    assert sdk.points("evertoken.token.request.duration") == {}
    world.coordinator.receive_response(request, world.endpoint(request))
    assert sdk.begun == ["evertoken token request"]
    assert source.authorization_nowait()


def test_a_coordinator_takes_it_as_well(world: World, sdk: Sdk) -> None:
    machine = TokenMachine(world.grant, draw=lambda: 0.5)
    coordinator = Coordinator(machine, clock=world.clock, on_event=sdk.telemetry)
    TokenSource(world.grant, coordinator=coordinator, exchange=world.endpoint, background=False).warm_up()
    (point,) = sdk.points("evertoken.token.request.duration").values()
    assert point.count == 1
    assert point.sum < math.inf
    assert sdk.points("evertoken.token.remaining") == {(): 1_195.0}


def test_nothing_of_it_is_loaded_unasked() -> None:
    said = (
        "import sys, evertoken, evertoken_transports.threads, evertoken_transports.httpx as _;"
        "evertoken_transports.Coordinator;"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
