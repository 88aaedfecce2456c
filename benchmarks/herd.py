"""How long a herd waits for one token: 200 threads, or 1,000 tasks, that all ask at the same moment.

    python benchmarks/herd.py [--rounds N]

The token endpoint is the emulator on loopback, in this process, which answers after 200 ms. A herd is met three times:
without a token (cold), when the token is due but good (nobody should wait), and when it is used up. Printed are the
token requests that this cost, and the time until the last caller is served, in multiples of the 200 ms: the median of
all rounds, and the worst. Run it on an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import threading
import time
from collections.abc import Awaitable, Callable

import trio

from evertoken import RequestState, TokenMachine
from evertoken.testing import Route, Script, TokenBehaviour
from evertoken_transports import Coordinator, suspend_aware_clock
from evertoken_transports.asyncio import TokenSource as AsyncioSource
from evertoken_transports.emulator import Emulator
from evertoken_transports.threads import TokenSource as ThreadSource
from evertoken_transports.trio import TokenSource as TrioSource

LATENCY = 0.2
LIFETIME = 1_200
THREADS = 200
TASKS = 1_000


class World:
    """An emulator, and one coordinator whose clock can be put forward."""

    def __init__(self) -> None:
        script = Script(lifetime=LIFETIME, token=TokenBehaviour(latency_before=LATENCY))
        self.emulator = Emulator(script)
        self.emulator.start()
        self.ahead = 0.0
        machine = TokenMachine(self.emulator.grant(), draw=lambda: 0.5)
        self.coordinator = Coordinator(machine, clock=lambda: suspend_aware_clock() + self.ahead)

    def token_requests(self) -> int:
        """How many have reached the endpoint."""
        return sum(arrival.route is Route.TOKEN for arrival in self.emulator.arrivals)

    def settle(self) -> None:
        """Wait until no request is under way."""
        while self.coordinator.explain().request_state is RequestState.IN_FLIGHT:
            time.sleep(0.01)


def herd_of_threads(world: World) -> float:
    """Threads that all stand ready, and are let go at once."""
    source = ThreadSource(world.emulator.grant(), coordinator=world.coordinator)
    ready = threading.Barrier(THREADS + 1)

    def call() -> None:
        ready.wait()
        source.authorization()

    threads = [threading.Thread(target=call) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    ready.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start


def herd_of_asyncio(world: World) -> float:
    """Tasks of one asyncio loop."""

    async def main() -> float:
        source = AsyncioSource(world.emulator.grant(), coordinator=world.coordinator)
        start = time.perf_counter()
        await asyncio.gather(*(source.authorization() for _ in range(TASKS)))
        seconds = time.perf_counter() - start
        await settled(world, asyncio.sleep)
        return seconds

    return asyncio.run(main())


def herd_of_trio(world: World) -> float:
    """Tasks of one trio run."""

    async def main() -> float:
        source = TrioSource(world.emulator.grant(), coordinator=world.coordinator)
        start = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for _ in range(TASKS):
                nursery.start_soon(source.authorization)
        seconds = time.perf_counter() - start
        await settled(world, trio.sleep)
        return seconds

    return trio.run(main)


async def settled(world: World, sleep: Callable[[float], Awaitable[object]]) -> None:
    """Keep the loop running until the request beside the callers has ended: it would be given up with the loop."""
    while world.coordinator.explain().request_state is RequestState.IN_FLIGHT:
        await sleep(0.01)


HERDS = {
    f"{THREADS} threads": herd_of_threads,
    f"{TASKS:,} tasks of asyncio": herd_of_asyncio,
    f"{TASKS:,} tasks of trio": herd_of_trio,
}
OCCASIONS = {"cold": 0.0, "due": LIFETIME - 20.0, "used up": float(LIFETIME)}


def measure(herd: Callable[[World], float], rounds: int) -> dict[str, list[tuple[int, float]]]:
    """For each occasion and round: token requests, and seconds."""
    measured: dict[str, list[tuple[int, float]]] = {occasion: [] for occasion in OCCASIONS}
    for _ in range(rounds):
        world = World()
        for occasion, seconds in OCCASIONS.items():
            world.ahead += seconds
            before = world.token_requests()
            waited = herd(world)
            world.settle()
            measured[occasion].append((world.token_requests() - before, waited))
        world.emulator.close()
    return measured


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds: int = parser.parse_args().rounds
    print(f"python benchmarks/herd.py --rounds {rounds}: an endpoint that takes {LATENCY * 1000:.0f} ms")
    print(f"{'herd':<24}{'token':<10}{'requests':>9}{'all served, x latency':>24}{'worst':>9}")
    for name, herd in HERDS.items():
        for occasion, results in measure(herd, rounds).items():
            requests = max(count for count, _ in results)
            ratios = [seconds / LATENCY for _, seconds in results]
            print(f"{name:<24}{occasion:<10}{requests:>9}{statistics.median(ratios):>24.2f}{max(ratios):>9.2f}")


if __name__ == "__main__":
    main()
