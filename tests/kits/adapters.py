"""Every adapter under one name: a runtime, and the library by which its token requests travel."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from importlib import import_module
from itertools import product
from typing import Any, NamedTuple

import trio

from evertoken import ClientCredentials, Policy, TokenMachine
from evertoken_transports import Coordinator
from tests.kits.httpx_kits import LIBRARIES, RUNTIMES, run_in
from tests.kits.worlds import LIMIT, run_in_threads, until

__all__ = ("EVERYWHERE", "KINDS", "Kind", "ask", "carriers", "coordinator_of", "exchange_of", "source_of")

# The classes have no base in common: a source of threads and one of a loop have methods of the same names, not types.
Ours = Any


class Kind(NamedTuple):
    """One adapter."""

    runtime: str
    library: str

    def __str__(self) -> str:
        return "-".join(self)


KINDS = tuple(Kind(*pair) for pair in product(RUNTIMES, ("h11", *LIBRARIES)))

EVERYWHERE = (*KINDS, *(Kind("uvloop", library) for library in ("h11", *LIBRARIES)))
"""All of :data:`KINDS`, and those of asyncio a second time, on uvloop."""

_RAW = {
    "threads": ("h11", "H11Exchange"),
    "asyncio": ("_exchanges.on_asyncio", "AsyncioExchange"),
    "trio": ("_exchanges.on_trio", "TrioExchange"),
    "uvloop": ("_exchanges.on_asyncio", "AsyncioExchange"),
}


def exchange_of(kind: Kind, **options: object) -> Ours:
    """A new exchange, which is made with ``options``."""
    if kind.library == "h11":
        module, name = _RAW[kind.runtime]
    else:
        module, name = kind.library, "HttpxExchange" if kind.runtime == "threads" else "AsyncHttpxExchange"
    return getattr(import_module(f"evertoken_transports.{module}"), name)(**options)


def coordinator_of(grant: ClientCredentials, policy: Policy | None = None) -> Coordinator:
    """A coordinator that nobody else shares, on the real clock."""
    return Coordinator(TokenMachine(grant, policy=policy or Policy(), draw=lambda: 0.5))


def source_of(kind: Kind, coordinator: Coordinator, **options: object) -> Ours:
    """A new source, whose exchange is made with ``options``."""
    machine = coordinator.machine
    exchange = exchange_of(kind, clock=coordinator.clock, **options)
    runtime = "asyncio" if kind.runtime == "uvloop" else kind.runtime
    module: Ours = import_module(f"evertoken_transports.{runtime}")
    return module.TokenSource(machine.grant, exchange=exchange, coordinator=coordinator)


def ask(
    kind: Kind,
    coordinator: Coordinator,
    *timeouts: float,
    then: Callable[[], object] = lambda: None,
    **options: object,
) -> list[object]:
    """What comes of callers with these timeouts who ask at the same time: a header or an exception each.

    ``then`` is called when all of them are back. The test fails if one of them is stuck, or if the thread or task that
    carried the request is still there long after. The exchange is made with ``options``.
    """
    source = source_of(kind, coordinator, **options)
    results: list[object] = []
    if kind.runtime == "threads":
        results += run_in_threads(len(timeouts), lambda index: source.authorization(timeouts[index]))()
        then()
    else:
        run_in(kind.runtime, lambda: _ask_and_see_it_end(kind.runtime, source, timeouts, results, then))
    until(lambda: not _threads())
    return results


def carriers(runtime: str) -> list[str]:
    """The names of our threads, and of our tasks in the loop that runs here."""
    tasks: list[str] = []
    if runtime == "asyncio":
        tasks += (task.get_name() for task in asyncio.all_tasks())
    if runtime == "trio":
        root = trio.lowlevel.current_root_task()
        tasks += () if root is None else _names_below(root)
    return [*_threads(), *(name for name in tasks if name.startswith("evertoken-"))]


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("evertoken-")]


def _names_below(task: trio.lowlevel.Task) -> Iterator[str]:
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            yield child.name
            yield from _names_below(child)


async def _ask_and_see_it_end(
    runtime: str, source: Ours, timeouts: tuple[float, ...], results: list[object], then: Callable[[], object]
) -> None:
    results += [None] * len(timeouts)

    async def caller(index: int) -> None:
        try:
            results[index] = await source.authorization(timeouts[index])
        except Exception as error:  # noqa: BLE001 (the test looks at it)
            results[index] = error

    async def callers_and_carrier() -> None:
        await _side_by_side(runtime, caller, len(timeouts))
        then()
        while carriers(runtime):
            await _pause(runtime)

    if runtime == "trio":
        with trio.fail_after(LIMIT):
            await callers_and_carrier()
    else:
        async with asyncio.timeout(LIMIT):
            await callers_and_carrier()


async def _side_by_side(runtime: str, work: Callable[[int], Awaitable[None]], count: int) -> None:
    if runtime == "trio":
        async with trio.open_nursery() as nursery:
            for index in range(count):
                nursery.start_soon(work, index)
    else:
        await asyncio.gather(*(work(index) for index in range(count)))


async def _pause(runtime: str) -> None:
    if runtime == "trio":
        await trio.sleep(0.005)
    else:
        await asyncio.sleep(0.005)
