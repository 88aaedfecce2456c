"""The connection that carries one token request over httpx or httpx2, as seen and cut from another thread."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from types import MappingProxyType, ModuleType
from typing import Any, cast
from urllib.parse import urlsplit

from evertoken import TokenRequest
from evertoken._scrub import scrub

__all__ = ("Line",)

_STAGES: Mapping[str, str] = MappingProxyType(
    {
        "connect_tcp": "connecting to",
        "start_tls": "in the TLS handshake with",
        "send_request_headers": "sending the request to",
        "send_request_body": "sending the request to",
        "receive_response_headers": "waiting for the answer of",
        "receive_response_body": "reading the answer of",
    }
)


class Line:
    """What is known of the connection that carries one token request, and the means to cut it from another thread."""

    def __init__(self, request: TokenRequest) -> None:
        self._host = urlsplit(request.url).hostname
        self._stage = _STAGES["connect_tcp"]
        self._socket: socket.socket | None = None
        self._stream: Any = None
        self._is_cut = False

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """The libraries' ``trace`` extension: ``event`` is such as ``connection.connect_tcp.complete``."""
        self.note(event)
        if event.endswith(".connect_tcp.complete"):
            # A duplicate: TLS takes the original away from us, and its number may be another's by the time of the cut.
            self._socket = info["return_value"].get_extra_info("socket").dup()
            if self._is_cut:
                self.cut()

    async def atrace(self, event: str, info: Mapping[str, Any]) -> None:
        """The same for the asynchronous clients."""
        self.note(event)
        if event.endswith(".connect_tcp.complete"):
            self._stream = info["return_value"]
            self._socket = self._stream.get_extra_info("socket").dup()

    def note(self, event: str) -> None:
        """Keep how far the request has come."""
        _, operation, phase = event.rsplit(".", 2)
        if phase == "started":
            self._stage = _STAGES.get(operation, self._stage)

    def cut(self) -> None:
        """End both directions for whoever uses the connection, now or as soon as there is one. Harmless when over."""
        self._is_cut = True
        line, self._socket = self._socket, None
        if line is not None:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
            line.close()

    async def aclose(self) -> None:
        """Close the connection if it is still open: cancelled in a handshake, the libraries leave it so."""
        self.cut()
        stream, self._stream = self._stream, None
        if stream is not None:
            with suppress(Exception):
                await stream.aclose()

    def too_late(self) -> TimeoutError:
        """The error of a request that ran into its deadline."""
        return TimeoutError(f"the deadline passed while {self._stage} {self._host}")

    def failure(self, library: ModuleType, error: Exception, request: TokenRequest) -> OSError:
        """``error`` as a new exception without its frames, whose local variables hold the client's secret."""
        if isinstance(error, library.TimeoutException):
            return self.too_late()
        told = isinstance(error, library.TransportError) and not isinstance(error, library.LocalProtocolError)
        # Other errors may quote what they were given.
        words = scrub(_root_text(error), request.secrets) if told else None
        cause = f"{type(error).__name__}: {words}" if words else type(error).__name__
        return ConnectionError(f"while {self._stage} {self._host}: {cause}")


def _root_text(error: BaseException) -> str:
    """What the innermost cause with any words says: the libraries wrap it in others that say less, or nothing."""
    texts = [str(cause) for cause in _causes(error)]
    return next((text for text in reversed(texts) if text), "")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        inner = cast("BaseExceptionGroup[BaseException]", error) if isinstance(error, BaseExceptionGroup) else None
        error = error.__cause__ or error.__context__ if inner is None else inner.exceptions[0]
