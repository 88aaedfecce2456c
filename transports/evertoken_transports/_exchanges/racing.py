"""Several addresses of one host under asyncio and trio: each has a head start over the next, and the first one wins.

The sockets of those that lose are closed, also where the whole is cancelled: nothing is left to the collector, as it is
by ``asyncio.open_connection`` with ``happy_eyeballs_delay``.
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
    """The addresses of ``target``, looked up in a thread of ours, or by the loop's own means where it has any.

    Not in the loop's or trio's pool of threads: those may all be taken by callers that wait for the token.

    Raises:
        OSError, UnicodeError: there is no such host.
        ExchangeFailed: as of :func:`._addresses.chosen`.
    """
    # A simulated network has names, and addresses too, of which the system knows nothing: its loop is asked first.
    if (ask := _resolver_of_trio() if runtime() == "trio" else _resolver_of_asyncio()) is not None:
        found = await ask(target.host, target.port, type=socket.SOCK_STREAM)
        addresses = [Address(family, place) for family, _, _, _, place in found]
        return chosen(target, addresses, may_be_simulated=True)
    with suppress(socket.gaierror):
        return chosen(target, look_up(target, socket.AI_NUMERICHOST))
    return chosen(target, await in_thread(partial(look_up, target)))


_Resolver = Callable[..., Awaitable[Any]]
"""As ``socket.getaddrinfo``."""


def _resolver_of_asyncio() -> _Resolver | None:
    """That of a loop that brings one, as uvloop and the simulated ones do; asyncio's own asks in its default pool."""
    import asyncio  # noqa: PLC0415

    loop = asyncio.get_running_loop()
    if getattr(type(loop), "getaddrinfo", None) is asyncio.BaseEventLoop.getaddrinfo:
        return None
    return loop.getaddrinfo


def _resolver_of_trio() -> _Resolver | None:
    """That which a test has set. To be asked for it, trio has to be given another."""
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
    """What ``connect`` makes of the first address that takes a connection (RFC 8305).

    Raises:
        ExchangeFailed: none does. The text says what became of each.
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
    """What is known of it so far. All of its steps are taken in one thread."""

    def __init__(self, connect: Callable[[Address], Awaitable[_T]], discard: Callable[[_T], Awaitable[object]]) -> None:
        self._connect = connect
        self._discard = discard
        self._winners: list[_T] = []
        self._over = False
        self.failures: list[tuple[str, Exception]] = []
        self.stir: Callable[[], object] = bool
        """Called when one of them has come to its end."""

    @property
    def won(self) -> bool:
        return bool(self._winners)

    def take(self) -> _T:
        return self._winners.pop()

    async def run(self, address: Address) -> None:
        """One of them. Only cancellation gets out of here."""
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
        """Whoever wins from now on has lost."""
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
