"""DNS and TCP with blocking sockets, within the time that is given; and which addresses may be connected to at all.

The exchanges on event loops keep the same rules about addresses, and import them from here.
"""

from __future__ import annotations

import errno
import os
import queue
import selectors
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from ipaddress import ip_address
from itertools import chain, zip_longest
from typing import NamedTuple, Protocol, cast

from evertoken_transports._exchange import ExchangeFailed
from evertoken_transports._exchanges.connecting import no_connection
from evertoken_transports._exchanges.target import Target
from evertoken_transports._threads import start_thread

RESOLVING = "while resolving the host name"
CONNECTING = "while connecting"

HEAD_START = 0.25
"""Seconds that an address has before the next one is tried as well (RFC 8305 section 5)."""

LONGEST_TIMEOUT = 86_400.0
"""Seconds that a socket's time-out is cut to: operating systems keep it in milliseconds, in a number of 31 bits."""

_UNDER_WAY = {0, errno.EINPROGRESS, errno.EWOULDBLOCK}
"""What ``connect_ex`` returns where the connection is made or being made; Windows says EWOULDBLOCK."""


class Address(NamedTuple):
    """One address to connect to."""

    family: int
    place: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
    """What ``socket.connect`` takes, as ``socket.getaddrinfo`` gives it: the IP address first."""

    @property
    def text(self) -> str:
        """The IP address without the port."""
        return str(self.place[0])


def look_up(target: Target, flags: int = 0) -> list[Address]:
    """The addresses that the system finds for ``target``. Blocks for as long as the name server takes.

    Raises:
        OSError, UnicodeError: there is no such host.
    """
    found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM, flags=flags)
    return [Address(family, place) for family, _, _, _, place in found]


def chosen(target: Target, found: Sequence[Address], *, may_be_simulated: bool = False) -> list[Address]:
    """Those addresses of ``found`` that may be tried, at least one, in the order in which they are to be tried.

    The families take turns, so that where one of them leads nowhere, not all of its addresses are waited for.

    Args:
        target: where the request goes.
        found: the addresses of its host, at least one.
        may_be_simulated: ``found`` comes from an event loop that may have a network of its own, whose addresses say
            nothing of this machine. Then nothing is refused here, and :func:`refuse_to_leave` decides when there is a
            connection.

    Raises:
        ExchangeFailed: plain http would leave this machine, even if the host's name is one of this machine.
    """
    if target.scheme != "https":
        here = [address for address in found if _is_here(address.text)]
        if not here and not may_be_simulated:
            raise _leaving(target, found[0].text)
        found = here or found
    first = [address for address in found if address.family == found[0].family]
    others = [address for address in found if address.family != found[0].family]
    return [address for address in chain(*zip_longest(first, others)) if address is not None]


def refuse_to_leave(target: Target, connection: Connection) -> None:
    """Raise ExchangeFailed if plain http over ``connection`` would go to another machine.

    The operating system is asked where the connection leads. It knows nothing of the connections of a simulated
    network, by which nothing can leave this machine.
    """
    number = connection.fileno()
    if target.scheme == "https" or number < 0:
        return
    with suppress(OSError), socket.fromfd(number, socket.AF_INET, socket.SOCK_STREAM) as same:
        peer: object = same.getpeername()
        # An IP socket's peer is a tuple. Any other socket, such as one of a pair in a simulated network, stays here.
        address = str(cast("tuple[object, ...]", peer)[0]) if isinstance(peer, tuple) else ""
        if address and not _is_here(address):
            raise _leaving(target, address)


class Connection(Protocol):
    """A socket, or what an event loop gives out in the place of one."""

    def fileno(self) -> int:
        """The file descriptor, negative if there is none."""
        ...


def _leaving(target: Target, address: str) -> ExchangeFailed:
    return ExchangeFailed(f"plain http is refused: {target.host} is {address}, which is not this machine")


def _is_here(address: str) -> bool:
    try:
        return ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


def resolved(target: Target, seconds: float) -> list[Address]:
    """The addresses of ``target`` that may be tried, looked up in another thread: a silent name server blocks for long.

    Where no thread can be started, as at interpreter shutdown, the caller's looks them up, for as long as that takes.

    Raises:
        TimeoutError: there was no answer within ``seconds``.
        OSError, UnicodeError: there is no such host.
        ExchangeFailed: :func:`chosen` refuses the addresses.
    """
    with suppress(socket.gaierror):
        return chosen(target, look_up(target, socket.AI_NUMERICHOST))
    answers: queue.SimpleQueue[list[Address] | OSError | UnicodeError] = queue.SimpleQueue()

    def answer() -> None:
        try:
            answers.put(look_up(target))
        except (OSError, UnicodeError) as error:
            answers.put(error)

    if not start_thread("evertoken-resolve", answer):
        return chosen(target, look_up(target))
    try:
        found = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(found, Exception):
        raise found
    return chosen(target, found)


def connected(target: Target, addresses: Sequence[Address], seconds_left: Callable[[], float]) -> socket.socket:
    """A connection to the first of ``addresses`` that takes one; each has a head start over the next (RFC 8305).

    Raises:
        ExchangeFailed: no address took a connection. The text says what became of each.
        TimeoutError: ``seconds_left`` has raised this, or the seconds that it returned are over.
    """
    with selectors.DefaultSelector() as selector:
        race = _Race(selector)
        try:
            for address in addresses:
                race.dial(address)
                if winner := race.run(min(seconds_left(), HEAD_START)):
                    return winner
            while race.is_on:
                failed = len(race.failures)
                if winner := race.run(seconds_left()):
                    return winner
                if len(race.failures) == failed:
                    raise TimeoutError
        finally:
            race.close()
    raise no_connection(target, race.failures)


class _Race:
    """Connections to several addresses that are being made at the same time, in one thread."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._dialled: dict[socket.socket, Address] = {}
        self.failures: list[tuple[str, Exception]] = []

    @property
    def is_on(self) -> bool:
        return bool(self._dialled)

    def dial(self, address: Address) -> None:
        try:
            connection = socket.socket(address.family, socket.SOCK_STREAM)
        except OSError as error:  # This machine does not speak the family of the address.
            self.failures.append((address.text, error))
            return
        self._dialled[connection] = address
        connection.setblocking(False)  # noqa: FBT003 (socket's own signature)
        code = connection.connect_ex(address.place)
        if code in _UNDER_WAY:
            self._selector.register(connection, selectors.EVENT_WRITE)
        else:
            self._fail(connection, code)

    def run(self, seconds: float) -> socket.socket | None:
        """The first connection that is made; None if ``seconds`` are over or a try has failed before."""
        if not self._dialled:
            return None
        for key, _ in self._selector.select(seconds):
            connection = next(each for each in self._dialled if each is key.fileobj)
            self._selector.unregister(connection)
            code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code == 0:
                del self._dialled[connection]
                connection.setblocking(True)  # noqa: FBT003
                return connection
            self._fail(connection, code)
        return None

    def close(self) -> None:
        for connection in self._dialled:
            hang_up(connection)

    def _fail(self, connection: socket.socket, code: int) -> None:
        self.failures.append((self._dialled.pop(connection).text, OSError(code, os.strerror(code))))
        hang_up(connection)


def hang_up(connection: socket.socket) -> None:
    """Close ``connection``. What goes wrong in closing is dropped, since it must not cost an answer that has come."""
    with suppress(Exception):  # A forked child may hold a copy of the socket, which would keep the connection open.
        connection.shutdown(socket.SHUT_RDWR)
    with suppress(Exception):
        connection.close()
