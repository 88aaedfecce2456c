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
                reader, writer = await _connected(family, place, share)
            except OSError as error:
                failures.append(f"{place[0]}: {reason_of(error)}")
            else:
                return _AsyncioLine(reader, writer)
        raise ExchangeFailed(f"no connection to {target.authority} ({'; '.join(failures)})")

    async def _within(self, seconds: float, work: Coroutine[None, None, HttpResponse]) -> HttpResponse:
        async with asyncio.timeout(seconds):
            return await work


async def _connected(
    family: int, place: tuple[object, ...], seconds: float
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Streams over a new connection; OSError if there is none, TimeoutError after ``seconds``."""
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)  # noqa: FBT003 (socket's own signature)
        async with asyncio.timeout(seconds):
            await asyncio.get_running_loop().sock_connect(connection, place)
        return await asyncio.open_connection(sock=connection)
    except BaseException:
        connection.close()
        raise


class _AsyncioLine(Line):
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def receive(self, most: int) -> bytes:
        return await self._reader.read(most)

    async def start_tls(self, context: ssl.SSLContext, name: str) -> str | None:
        await self._writer.start_tls(context, server_hostname=name)
        found: ssl.SSLObject = self._writer.get_extra_info("ssl_object")
        return found.selected_alpn_protocol()

    def peer(self) -> str:
        return str(self._writer.get_extra_info("peername")[0])

    async def close(self) -> None:
        plain = self._writer.get_extra_info("socket")
        if plain is not None:  # A forked child holds a copy of the socket: closing ours alone would leave it open.
            with suppress(OSError):
                plain.shutdown(socket.SHUT_RDWR)
        self._writer.transport.abort()
        # One turn, in which the loop closes the socket. Not wait_closed: after a handshake that was broken off the
        # stream never learns that it is closed, and waits for ever.
        await asyncio.sleep(0)
