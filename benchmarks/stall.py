"""How long the event loop stands still while a token is fetched from an endpoint that takes 2 s.

    python benchmarks/stall.py [--rounds N]

A heartbeat wakes every millisecond in the same loop; printed is the longest time by which one beat was late, and for
comparison what the machine itself does to a loop in which nothing else happens. The token endpoint is the emulator on
loopback, in a process of its own. "the source" is ``TokenSource`` with its own exchange; the others are calls of an
``AsyncClient(auth=BearerAuth(...))``, token request included. A call without auth goes before each of them, since these
libraries load parts of themselves in the first call of a process, and hold up the loop meanwhile. Goal: under 20 ms on
an idle machine.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import statistics
import time
from collections.abc import Awaitable, Callable
from functools import partial
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any, Literal

import trio

from evertoken import ClientCredentials, TokenMachine, mangopay
from evertoken.testing import Script, TokenBehaviour
from evertoken_transports import Coordinator
from evertoken_transports.asyncio import TokenSource as AsyncioSource
from evertoken_transports.emulator import Emulator
from evertoken_transports.trio import TokenSource as TrioSource

LATENCY = 2.0
BEAT = 0.001
CLIENT_ID, API_KEY = "emulated-client", "emulated-api-key"

Runtime = Literal["asyncio", "trio"]
Work = Callable[[], Awaitable[object]]


def serve(pipe: Connection) -> None:
    """The emulator, until the other end hangs up."""
    script = Script(token=TokenBehaviour(latency_before=LATENCY))
    with Emulator(script, client_id=CLIENT_ID, api_key=API_KEY) as emulator:
        pipe.send(emulator.base_url)
        pipe.recv()


class Heartbeat:
    """Beats in the loop that runs, and keeps the longest delay, in seconds."""

    def __init__(self) -> None:
        self.worst = 0.0

    async def run(self, sleep: Callable[[float], Awaitable[object]]) -> None:
        """Beat until cancelled."""
        while True:
            before = time.perf_counter()
            await sleep(BEAT)
            self.worst = max(self.worst, time.perf_counter() - before - BEAT)


async def beside_asyncio(work: Work) -> float:
    """Do ``work`` beside a heartbeat. Returns the heartbeat's longest delay, in seconds."""
    heart = Heartbeat()
    beating = asyncio.create_task(heart.run(asyncio.sleep))
    await asyncio.sleep(0.05)
    await work()
    beating.cancel()
    return heart.worst


async def beside_trio(work: Work) -> float:
    """Do the same in trio."""
    heart = Heartbeat()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(heart.run, trio.sleep)
        await trio.sleep(0.05)
        await work()
        nursery.cancel_scope.cancel()
    return heart.worst


def coordinator_of(grant: ClientCredentials) -> Coordinator:
    """A new coordinator, so that no token is there yet."""
    return Coordinator(TokenMachine(grant, draw=lambda: 0.5))


async def idle(runtime: Runtime, _: ClientCredentials) -> float:
    """Nothing but the heartbeat."""
    if runtime == "trio":
        return await beside_trio(partial(trio.sleep, LATENCY))
    return await beside_asyncio(partial(asyncio.sleep, LATENCY))


async def source(runtime: Runtime, grant: ClientCredentials) -> float:
    """A caller of ``TokenSource``."""
    coordinator = coordinator_of(grant)
    if runtime == "trio":
        return await beside_trio(TrioSource(grant, coordinator=coordinator).authorization)
    return await beside_asyncio(AsyncioSource(grant, coordinator=coordinator).authorization)


def client(library: str) -> Callable[[Runtime, ClientCredentials], Awaitable[float]]:
    """A call of that library's client."""
    adapter: Any = import_module(f"evertoken_transports.{library}")
    theirs: Any = import_module(library)

    async def run(runtime: Runtime, grant: ClientCredentials) -> float:
        auth = adapter.BearerAuth(grant, coordinator=coordinator_of(grant))
        async with theirs.AsyncClient() as plain:
            await plain.get(f"{auth.api_base}/users")
        # What it takes to make a client is the caller's affair.
        async with theirs.AsyncClient(auth=auth, base_url=auth.api_base, timeout=10 * LATENCY) as made:

            async def call() -> None:
                (await made.get("/users")).raise_for_status()

            return await (beside_trio(call) if runtime == "trio" else beside_asyncio(call))

    return run


def worst_of(
    candidate: Callable[[Runtime, ClientCredentials], Awaitable[float]], runtime: Runtime, grant: ClientCredentials
) -> float:
    """The longest delay of a beat beside ``candidate``, in milliseconds, in a loop that is made for it."""

    async def main() -> float:
        return await candidate(runtime, grant)

    return (trio.run(main) if runtime == "trio" else asyncio.run(main())) * 1000


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds: int = parser.parse_args().rounds
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(there,))
    server.start()
    grant = mangopay.sandbox(CLIENT_ID, API_KEY, base_url=here.recv())
    candidates = {
        "an idle loop": idle,
        "the source": source,
        "httpx.AsyncClient": client("httpx"),
        "httpx2.AsyncClient": client("httpx2"),
    }
    runtimes: tuple[Runtime, ...] = ("asyncio", "trio")
    print(
        f"python benchmarks/stall.py --rounds {rounds}: ms by which a beat was late, in a token call of {LATENCY:.0f} s"
    )
    print(f"{'':<22}{'loop':<10}{'median':>8}{'worst':>8}")
    for name, candidate in candidates.items():
        for runtime in runtimes:
            delays = [worst_of(candidate, runtime, grant) for _ in range(rounds)]
            print(f"{name:<22}{runtime:<10}{statistics.median(delays):>8.1f}{max(delays):>8.1f}")
    here.send(None)
    server.join()


if __name__ == "__main__":
    main()
