"""Connecting to one of a host's addresses on asyncio and trio: each has a head start over the next, the first wins.

The sockets of those that lose are closed, also where the caller is cancelled. ``asyncio.open_connection`` with
``happy_eyeballs_delay`` would leave them to the garbage collector.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Generic, TypeVar

from evertoken_transports._exchanges.addresses import HEAD_START, Address, chosen, look_up
from evertoken_transports._exchanges.connecting import no_connection
from evertoken_transports._exchanges.target import Target
from evertoken_transports._runtime import in_thread, runtime

_T = TypeVar("_T")


async def resolved(target: Target) -> list[Address]:
    """The addresses of ``target`` that may be tried, by the event loop's own resolver if it has one, else in a thread.

    That is a thread of its own, and not one of asyncio's or trio's pool: callers that wait for the token may hold all
    of those.

    Raises:
        OSError, UnicodeError: there is no such host.
        ExchangeFailed: :func:`.addresses.chosen` refuses the addresses.
    """
    # The loop is asked before the system, which knows neither the names nor the addresses of a simulated network.
    if (ask := _resolver_of_trio() if runtime() == "trio" else _resolver_of_asyncio()) is not None:
        found = await ask(target.host, target.port, type=socket.SOCK_STREAM)
        addresses = [Address(family, place) for family, _, _, _, place in found]
        return chosen(target, addresses, may_be_simulated=True)
    with suppress(socket.gaierror):
        return chosen(target, look_up(target, socket.AI_NUMERICHOST))
    return chosen(target, await in_thread(partial(look_up, target)))


_Resolver = Callable[..., Awaitable[Any]]
"""Like ``socket.getaddrinfo``, but awaited."""


def _resolver_of_asyncio() -> _Resolver | None:
    """The resolver of a loop that brings one, as uvloop and simulated loops do.

    None for asyncio's own, which would look names up in the loop's default pool of threads.
    """
    import asyncio  # noqa: PLC0415

    loop = asyncio.get_running_loop()
    if getattr(type(loop), "getaddrinfo", None) is asyncio.BaseEventLoop.getaddrinfo:
        return None
    return loop.getaddrinfo


def _resolver_of_trio() -> _Resolver | None:
    """The resolver that a test has given to trio, if any. trio tells it only to whoever sets another in its place."""
    import trio  # noqa: PLC0415

    set_by_test = trio.socket.set_custom_hostname_resolver(None)
    if set_by_test is None:
        return None
    trio.socket.set_custom_hostname_resolver(set_by_test)
    return trio.socket.getaddrinfo


async def first_of(
    target: Target,
    addresses: Sequence[Address],
    connect: Callable[[Address], Awaitable[_T]],
    discard: Callable[[_T], Awaitable[object]],
) -> _T:
    """What ``connect`` returns for the first of ``addresses`` that takes a connection (RFC 8305).

    ``discard`` closes a connection that was made and is not needed.

    Raises:
        ExchangeFailed: no address takes a connection. The text says what became of each.
        Exception: no address does, and ``connect`` has raised this, which is neither an OSError nor a UnicodeError.
    """
    race = _Race(connect, discard)
    try:
        await (_on_trio if runtime() == "trio" else _on_asyncio)(race, addresses)
        if race.won:
            return race.take()
    finally:
        await race.end()
    for _, error in race.failures:
        if not isinstance(error, OSError | UnicodeError):
            raise error
    raise no_connection(target, race.failures)


class _Race(Generic[_T]):
    """Tries several addresses at the same time, and keeps what has come of them. Used in one thread only."""

    def __init__(self, connect: Callable[[Address], Awaitable[_T]], discard: Callable[[_T], Awaitable[object]]) -> None:
        self._connect = connect
        self._discard = discard
        self._winners: list[_T] = []
        self._over = False
        self.failures: list[tuple[str, Exception]] = []
        self.stir: Callable[[], object] = bool
        """Called when the try of an address is over, for whoever waits for that."""

    @property
    def won(self) -> bool:
        return bool(self._winners)

    def take(self) -> _T:
        return self._winners.pop()

    async def run(self, address: Address) -> None:
        """Try one address. A failure is kept and not raised; only a cancellation is."""
        try:
            found = await self._connect(address)
        except Exception as error:  # noqa: BLE001 (raised by ``first_of`` unless another address is there)
            self.failures.append((address.text, error))
        else:
            if self._over or self._winners:
                await self._drop(found)
            else:
                self._winners.append(found)
        self.stir()

    async def end(self) -> None:
        """Discard a connection that nobody has taken, and each one that is made from now on."""
        self._over = True
        while self._winners:
            await self._drop(self._winners.pop())

    async def _drop(self, found: _T) -> None:
        with suppress(Exception):
            await self._discard(found)


async def _on_asyncio(race: _Race[_T], addresses: Sequence[Address]) -> None:
    import asyncio  # noqa: PLC0415

    stirred = asyncio.Event()
    race.stir = stirred.set
    tasks: list[asyncio.Task[None]] = []
    try:
        for address in addresses:
            tasks.append(asyncio.create_task(race.run(address), name="evertoken-connect"))
            if len(tasks) < len(addresses):
                with suppress(TimeoutError):
                    async with asyncio.timeout(HEAD_START):
                        await stirred.wait()
            if race.won:
                return
            stirred.clear()
        while not race.won and len(race.failures) < len(addresses):
            await stirred.wait()
            stirred.clear()
    finally:
        for task in tasks:
            task.cancel()


async def _on_trio(race: _Race[_T], addresses: Sequence[Address]) -> None:
    import trio  # noqa: PLC0415

    stirred = trio.Event()

    async def run(address: Address) -> None:
        await race.run(address)

    def stir() -> None:
        nonlocal stirred
        stirred.set()
        stirred = trio.Event()

    race.stir = stir
    async with trio.open_nursery() as nursery:
        for number, address in enumerate(addresses, 1):
            waiting = stirred
            nursery.start_soon(run, address)
            if number < len(addresses):
                with trio.move_on_after(HEAD_START):
                    await waiting.wait()
            if race.won:
                break
        while not race.won and len(race.failures) < len(addresses):
            await stirred.wait()
        nursery.cancel_scope.cancel()
