"""OpenTelemetry: metrics and traces of a program's tokens. Needs ``evertoken[otel]``, which is the API alone.

::

    auth = BearerAuth(grant, on_event=Telemetry())

Where the numbers go, to Prometheus, say, or to a collector, is up to the SDK that the program has set up.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

try:
    from opentelemetry import metrics, trace
    from opentelemetry.context import Context
except ImportError as error:
    raise ImportError("evertoken_transports.otel needs OpenTelemetry's API: pip install 'evertoken[otel]'") from error

from evertoken import Explanation, Problem, Rejection
from evertoken_transports._coordinator import Coordinator
from evertoken_transports._events import (
    CallFailed,
    CallWaited,
    CredentialsReplaced,
    EndpointBlocked,
    EndpointUnblocked,
    Event,
    EventCallback,
    RequestEnded,
    RequestFailed,
    RequestNotSigned,
    RequestStarted,
    StoreLooked,
    StoreReported,
    TokenDropped,
    TokenGranted,
    TokenKept,
)

__all__ = ("Telemetry",)

_SCOPE = "evertoken"
_CLIENT = "evertoken.client.id"
_Attributes = dict[str, str]
_Read = Callable[[Explanation], float]
_Worst = Callable[[float, float], float]
_Counted = EndpointBlocked | TokenDropped | TokenKept | CredentialsReplaced | StoreReported | RequestNotSigned
_HANDFUL = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 60.0)
"""Bounds of the histograms, in seconds: token requests end within ``request_timeout``, and callers wait as long."""


class Telemetry:
    """An ``on_event`` that counts and measures what happens, and makes a span of each token request and each wait.

    Args:
        meter_provider: its meter counts. Default: the program's own provider, also if that is set up later.
        tracer_provider: its tracer makes spans. Default: the program's own provider, also if that is set up later.
        by_client: whether metrics are told apart by client id. With thousands of clients say False: each client would
            have time series of its own, and SDKs leave out what is above their limit.

    Importing this module raises ImportError without ``evertoken[otel]``.

    One object is enough for a process, however many sources it has; it keeps none of them alive. Safe to use from any
    thread. The names of instruments, attributes and spans stand in one table in the documentation.

    The gauges do not wait for events: whenever a reader collects, they look at the machine of each coordinator. Of
    several with the same attributes they tell the worst, since that is the one to worry about.
    """

    def __init__(
        self,
        *,
        meter_provider: metrics.MeterProvider | None = None,
        tracer_provider: trace.TracerProvider | None = None,
        by_client: bool = True,
    ) -> None:
        meter = metrics.get_meter(_SCOPE, meter_provider=meter_provider)
        self._tracer = trace.get_tracer(_SCOPE, tracer_provider=tracer_provider)
        self._by_client = by_client
        self._watches: weakref.WeakKeyDictionary[Coordinator, _Watch] = weakref.WeakKeyDictionary()
        self._lone = _Watch(self)
        self._make_counters(meter)
        self._make_gauges(meter)

    def __call__(self, event: Event) -> None:
        """Count ``event``, of whatever source: for a callback of your own that passes events on.

        Sources and coordinators call what :meth:`watch` returns instead, so that the gauges know of them.
        """
        self._lone(event)

    def watch(self, coordinator: Coordinator) -> EventCallback:
        """The callback for the events of ``coordinator``, whose state the gauges show from now on.

        Sources and coordinators that are given this object as ``on_event`` call this.
        """
        known = self._watches.get(coordinator)
        return known or self._watches.setdefault(coordinator, _Watch(self))

    def _make_counters(self, meter: metrics.Meter) -> None:
        self.requests = meter.create_histogram(
            "evertoken.token.request.duration",
            unit="s",
            description="Requests to the token endpoint, from their start to their end.",
            explicit_bucket_boundaries_advisory=_HANDFUL,
        )
        self.waits = meter.create_histogram(
            "evertoken.call.wait.duration",
            unit="s",
            description="Calls that had to wait for a token, or got none, and for how long.",
            explicit_bucket_boundaries_advisory=_HANDFUL,
        )
        count = meter.create_counter
        self.looks = count("evertoken.store.looks", "{look}", "Looks into a shared store.")
        self.troubles = count("evertoken.store.troubles", "{trouble}", "A shared store is in trouble.")
        self.blocks = count("evertoken.endpoint.blocks", "{block}", "The token endpoint closed itself to the client.")
        self.rejections = count("evertoken.token.rejections", "{rejection}", "An API rejected a token.")
        self.secrets = count("evertoken.credentials.replacements", "{replacement}", "The client's secret was replaced.")
        self.unsigned = count("evertoken.api.requests.unsigned", "{request}", "API requests sent without a token.")

    def _make_gauges(self, meter: metrics.Meter) -> None:
        def gauge(name: str, unit: str, says: str, read: _Read, worst: _Worst) -> None:
            def observed(_: metrics.CallbackOptions) -> Iterator[metrics.Observation]:
                return self._observed(read, worst)

            meter.create_observable_gauge(name, [observed], unit, says)

        gauge("evertoken.token.remaining", "s", "For how long the token is still handed out.", _life, min)
        gauge("evertoken.budget.remaining", "{request}", "Token requests that may be made at once.", _budget, min)
        gauge("evertoken.endpoint.blocked.remaining", "s", "How long the endpoint is not to be asked.", _blocked, max)

    def _observed(self, read: _Read, worst: _Worst) -> Iterator[metrics.Observation]:
        found: dict[str, float] = {}
        for coordinator in [held for known in self._watches.keyrefs() if (held := known()) is not None]:
            machine = coordinator.machine
            value = read(machine.explain(coordinator.clock()))
            client = machine.grant.client_id if self._by_client else ""
            found[client] = worst(found.get(client, value), value)
        for client, value in found.items():
            yield metrics.Observation(value, self.attributes(client))

    def attributes(self, client_id: str, more: Mapping[str, str] | None = None) -> _Attributes:
        """The attributes of a metric that is about ``client_id``, and ``more``."""
        return {**({_CLIENT: client_id} if self._by_client else {}), **(more or {})}

    def count(self, event: _Counted) -> None:
        """Add one to the counter of such an event."""
        match event:
            case EndpointBlocked():
                self.blocks.add(1, self.attributes(event.client_id, {"evertoken.block.kind": event.kind.value}))
            case TokenDropped():
                verdict = {"evertoken.rejection.verdict": Rejection.DROPPED.value}
                self.rejections.add(1, self.attributes(event.client_id, verdict))
            case TokenKept():
                verdict = {"evertoken.rejection.verdict": event.verdict.value}
                self.rejections.add(1, self.attributes(event.client_id, verdict))
            case CredentialsReplaced():
                self.secrets.add(1, self.attributes(event.client_id))
            case StoreReported():
                self.troubles.add(1, self.attributes(event.client_id))
            case RequestNotSigned():
                self.unsigned.add(1, {"server.address": event.origin})

    def span_of(self, begun: _Begun) -> trace.Span:
        """The span of a token request, or of a look into a store, that is over.

        It has no parent, since the request works for all callers and may outlive the one who began it. It links to that
        caller's span. It is made at the end, since nobody may be listening then, and an open span is never exported.
        """
        event = begun.event
        return self._tracer.start_span(
            "evertoken token request" if isinstance(event, RequestStarted) else "evertoken store look",
            context=Context(),
            links=begun.links,
            start_time=begun.at,
            attributes={_CLIENT: event.client_id, "evertoken.request.reason": event.reason.value},
        )

    def waited(self, event: CallWaited | CallFailed) -> None:
        """Measure the wait of one caller, and make a span of it below the caller's current one."""
        problem = event.problem if isinstance(event, CallFailed) else None
        why = _error_type(problem)
        self.waits.record(event.seconds, self.attributes(event.client_id, why))
        end = time.time_ns()
        span = self._tracer.start_span(
            "evertoken wait for token",
            start_time=end - int(event.seconds * 1e9),
            attributes={_CLIENT: event.client_id, **why},
        )
        _note(span, problem)
        span.end(end)


