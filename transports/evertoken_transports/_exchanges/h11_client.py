"""One token request and its answer, bytes out and bytes in, by h11. There is no I/O here: exchanges bring the sockets.

Exchanges differ in how they connect and wait. What they have in common is here: how a request is written, when an
answer is complete, how much of it is read, and what is said when there is none.
"""

from __future__ import annotations

from evertoken import HttpResponse, TokenRequest
from evertoken_transports._exchange import ExchangeFailed
from evertoken_transports._exchanges.connecting import WAITING
from evertoken_transports._exchanges.target import Target, fields_of

try:
    import h11
except ImportError:
    raise ImportError("this exchange needs h11: pip install h11") from None

MOST_HEAD = 32 * 1024
"""Bytes within which the answer's headers must end, informational answers included.

Servers accept 8 to 16 KiB of headers in a request, so an answer needs no more than this.
"""

_CLOSED = "the server closed the connection"

UNWRITABLE = (
    "the token request cannot be written in HTTP/1.1: a header has characters that are not allowed there, "
    "stands there twice, or does not fit the body; it probably comes from the client authentication"
)

# How the texts of h11's errors begin, and what we say instead: the rest of them quotes the server, perhaps a token.
_FLAWS = {
    "illegal status line": "it does not begin with a status line",
    "illegal request line": "it does not begin with a status line",
    "no response line": "it does not begin with a status line",
    "illegal header line": "a header line is malformed",
    "continuation line": "a header line is malformed",
    "bad Content-Length": "its Content-Length is not a length",
    "conflicting Content-Length": "it has several Content-Lengths",
    "multiple Transfer-Encoding": "it has several Transfer-Encodings",
    "Only Transfer-Encoding": "its Transfer-Encoding is not chunked",
    "illegal chunk header": "its chunks are malformed",
    "malformed chunk footer": "its chunks are malformed",
    "Receive buffer too long": "a chunk's own header does not end",
}


class Conversation:
    """One request and its answer on one connection.

    Send what :meth:`request_bytes` returns, then hand every piece that arrives to :meth:`receive` until that returns
    the answer, and close the connection. How the answer is cut into pieces does not matter.

    Informational answers (1xx) are skipped. Redirects are answers like others. The body is not decoded, whatever
    ``Content-Encoding`` says. A body longer than ``request.max_body`` bytes is cut after one byte more, by which the
    machine sees that it is too long (malformed); the rest is not waited for.
    """

    def __init__(self, request: TokenRequest, target: Target) -> None:
        self._request = request
        self._target = target
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MOST_HEAD)
        self._received = 0
        self._head: h11.Response | None = None
        self._body = bytearray()
        self._answer: HttpResponse | None = None

    @property
    def stage(self) -> str:
        """How far the answer has come, in words that fit after "time ran out"."""
        if self._head is not None:
            return reading(len(self._body), self._length)
        if self._received:
            return f"while reading the answer's headers, {self._received} bytes so far"
        return WAITING

    def request_bytes(self) -> bytes:
        """The bytes of the whole request. Call this once, and do not keep them: they hold the secret.

        Raises:
            ExchangeFailed: a header cannot be written in HTTP/1.1.
        """
        try:
            return self._written()
        except (h11.LocalProtocolError, UnicodeError):
            pass
        # Outside the handler, so that the first error and its frames, which hold the headers, do not hang on this one.
        raise ExchangeFailed(UNWRITABLE)

    def receive(self, data: bytes) -> HttpResponse | None:
        """Take what has arrived, ``b""`` at the end of the connection; return the answer once it is complete.

        Raises:
            ExchangeFailed: the answer is cut off, is not HTTP/1.1, or its headers do not end within ``MOST_HEAD``.
        """
        try:
            self._take(data)
            return self._answer
        except ExchangeFailed as error:
            failure = error.with_traceback(None)
        except h11.RemoteProtocolError as error:
            failure = ExchangeFailed(flaw(error) if data else self._cut_off())
        # A token may have arrived: neither this frame nor those of h11 may show it.
        del data
        raise failure

    def _written(self) -> bytes:
        request = h11.Request(
            method=self._request.method,
            target=self._target.resource,
            headers=fields_of(self._request, self._target),
        )
        events = (request, h11.Data(data=self._request.body), h11.EndOfMessage())
        return b"".join(self._http.send(event) for event in events)

    def _take(self, data: bytes) -> None:
        """Parse ``data``. The headers are counted here: h11 bounds each informational answer, but not all together."""
        if self._head is None:
            room = MOST_HEAD - self._received
            head, data = data[:room], data[room:]
            self._received += len(head)
            self._parse(head)
            if self._head is None and self._received == MOST_HEAD:
                raise ExchangeFailed(f"the answer's headers are longer than {MOST_HEAD} bytes")
            if not data:
                return
        self._parse(data)

    def _parse(self, data: bytes) -> None:
        if self._answer is None:
            self._http.receive_data(data)
        while self._answer is None:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                return
            if isinstance(event, h11.Response):
                self._head = event
            elif isinstance(event, h11.Data):
                self._body += event.data
            if isinstance(event, h11.EndOfMessage) or len(self._body) > self._request.max_body:
                self._finish()

    def _finish(self) -> None:
        assert self._head is not None  # noqa: S101 (a body comes after its head)
        headers = tuple(
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in self._head.headers.raw_items()
        )
        self._answer = HttpResponse(self._head.status_code, headers, bytes(self._body[: self._request.max_body + 1]))

    def _cut_off(self) -> str:
        if self._head is None and self._received:
            return f"{_CLOSED} in the middle of the answer's headers, after {self._received} bytes"
        return cut_off(-1 if self._head is None else len(self._body), self._length)

    @property
    def _length(self) -> str | None:
        headers = () if self._head is None else self._head.headers
        return next((value.decode("ascii") for name, value in headers if name == b"content-length"), None)


def reading(count: int, length: str | None) -> str:
    """The stage in which the body is read: ``count`` bytes have come. ``length`` is its Content-Length, if any."""
    return f"while reading the answer's body, {_so_far(count, length)} so far"


def cut_off(count: int, length: str | None) -> str:
    """What is wrong with an answer that ends after ``count`` bytes of its body; -1 stands for no answer at all."""
    if count < 0:
        return f"{_CLOSED} without an answer"
    return f"{_CLOSED} in the middle of the answer's body, after {_so_far(count, length)}"


def _so_far(count: int, length: str | None) -> str:
    return f"{count} of {length} bytes" if length is not None and length.isdigit() else f"{count} bytes"


def flaw(error: BaseException) -> str:
    """What is wrong with the answer, in words of ours, since those of h11's ``error`` quote what the server sent."""
    said = str(error)
    known = next((ours for theirs, ours in _FLAWS.items() if said.startswith(theirs)), "it breaks the protocol")
    return f"the answer is not HTTP/1.1: {known}"
