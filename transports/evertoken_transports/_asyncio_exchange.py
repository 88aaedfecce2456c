"""The default exchange of ``asyncio.TokenSource``: h11 over asyncio's own streams. Needs ``evertoken[h11]``."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Coroutine

from evertoken import HttpResponse
from evertoken_transports._h11_client import Target
from evertoken_transports._stream_exchange import Line, StreamExchange

__all__ = ("AsyncioExchange",)

_NEXT_ADDRESS = 0.25
"""Seconds after which the next address of a host is tried beside the last (RFC 8305)."""


class AsyncioExchange(StreamExchange):
    """Sends a token request from a task; see :class:`.StreamExchange` for arguments and errors."""

    async def _open(self, target: Target) -> Line:
        reader, writer = await asyncio.open_connection(target.host, target.port, happy_eyeballs_delay=_NEXT_ADDRESS)
        return _AsyncioLine(reader, writer)

    async def _within(self, seconds: float, work: Coroutine[None, None, HttpResponse]) -> HttpResponse:
        async with asyncio.timeout(seconds):
            return await work


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
        self._writer.transport.abort()
        # One turn, in which the loop closes the socket. Not wait_closed: after a handshake that was broken off the
        # stream never learns that it is closed, and waits for ever.
        await asyncio.sleep(0)
