"""h11 over asyncio's own streams."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress

from typing_extensions import override

from evertoken_transports._exchanges.addresses import Address, refuse_to_leave
from evertoken_transports._exchanges.streams import Line, SocketExchange, StreamExchange
from evertoken_transports._exchanges.target import Target


class AsyncioExchange(SocketExchange):
    """Sends a token request from a task of asyncio; see :class:`.StreamExchange`."""

    __doc__ = StreamExchange.__doc__
    __module__ = "evertoken_transports.asyncio"

    @override
    async def _connected(self, target: Target, address: Address) -> Line:
        connection = socket.socket(address.family, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)  # noqa: FBT003 (socket's own signature)
            await asyncio.get_running_loop().sock_connect(connection, address.place)
            refuse_to_leave(target, connection)
        except BaseException:
            connection.close()
            raise
        return _AsyncioLine(connection)


class _AsyncioLine(Line):
    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._is_the_loops = False
        """Whether the socket has been handed to the event loop, whose business it then is to close it."""

    @override
    async def start(self, context: ssl.SSLContext | None, name: str) -> str | None:
        # TLS from the first byte. With StreamWriter.start_tls, what came before the handshake would stay in the reader,
        # and be read as an answer that no certificate vouches for.
        server_hostname = None if context is None else name
        self._is_the_loops = True
        try:
            self._streams = await asyncio.open_connection(
                sock=self._socket, ssl=context, server_hostname=server_hostname
            )
        except BaseException:
            # Such a loop, uvloop, may have closed the descriptor by its number without the socket's knowing. By the
            # time that the socket closed it again, the number could be that of another file.
            if not isinstance(asyncio.get_running_loop(), asyncio.BaseEventLoop):
                self._socket.detach()
            raise
        secured: ssl.SSLObject | None = self._streams[1].get_extra_info("ssl_object")
        return None if secured is None else secured.selected_alpn_protocol()

    @override
    async def send(self, data: bytes) -> None:
        assert self._streams is not None  # noqa: S101 (it was started)
        self._streams[1].write(data)
        await self._streams[1].drain()

    @override
    async def receive(self, most: int) -> bytes:
        assert self._streams is not None  # noqa: S101
        return await self._streams[0].read(most)

    @override
    def close(self) -> None:
        with suppress(OSError):  # A forked child may hold a copy of the socket, which would keep the connection open.
            self._socket.shutdown(socket.SHUT_RDWR)
        if self._streams is not None:
            self._streams[1].transport.abort()  # The loop closes the socket in its next turn.
        elif not self._is_the_loops:
            self._socket.close()
