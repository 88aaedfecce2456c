"""h11 over trio's own streams."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable
from contextlib import suppress
from typing import TypeVar

import trio
from typing_extensions import override

from evertoken_transports._exchanges.addresses import Address, refuse_to_leave
from evertoken_transports._exchanges.streams import Line, SocketExchange, StreamExchange
from evertoken_transports._exchanges.target import Target

_T = TypeVar("_T")


class TrioExchange(SocketExchange):
    """Sends a token request from a task of trio; see :class:`.StreamExchange`."""

    __doc__ = StreamExchange.__doc__
    __module__ = "evertoken_transports.trio"

    @override
    async def _connected(self, target: Target, address: Address) -> Line:
        connection = trio.socket.socket(address.family, trio.socket.SOCK_STREAM)
        try:
            await connection.connect(address.place)
            refuse_to_leave(target, connection)
        except BaseException:
            connection.close()
            raise
        return _TrioLine(trio.SocketStream(connection))


class _TrioLine(Line):
    def __init__(self, stream: trio.SocketStream) -> None:
        self._plain = stream
        self._stream: trio.abc.Stream = stream

    @override
    async def start(self, context: ssl.SSLContext | None, name: str) -> str | None:
        if context is None:
            return None
        secured = trio.SSLStream(self._plain, context, server_hostname=name, https_compatible=True)
        self._stream = secured
        await _as_os_error(secured.do_handshake())
        chosen: str | None = secured.selected_alpn_protocol()
        return chosen

    @override
    async def send(self, data: bytes) -> None:
        await _as_os_error(self._stream.send_all(data))

    @override
    async def receive(self, most: int) -> bytes:
        return bytes(await _as_os_error(self._stream.receive_some(most)))

    @override
    def close(self) -> None:
        with suppress(OSError):  # A forked child may hold a copy of the socket, which would keep the connection open.
            self._plain.socket.shutdown(trio.socket.SHUT_RDWR)
        self._plain.socket.close()


async def _as_os_error(work: Awaitable[_T]) -> _T:
    """The result of ``work``. Where trio says only that the stream is broken, the OSError that broke it is raised."""
    try:
        return await work
    except trio.BrokenResourceError as error:
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else ConnectionResetError("connection broken")
    raise cause
