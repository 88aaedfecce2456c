"""The default exchange of ``asyncio.TokenSource``: h11 over asyncio's own streams. Needs ``evertoken[h11]``."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Coroutine
from contextlib import suppress

from evertoken import HttpResponse
from evertoken_transports._connecting import reason_of
from evertoken_transports._exchange import ExchangeFailed
from evertoken_transports._fence import Outbound
from evertoken_transports._h11_client import Target
from evertoken_transports._stream_exchange import Line, StreamExchange

__all__ = ("AsyncioExchange",)


class AsyncioExchange(Outbound, StreamExchange):
    """Sends a token request from a task; see :class:`.StreamExchange` for arguments and errors."""

    async def _open(self, target: Target, seconds: float) -> Line:
        """A connection to the first address that takes one. What time there is, those still to be tried share.

        Not ``open_connection`` by name: where it races several addresses and is cancelled, the winner's socket is left
        to the garbage collector.
        """
        self.check_fence()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
        failures: list[str] = []
        for tried, (family, _, _, _, place) in enumerate(found):
            share = (deadline - loop.time()) / (len(found) - tried)
            try:
                return _AsyncioLine(await _connected(family, place, share), str(place[0]))
            except OSError as error:
                failures.append(f"{place[0]}: {reason_of(error)}")
        raise ExchangeFailed(f"no connection to {target.authority} ({'; '.join(failures)})")

    async def _within(self, seconds: float, work: Coroutine[None, None, HttpResponse]) -> HttpResponse:
        async with asyncio.timeout(seconds):
            return await work


async def _connected(family: int, place: tuple[object, ...], seconds: float) -> socket.socket:
    """A new connection; OSError if there is none, TimeoutError after ``seconds``."""
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)  # noqa: FBT003 (socket's own signature)
        async with asyncio.timeout(seconds):
            await asyncio.get_running_loop().sock_connect(connection, place)
    except BaseException:
        connection.close()
        raise
    return connection


class _AsyncioLine(Line):
    def __init__(self, connection: socket.socket, address: str) -> None:
        self._socket = connection
        self._address = address
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def start(self, context: ssl.SSLContext | None, name: str) -> str | None:
        # TLS from the first byte. With StreamWriter.start_tls, what came before the handshake would stay in the reader,
        # and be read as an answer that no certificate vouches for.
        server_hostname = None if context is None else name
        self._streams = await asyncio.open_connection(sock=self._socket, ssl=context, server_hostname=server_hostname)
        secured: ssl.SSLObject | None = self._streams[1].get_extra_info("ssl_object")
        return None if secured is None else secured.selected_alpn_protocol()

    async def send(self, data: bytes) -> None:
        assert self._streams is not None  # noqa: S101 (it was started)
        self._streams[1].write(data)
        await self._streams[1].drain()

    async def receive(self, most: int) -> bytes:
        assert self._streams is not None  # noqa: S101
        return await self._streams[0].read(most)

    def peer(self) -> str:
        return self._address

    def close(self) -> None:
        with suppress(OSError):  # A forked child holds a copy of the socket: closing ours alone would leave it open.
            self._socket.shutdown(socket.SHUT_RDWR)
        if self._streams is not None:
            self._streams[1].transport.abort()  # The loop closes the socket in its next turn.
