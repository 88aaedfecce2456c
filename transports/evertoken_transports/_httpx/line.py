"""The connection that carries one token request over httpx or httpx2, watched and cut from another thread."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType, ModuleType
from typing import Any

from evertoken import TokenRequest
from evertoken_transports._blame import causes_of, is_bug, place_of
from evertoken_transports._exchange import ExchangeBroken, ExchangeFailed
from evertoken_transports._exchanges.addresses import CONNECTING
from evertoken_transports._exchanges.connecting import HANDSHAKE, WAITING, explained
from evertoken_transports._exchanges.h11_client import UNWRITABLE, Conversation, cut_off, flaw, reading
from evertoken_transports._exchanges.target import Target
from evertoken_transports._progress import progress
from evertoken_transports._runtime import within

CLOSING = 0.5
"""Seconds for closing a connection that is cut already, which should take no time."""

_STAGES: Mapping[str, str] = MappingProxyType(
    {
        "connect_tcp": CONNECTING,
        "start_tls": HANDSHAKE,
        "send_request_headers": "while sending the request",
        "send_request_body": "while sending the request",
        "receive_response_headers": WAITING,
    }
)


class TooLate(ExchangeFailed, TimeoutError):
    """The request's deadline passed."""


class ConnectionBroken(ExchangeFailed, ConnectionError):
    """Something went wrong between here and the endpoint, or with the answer."""


class Refused(ExchangeFailed, ValueError):
    """The request must not go to its URL, or not by the proxy."""


class Line:
    """What is known of the connection that carries one token request, and the means to cut it from another thread.

    Raises:
        ExchangeFailed: the request cannot be written in HTTP/1.1, or its host is not written in ASCII.
    """

    def __init__(self, request: TokenRequest) -> None:
        self.target = Target.of(request.url)
        self._conversation = Conversation(request, self.target)
        # h11 reads no answer before it has written the request. These bytes are not sent: the library writes its own.
        self._conversation.request_bytes()
        self.is_whole = False
        """Whether the whole answer has come: what goes wrong from then on must not cost it."""
        self._note = progress()
        self._note.stage = _STAGES["connect_tcp"]
        self._length: str | None = None
        self._body = -1
        self._socket: socket.socket | None = None
        self._stream: Any = None
        self._is_cut = False

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Called by the library (its ``trace`` extension) with events such as ``connection.connect_tcp.complete``."""
        self._heed(event)
        if event.endswith(".connect_tcp.complete"):
            # A duplicate, since TLS takes over the original: by the time of the cut, its number may be another file's.
            self._socket = info["return_value"].get_extra_info("socket").dup()
            if self._is_cut:
                self.cut()

    async def atrace(self, event: str, info: Mapping[str, Any]) -> None:
        """The same as :meth:`trace` for the asynchronous clients."""
        self._heed(event)
        if event.endswith(".connect_tcp.complete"):
            self._stream = info["return_value"]
            with suppress(AttributeError):  # A simulated network has no socket to cut; aclose() closes its stream.
                self._socket = self._stream.get_extra_info("socket").dup()

    def _heed(self, event: str) -> None:
        _, operation, phase = event.rsplit(".", 2)
        if phase == "started":
            self._note.stage = _STAGES.get(operation, self._note.stage)
        if operation == "receive_response_body" and phase == "complete":
            self.is_whole = True

    def at(self, stage: str) -> None:
        """Note how far the exchange has come, where the library does not tell."""
        self._note.stage = stage

    def hear(self, data: bytes) -> None:
        """Take bytes of the answer, ``b""`` at its end, before the library sees them.

        The library would quote bytes that it objects to in its errors and its log, and they may be a token.

        Raises:
            ExchangeFailed: the answer is not HTTP/1.1, or ends too soon.
        """
        whole = self._conversation.receive(data)
        self.is_whole = self.is_whole or whole is not None
        self._note.stage = self._conversation.stage

    def read(self, count: int, length: str | None) -> None:
        """Note that ``count`` bytes of the answer's body have come; ``length`` is what its Content-Length says."""
        self._body, self._length = count, length
        self._note.stage = reading(count, length)

    def cut(self) -> None:
        """End both directions of the connection, or of one that is made later. Harmless if the connection is over."""
        self._is_cut = True
        line, self._socket = self._socket, None
        if line is not None:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
            line.close()

    async def aclose(self) -> None:
        """Close the connection if it is still open, as the libraries leave it if they are cancelled in a handshake."""
        self.cut()
        stream, self._stream = self._stream, None
        if stream is not None:
            with suppress(Exception):
                await within(CLOSING, stream.aclose())

    def too_late(self) -> TooLate:
        """The error of a request that ran into its deadline."""
        return TooLate(f"time ran out {self._note.stage} ({self.target.authority})")

    def failure(self, library: ModuleType, error: Exception) -> ExchangeFailed:
        """What to raise for ``error``: a new exception, since the frames of ``error`` hold the client's secret.

        No text of the libraries is taken over, since they quote what the server sent: only texts of exchanges of ours,
        and the operating system's.
        """
        if isinstance(error, library.TimeoutException | TimeoutError):
            return self.too_late()
        causes = list(causes_of(error))
        refusal = next((cause for cause in causes if isinstance(cause, ExchangeFailed)), None)
        if refusal is not None:
            return ConnectionBroken(str(refusal))
        if isinstance(error, library.LocalProtocolError | library.InvalidURL | UnicodeError):
            return ConnectionBroken(UNWRITABLE)
        if isinstance(error, library.ProxyError):
            return ConnectionBroken(self._refused_by_proxy(str(error)))
        if isinstance(error, library.RemoteProtocolError):
            return ConnectionBroken(self._broken_protocol(causes))
        root = next((cause for cause in reversed(causes) if isinstance(cause, OSError)), None)
        if root is not None:
            return ConnectionBroken(str(explained(root, self.target, self._note.stage)))
        if is_bug(error):
            return ExchangeBroken(place_of(error))
        return ConnectionBroken(f"{type(error).__name__} {self._note.stage} ({self.target.authority})")

    def _refused_by_proxy(self, said: str) -> str:
        """The failure in words, with the proxy's status, and without the phrase after it, which the proxy chose."""
        status = re.match(r"\d{3}(?!\d)", said)
        answer = f" with status {status[0]}" if status else ""
        return f"the proxy refused to connect to {self.target.authority}{answer}"

    def _broken_protocol(self, causes: list[BaseException]) -> str:
        of_h11 = next((cause for cause in reversed(causes) if type(cause).__module__.startswith("h11")), None)
        if of_h11 is None or str(of_h11).startswith("peer "):
            return cut_off(self._body, self._length)
        return flaw(of_h11)
