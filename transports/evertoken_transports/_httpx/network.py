"""How httpx and httpx2 reach a host: by the same race of addresses as the other exchanges of this package.

The libraries' own way for threads tries one address after the other, so that one which swallows packets takes all the
time there is. Their way for asyncio looks names up in the loop's default pool, which may be full of callers that wait
for the token. The pool of connections below them, httpcore's, lets a *network backend* stand in the place of these
ways. A proxy has a pool of its own, and is reached by the libraries' own way.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any

from evertoken_transports._blame import causes_of
from evertoken_transports._exchanges.addresses import (
    CONNECTING,
    LONGEST_TIMEOUT,
    RESOLVING,
    Address,
    connected,
    hang_up,
    refuse_to_leave,
    resolved,
)
from evertoken_transports._exchanges.racing import first_of
from evertoken_transports._exchanges.racing import resolved as resolved_beside
from evertoken_transports._httpx.line import Line
from evertoken_transports._runtime import runtime

# A client, a network backend or a network stream of httpx or httpx2, and of the httpcore below it.
Theirs = Any


def direct(client: Theirs, line: Line) -> Theirs:
    """``client``, changed so that it connects to the target of ``line`` by a race of addresses, unless by a proxy."""
    _pool(client)._network_backend = _Backend(line)  # noqa: SLF001 (the pool takes one, the client passes none on)
    return client


def direct_async(client: Theirs, library: ModuleType, line: Line) -> Theirs:
    """The same as :func:`direct` for the asynchronous clients."""
    core: Theirs = import_module(library.__name__.replace("httpx", "httpcore"))
    theirs = core.TrioBackend() if runtime() == "trio" else core.AnyIOBackend()
    _pool(client)._network_backend = _AsyncBackend(line, theirs)  # noqa: SLF001
    return client


def _pool(client: Theirs) -> Theirs:
    return client._transport._pool  # noqa: SLF001


class _Backend:
    """A ``NetworkBackend`` of httpcore, for threads."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, **_: object) -> _Stream:
        del host, port  # They are those of the target.
        seconds = LONGEST_TIMEOUT if timeout is None else min(timeout, LONGEST_TIMEOUT)
        target = self._line.target
        self._line.at(RESOLVING)
        addresses = resolved(target, seconds)
        self._line.at(CONNECTING)
        return _Stream(connected(target, addresses, lambda: seconds), self._line)


class _Stream:
    """A ``NetworkStream`` of httpcore over a blocking socket.

    It raises OSErrors, and not httpcore's errors, which say less, and ExchangeFailed for an answer that is not HTTP.
    :meth:`.Line.failure` explains all of them.
    """

    def __init__(self, connection: socket.socket, line: Line) -> None:
        self._socket = connection
        self._line = line

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._socket.settimeout(timeout)
        data = self._socket.recv(max_bytes)
        self._line.hear(data)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._socket.settimeout(timeout)
        # A server may answer, or say by a TLS alert what it misses, and hang up before it has read the request.
        with suppress(ConnectionError):
            self._socket.sendall(buffer)

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> _Stream:
        self._socket.settimeout(timeout)
        return _Stream(ssl_context.wrap_socket(self._socket, server_hostname=server_hostname), self._line)

    def close(self) -> None:
        hang_up(self._socket)

    def get_extra_info(self, info: str) -> object:
        if info == "socket":
            return self._socket
        return self._socket if info == "ssl_object" and isinstance(self._socket, ssl.SSLSocket) else None


class _AsyncBackend:
    """An ``AsyncNetworkBackend`` of httpcore, which calls httpcore's own, ``theirs``, once for each address."""

    def __init__(self, line: Line, theirs: Theirs) -> None:
        self._line = line
        self._theirs = theirs

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> Theirs:
        del host
        connect = partial(
            self._connected, port=port, timeout=timeout, local_address=local_address, socket_options=socket_options
        )
        target = self._line.target
        self._line.at(RESOLVING)
        addresses = await resolved_beside(target)
        self._line.at(CONNECTING)
        return _AsyncStream(await first_of(target, addresses, connect, _discard), self._line)

    async def _connected(self, address: Address, **options: Any) -> Theirs:  # noqa: ANN401
        try:
            stream = await self._theirs.connect_tcp(address.text, **options)
        except Exception as error:  # noqa: BLE001 (the innermost OSError says why; other texts may be anything)
            causes = [cause for cause in causes_of(error) if isinstance(cause, OSError)]
            failure = causes[-1] if causes else error
        else:
            try:
                refuse_to_leave(self._line.target, stream.get_extra_info("socket"))
            except BaseException:
                await stream.aclose()
                raise
            return stream
        raise failure.with_traceback(None)


class _AsyncStream:
    """An ``AsyncNetworkStream`` of httpcore, ``theirs``, whose bytes ``line`` sees before httpcore does."""

    def __init__(self, theirs: Theirs, line: Line) -> None:
        self._theirs = theirs
        self._line = line
        self.write = theirs.write
        self.aclose = theirs.aclose
        self.get_extra_info = theirs.get_extra_info

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data: bytes = await self._theirs.read(max_bytes, timeout)
        self._line.hear(data)
        return data

    async def start_tls(self, *arguments: Any, **options: Any) -> _AsyncStream:  # noqa: ANN401
        return _AsyncStream(await self._theirs.start_tls(*arguments, **options), self._line)


async def _discard(stream: Theirs) -> None:
    await stream.aclose()
