"""The default exchange of ``trio.TokenSource``: h11 over trio's own streams. Needs ``evertoken[trio,h11]``."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Coroutine
from contextlib import suppress
from typing import TypeVar

import trio

from evertoken import HttpResponse
from evertoken_transports._fence import Outbound
from evertoken_transports._h11_client import Target
from evertoken_transports._stream_exchange import Line, StreamExchange

__all__ = ("TrioExchange",)

_T = TypeVar("_T")


class TrioExchange(Outbound, StreamExchange):
    """Sends a token request from a task; see :class:`.StreamExchange` for arguments and errors."""

    async def _open(self, target: Target, seconds: float) -> Line:  # noqa: ARG002 (the caller's scope ends it)
        self.check_fence()
        return _TrioLine(await trio.open_tcp_stream(target.host, target.port))

    async def _within(self, seconds: float, work: Coroutine[None, None, HttpResponse]) -> HttpResponse:
        with trio.move_on_after(seconds):
            return await work
        raise TimeoutError


class _TrioLine(Line):
    def __init__(self, stream: trio.SocketStream) -> None:
        self._plain = stream
        self._stream: trio.abc.Stream = stream

    async def send(self, data: bytes) -> None:
        await _as_os_error(self._stream.send_all(data))

    async def receive(self, most: int) -> bytes:
        return bytes(await _as_os_error(self._stream.receive_some(most)))

    async def start(self, context: ssl.SSLContext | None, name: str) -> str | None:
        if context is None:
            return None
        secured = trio.SSLStream(self._plain, context, server_hostname=name, https_compatible=True)
        self._stream = secured
        await _as_os_error(secured.do_handshake())
        chosen: str | None = secured.selected_alpn_protocol()
        return chosen

    def peer(self) -> str:
        return str(self._plain.socket.getpeername()[0])

    def close(self) -> None:
        with suppress(OSError):  # A forked child holds a copy of the socket: closing ours alone would leave it open.
            self._plain.socket.shutdown(trio.socket.SHUT_RDWR)
        self._plain.socket.close()


async def _as_os_error(work: Awaitable[_T]) -> _T:
    """The result of ``work``; what broke the stream, where trio says only that it is broken."""
    try:
        return await work
    except trio.BrokenResourceError as error:
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else ConnectionResetError("connection broken")
    raise cause
