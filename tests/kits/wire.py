"""A server of a few lines on loopback: it does what a script says, notes what it heard, and sees the client hang up."""

from __future__ import annotations

import gzip
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import cache

from tests.kits.worlds import LIMIT

__all__ = ("Script", "Server", "answer", "fifty_megabytes", "hang_up", "read_request", "serving")


@cache
def fifty_megabytes() -> bytes:
    """Fifty megabytes of zeros, which gzip makes 48 kilobytes of. Made once, since it takes a third of a second."""
    return gzip.compress(bytes(50_000_000))


Script = Callable[[socket.socket, "Server"], None]
"""What is done with each connection. When the script returns, the server waits for the client to hang up."""


class Server:
    """What a test may ask of the server: how many connections it had, which requests it heard on them, and its errors.

    ``trouble`` are the exceptions of the script, and ``closing`` says that the test is over.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.heard: list[bytes] = []
        self.connections = 0
        self.closing = False
        self.trouble: list[Exception] = []


@contextmanager
def serving(script: Script) -> Generator[Server]:
    """Run ``script`` for every connection, one after another. On leaving, every client must have hung up."""
    host = "127.0.0.1"
    with socket.create_server((host, 0)) as listener:
        server = Server(listener.getsockname()[1])
        thread = threading.Thread(target=_serve, args=(listener, script, server), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.closing = True
            # This wakes the thread that accepts. Closing the listener would not do that on every platform.
            with socket.socket() as knock:
                knock.connect((host, server.port))
                thread.join(LIMIT)
    assert not thread.is_alive(), "a connection was never closed"
    assert not server.trouble, server.trouble


def _serve(listener: socket.socket, script: Script, server: Server) -> None:
    while True:
        connection, _ = listener.accept()
        with connection:
            if server.closing:
                return
            server.connections += 1
            connection.settimeout(LIMIT)
            try:
                script(connection, server)
                while connection.recv(65_536):
                    pass
            except ConnectionError:
                continue
            except Exception as error:  # noqa: BLE001 (the test looks at it)
                server.trouble.append(error)


def read_request(connection: socket.socket, server: Server) -> None:
    """Read one whole request and note it."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _some(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [int(line[16:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length: ")]
    length = lengths[0] if lengths else 0
    while len(body) < length:
        body += _some(connection)
    server.heard.append(head + b"\r\n\r\n" + body)


def answer(data: bytes) -> Script:
    """Read a request, send ``data``, and leave the connection open."""

    def script(connection: socket.socket, server: Server) -> None:
        read_request(connection, server)
        connection.sendall(data)

    return script


def hang_up(connection: socket.socket) -> None:
    """End what the server sends. The client may have hung up first."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)


def _some(connection: socket.socket) -> bytes:
    data = connection.recv(65_536)
    if not data:
        raise ConnectionError("the client hung up in the middle of its request")
    return data
