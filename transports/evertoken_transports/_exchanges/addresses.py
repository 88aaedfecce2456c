"""DNS and TCP with blocking sockets, none of it for longer than it is given; and the rules that the loops keep, too."""

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
"""Seconds that an address has before the next one is tried beside it (RFC 8305 section 5)."""

LONGEST_TIMEOUT = 86_400.0
"""Seconds. Operating systems count a socket's time-out in milliseconds and 31 bits."""

_UNDER_WAY = {0, errno.EINPROGRESS, errno.EWOULDBLOCK}


class Address(NamedTuple):
    """Where one try to connect goes."""

    family: int
    place: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]

    @property
    def text(self) -> str:
        """The IP address alone."""
        return str(self.place[0])


def look_up(target: Target, flags: int = 0) -> list[Address]:
    """What the system knows of ``target``. It takes as long as the name server likes."""
    found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM, flags=flags)
    return [Address(family, place) for family, _, _, _, place in found]


def chosen(target: Target, found: Sequence[Address], *, may_be_simulated: bool = False) -> list[Address]:
    """The addresses to be tried, at least one: the families take turns, so that none of them waits for all the other's.

    Args:
        target: where the request goes.
        found: what its name stands for.
        may_be_simulated: ``found`` is the word of an event loop, perhaps of one that has a network of its own. Then
            :func:`refuse_to_leave` has the last word.

    Raises:
        ExchangeFailed: plain http would leave this machine, whatever its name says.
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

    The operating system is asked, which knows nothing of the addresses of a simulated network: there it has made no
    connection, and so nothing can leave.
    """
    number = connection.fileno()
    if target.scheme == "https" or number < 0:
        return
    with suppress(OSError), socket.fromfd(number, socket.AF_INET, socket.SOCK_STREAM) as same:
        peer: object = same.getpeername()
        # Of an IP socket it is a tuple. Others, such as a pair that stands for a simulated one, cannot leave.
        address = str(cast("tuple[object, ...]", peer)[0]) if isinstance(peer, tuple) else ""
        if address and not _is_here(address):
            raise _leaving(target, address)


class Connection(Protocol):
    """A socket, or what an event loop has in its place."""

    def fileno(self) -> int:
        """The descriptor, negative if there is none."""
        ...


def _leaving(target: Target, address: str) -> ExchangeFailed:
    return ExchangeFailed(f"plain http is refused: {target.host} is {address}, which is not this machine")


def _is_here(address: str) -> bool:
    try:
        return ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


def resolved(target: Target, seconds: float) -> list[Address]:
    """The addresses of ``target``. Resolved in a thread beside, since a silent name server holds it for long.

    Raises:
        TimeoutError: there was no answer within ``seconds``.
        OSError, UnicodeError: there is no such host.
        ExchangeFailed: as of :func:`chosen`.
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
        ExchangeFailed: none did. The text says what became of each.
        TimeoutError: there was no time left, which ``seconds_left`` may say by raising it.
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
    """Connections that are being made at the same time, in one thread."""

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
        except OSError as error:  # A family that this machine does not speak.
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
        """The connection that came about, if one did before ``seconds`` were over or another try failed."""
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
    """Close ``connection``, whatever goes wrong in that: it must not cost an answer that is whole."""
    with suppress(Exception):  # A forked child holds a copy of the socket: closing ours alone would leave it open.
        connection.shutdown(socket.SHUT_RDWR)
    with suppress(Exception):
        connection.close()
