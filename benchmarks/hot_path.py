"""What a call pays for its Authorization value while the token is valid, as ratios measured in one run.

    python benchmarks/hot_path.py

Each candidate is timed in turn with its floor, round after round in this one process, and the ratio of a round is that
of two neighbours in time: noise of the machine hits both. What is printed is the median ratio of all rounds. The floor
is what anyone would write by hand: a bound method that reads a clock, compares, and returns an attribute.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import sys
import time
from collections.abc import Awaitable, Callable

from evertoken import HttpResponse, TokenMachine, TokenRequest, mangopay
from evertoken_transports import Coordinator, suspend_aware_clock
from evertoken_transports.asyncio import TokenSource as AsyncTokenSource
from evertoken_transports.otel import Telemetry
from evertoken_transports.threads import TokenSource

ROUNDS = 41
CALLS = 20_000
ANSWER = HttpResponse(200, (), b'{"access_token":"0123456789abcdef","token_type":"bearer","expires_in":86400}')


class Floor:
    """The hand-written comparison, whose header stays good for a day by ``clock``."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.quiet_until = clock() + 86_400
        self.header = "Bearer 0123456789abcdef"

    def authorization(self) -> str | None:
        """Read the clock by a global name, as one would write it."""
        if CLOCK() < self.quiet_until:
            return self.header
        return None

    def authorization_monotonic(self) -> str | None:
        """Do the same with ``time.monotonic``."""
        if time.monotonic() < self.quiet_until:
            return self.header
        return None

    async def authorization_async(self) -> str | None:
        """Do the same as a coroutine."""
        if CLOCK() < self.quiet_until:
            return self.header
        return None


CLOCK = suspend_aware_clock


def answer(_: TokenRequest) -> HttpResponse:
    """An exchange that costs nothing."""
    return ANSWER


async def answer_async(_: TokenRequest) -> HttpResponse:
    """An exchange for asyncio that costs nothing."""
    return ANSWER


def timed(call: Callable[[], object], calls: int = CALLS) -> float:
    """Nanoseconds for one call, loop included."""
    start = time.perf_counter_ns()
    for _ in range(calls):
        call()
    return (time.perf_counter_ns() - start) / calls


async def timed_async(call: Callable[[], Awaitable[object]]) -> float:
    """The same, awaited."""
    start = time.perf_counter_ns()
    for _ in range(CALLS):
        await call()
    return (time.perf_counter_ns() - start) / CALLS


def report(name: str, candidate: list[float], floor: list[float], goal: str) -> None:
    """One line: medians, and the median of the rounds' ratios."""
    ratio = statistics.median(a / b for a, b in zip(candidate, floor, strict=True))
    print(f"{name:<58} {statistics.median(candidate):7.0f} ns  {ratio:5.2f} x  {goal}")


def measure_sync(source: TokenSource) -> None:
    """``authorization_nowait`` and ``authorization`` against the floor, in turn."""
    floor = Floor(CLOCK)
    rounds: dict[str, list[float]] = {"floor": [], "monotonic": [], "nowait": [], "authorization": []}
    calls = (floor.authorization, floor.authorization_monotonic, source.authorization_nowait, source.authorization)
    for _ in range(ROUNDS):
        for name, call in zip(rounds, calls, strict=True):
            rounds[name].append(timed(call))
    report("floor: by hand, the same clock", rounds["floor"], rounds["floor"], "")
    report("threads authorization_nowait()", rounds["nowait"], rounds["floor"], "goal: at most 1.2 x")
    report("threads authorization()", rounds["authorization"], rounds["floor"], "")
    report("threads authorization_nowait() / by hand with monotonic", rounds["nowait"], rounds["monotonic"], "")


def measure_observed(source: TokenSource, observed: TokenSource) -> None:
    """The same call, where OpenTelemetry listens: nothing happens while a token is fresh, so it hears nothing."""
    observed.warm_up()
    rounds: dict[str, list[float]] = {"plain": [], "observed": []}
    pair = (("plain", source), ("observed", observed))
    for number in range(ROUNDS * 50):  # Short rounds, since the noise of long ones is more than what is looked for.
        for name, candidate in pair if number % 2 else reversed(pair):
            rounds[name].append(timed(candidate.authorization_nowait, CALLS // 20))
    report("the same with OpenTelemetry / without", rounds["observed"], rounds["plain"], "goal: at most 1.01 x")


async def measure_async(source: AsyncTokenSource) -> None:
    """``await authorization()`` against the floor, as a plain call and as a coroutine."""
    floor = Floor(CLOCK)
    await source.warm_up()
    rounds: dict[str, list[float]] = {"floor": [], "coroutine": [], "awaited": []}
    for _ in range(ROUNDS):
        rounds["floor"].append(timed(floor.authorization))
        rounds["coroutine"].append(await timed_async(floor.authorization_async))
        rounds["awaited"].append(await timed_async(source.authorization))
    report("asyncio await authorization()", rounds["awaited"], rounds["floor"], "goal: at most 2 x")
    report("asyncio await authorization() / by hand, async def", rounds["awaited"], rounds["coroutine"], "")


def main() -> None:
    """Print the table."""
    grant = mangopay.sandbox("benchmark", "not-a-key")
    coordinator = Coordinator(TokenMachine(grant, draw=lambda: 0.5))
    source = TokenSource(grant, coordinator=coordinator, exchange=answer)
    source.warm_up()
    gc.collect()
    gc.disable()
    print(f"Python {sys.version.split()[0]}, {ROUNDS} rounds of {CALLS} calls; medians")
    measure_sync(source)
    watched = Coordinator(TokenMachine(grant, draw=lambda: 0.5))
    measure_observed(source, TokenSource(grant, coordinator=watched, exchange=answer, on_event=Telemetry()))
    asyncio.run(measure_async(AsyncTokenSource(grant, coordinator=coordinator, exchange=answer_async)))


if __name__ == "__main__":
    main()
