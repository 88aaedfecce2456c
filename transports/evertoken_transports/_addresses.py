"""DNS and TCP with blocking sockets, none of it for longer than it is given."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from ipaddress import ip_address
from queue import Empty, SimpleQueue
from typing import NamedTuple

from evertoken_transports._h11_client import ExchangeFailed, Target

__all__ = ("Address", "connected_to", "hang_up", "resolved")


class Address(NamedTuple):
    """Where one try to connect goes."""

    family: socket.AddressFamily
    place: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]

    @property
    def text(self) -> str:
        """The IP address alone."""
        return str(self.place[0])


def connected_to(address: Address, seconds: float) -> socket.socket:
    """A new TCP connection, or OSError; TimeoutError after ``seconds``."""
    connection = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        connection.settimeout(seconds)
        connection.connect(address.place)
    except BaseException:
        connection.close()
        raise
    return connection


def hang_up(connection: socket.socket) -> None:
    """Close ``connection``, whatever goes wrong in that: it must not cost an answer that is whole."""
    with suppress(Exception):  # A forked child holds a copy of the socket: closing ours alone would leave it open.
        connection.shutdown(socket.SHUT_RDWR)
    with suppress(Exception):
        connection.close()


def resolved(target: Target, seconds: float) -> list[Address]:
    """The addresses of ``target``, at least one, in the order in which the system would have them tried.

    Raises:
        TimeoutError: there was no answer within ``seconds``.
        OSError, UnicodeError: there is no such host.
        ExchangeFailed: plain http would leave this machine, whatever its name says.
    """
    found = _resolved_within(target, seconds)
    if target.scheme == "https":
        return found
    here = [address for address in found if ip_address(address.text).is_loopback]
    if not here:
        raise ExchangeFailed(f"plain http is refused: {target.host} is {found[0].text}, which is not this machine")
    return here


def _resolved_within(target: Target, seconds: float) -> list[Address]:
    """Resolve in a thread beside, since a name server that is silent holds ``getaddrinfo`` for as long as it likes."""
    with suppress(socket.gaierror):
        return _look_up(target, socket.AI_NUMERICHOST)
    answers: SimpleQueue[list[Address] | OSError | UnicodeError] = SimpleQueue()

    def look_up() -> None:
        try:
            answers.put(_look_up(target))
        except (OSError, UnicodeError) as error:
            answers.put(error)

    try:
        threading.Thread(target=look_up, name="evertoken-resolve", daemon=True).start()
    except RuntimeError:
        # No thread can be had: at its limit, or the interpreter is shutting down.
        return _look_up(target)
    try:
        answer = answers.get(timeout=seconds)
    except Empty:
        raise TimeoutError from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _look_up(target: Target, flags: int = 0) -> list[Address]:
    found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM, flags=flags)
    return [Address(family, place) for family, _, _, _, place in found]