class _Begun(NamedTuple):
    """A token request, or a look into a store, that is under way."""

    event: RequestStarted | StoreLooked
    links: list[trace.Link]
    """A link to the span in which it began, if it began in one."""
    at: int
    """Unix time in nanoseconds, as spans have it."""
    monotonic: float


class _Watch:
    """Takes the events of one coordinator, and keeps what began each attempt until the end of the attempt is told."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._under_way: dict[tuple[int, str, int], _Begun] = {}
        """What is under way, by process, client and attempt. A forked child does not end what its parent began."""

    def __call__(self, event: Event) -> None:
        match event:
            case StoreLooked() | RequestStarted():
                self._started(event)
            case RequestEnded():
                self._ended(event)
            case CallWaited() | CallFailed():
                self._telemetry.waited(event)
            case TokenGranted() | RequestFailed() | EndpointUnblocked():
                pass  # The end of the request and the gauges say the same.
            case _:
                self._telemetry.count(event)

    def _started(self, event: RequestStarted | StoreLooked) -> None:
        """Note what begins. A look that found nothing ends here: the request that follows has a span of its own."""
        if isinstance(event, StoreLooked):
            self._telemetry.looks.add(1, self._telemetry.attributes(event.client_id))
        look = self._under_way.pop(_key(event), None)
        if look is not None:
            self._telemetry.span_of(look).end()
        here = trace.get_current_span().get_span_context()
        links = [trace.Link(here)] if here.is_valid else []
        self._under_way[_key(event)] = _Begun(event, links, time.time_ns(), time.monotonic())

    def _ended(self, event: RequestEnded) -> None:
        begun = self._under_way.pop(_key(event), None)
        if begun is None:
            return  # The attempt was begun before anybody listened, or by the parent of this process.
        how: _Attributes = {"evertoken.request.outcome": event.outcome, **_error_type(event.problem)}
        if event.asked:
            reason: _Attributes = {"evertoken.request.reason": begun.event.reason.value}
            attributes = self._telemetry.attributes(event.client_id, reason | how)
            self._telemetry.requests.record(time.monotonic() - begun.monotonic, attributes)
        span = self._telemetry.span_of(begun)
        span.set_attributes(how)
        _note(span, event.problem)
        span.end()


def _key(event: RequestStarted | StoreLooked | RequestEnded) -> tuple[int, str, int]:
    return os.getpid(), event.client_id, event.attempt


def _error_type(problem: Problem | None) -> _Attributes:
    """The attribute ``error.type``, which by the semantic conventions is there only if something went wrong."""
    return {} if problem is None else {"error.type": problem.kind.value}


def _note(span: trace.Span, problem: Problem | None) -> None:
    if problem is not None:
        span.set_status(trace.Status(trace.StatusCode.ERROR, str(problem)))


def _life(seen: Explanation) -> float:
    return 0.0 if seen.fresh_until is None else max(0.0, seen.fresh_until - seen.now)


def _budget(seen: Explanation) -> float:
    return seen.budget_left


def _blocked(seen: Explanation) -> float:
    return max((until - seen.now for _, until in seen.blocks), default=0.0)
