"""Signing the calls of requests: ``session.auth = BearerAuth(grant)``. Needs requests, and h11 for token requests."""

from __future__ import annotations

import io
from collections.abc import Iterable
from functools import partial
from typing import Any, Self

from typing_extensions import Unpack, override

try:
    from requests import PreparedRequest, Response
    from requests.auth import AuthBase
    from urllib3.exceptions import HTTPError
    from urllib3.response import HTTPResponse
except ImportError as error:
    raise ImportError("evertoken_transports.requests needs requests: pip install requests", name=error.name) from error

from evertoken import ClientCredentials, TokenUnavailable
from evertoken._secrecy import Hidden
from evertoken_transports._exchange import Exchange
from evertoken_transports._options import SourceOptions
from evertoken_transports._signing import MOST_PEEKED, TELLING, Signing, concealed, origin_of, origins_of
from evertoken_transports.threads import TokenSource

__all__ = ("BearerAuth",)


class BearerAuth(Signing[TokenSource], AuthBase):
    """Bearer authentication for ``requests``, by the rules of :class:`evertoken_transports.httpx.BearerAuth`.

    ::

        auth = BearerAuth(mangopay.sandbox(client_id="...", api_key="..."))
        session = requests.Session()
        session.auth = auth
        session.get(f"{auth.api_base}/users")

    Args:
        grant: who asks for tokens, where, and how. Its ``api_base`` says which origin they are for.
        timeout: seconds that a call may wait for a token before it is sent, and once more before it is repeated; as of
            :meth:`~evertoken_transports.threads.TokenSource.authorization`.
        replay: repeat a call whose token was rejected. If False, the caller gets every 401.
        origins: further origins that tokens may be sent to, such as ``("https://files.example.com",)``.
        options: those of :class:`~evertoken_transports.threads.TokenSource`: ``policy``, ``store`` and so on.

    Calls to other origins go out unsigned: ``on_event`` gets a ``RequestNotSigned`` for each, and the log has a WARNING
    of the first to each origin. A 401 to a call that carried our value is told to the source, and the call is repeated
    once, with another token, if its body can be sent again (bytes and text can, files and iterators cannot) and either
    the answer names the token as the cause or the method is safe. The repeated call has the first answer in
    ``response.history``. Beside the errors of requests, a call raises what ``authorization`` raises, and does so before
    anything is sent. One object serves any number of threads and sessions.

    Raises:
        TypeError, ValueError: an argument is wrong; the text names it.
    """

    def __init__(
        self,
        grant: ClientCredentials,
        *,
        timeout: float | None = None,
        replay: bool = True,
        origins: Iterable[str] = (),
        **options: Unpack[SourceOptions[Exchange]],
    ) -> None:
        allowed, given = origins_of(grant, origins), concealed(options)
        del origins, options  # Both may hold a password, and error trackers show local variables.
        super().__init__(grant, allowed, lambda: TokenSource(grant, **given()), timeout, replay=replay)

    @override
    def __call__(self, r: PreparedRequest) -> PreparedRequest:
        if self._origins.allow(origin_of(r.url or ""), self._source):
            call = _Call(self._source, self._timeout, replay=self._replay)
            call.sign(r)
            r.register_hook("response", call)
        return r


class _Call:
    """What one call carried. As a hook of requests it is told of all answers to the call, redirects included.

    Responses and the errors of requests can be pickled with the request and its hooks. This one becomes a hook that
    does nothing then, since it holds a token.
    """

    def __init__(self, source: TokenSource, timeout: float | None, *, replay: bool) -> None:
        self._source, self._timeout, self._replay = source, timeout, replay
        self._sent: tuple[Hidden, ...] = ()
        """All values that were put on requests. If a repeated call is redirected, requests goes on with the first."""

    def sign(self, request: PreparedRequest) -> bool:
        """Put the source's value on ``request``. Returns False if ``request`` has it from before.

        Raises as ``authorization`` of the source.
        """
        authorization = self._source.authorization(self._timeout)
        if request.headers.get("Authorization") == authorization and self._sent:
            return False
        request.headers["Authorization"] = authorization
        self._sent += (Hidden(authorization),)
        return True

    def __call__(self, response: Response, **sending: Any) -> Response:  # noqa: ANN401 (for requests' own adapter)
        stream = bool(sending.get("stream"))
        request = response.request.copy()
        try:
            if not (self._heed(response, stream=stream, resendable=self._replay) and self.sign(request)):
                return response
        except TokenUnavailable:
            return response
        except BaseException:
            response.close()  # The caller gets what was raised, and has nothing to close.
            raise
        response.close()
        repeated: Response = response.connection.send(request, **sending)
        repeated.history.append(response)
        repeated.request = request
        self._heed(repeated, stream=stream, resendable=False)
        return repeated

    @override
    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return partial, (_nothing,)

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def _heed(self, response: Response, *, stream: bool, resendable: bool) -> bool:
        """Tell the source what the answer says, if its request carried our value; return whether to repeat the call."""
        request = response.request
        carried = request.headers.get("Authorization")
        ours = next((sent for sent in self._sent if sent.reveal() == carried), None)
        if ours is None:
            return False
        return self._source.answered(
            ours.reveal(),
            request.method or "",
            response.status_code,
            response.headers,
            _beginning(response, stream=stream) if response.status_code in TELLING else b"",
            resendable=resendable and isinstance(request.body, str | bytes | None),
        )


def _nothing(response: Response, **_: object) -> None:
    """Stands in the place of the hook in a request that has been pickled."""


def _beginning(response: Response, *, stream: bool) -> bytes:
    """The beginning of the body, decompressed. The caller can read all of it as usual."""
    if not stream or response.raw is None:
        return response.content[:MOST_PEEKED]
    raw = response.raw
    if not isinstance(raw, HTTPResponse):  # The body of an adapter of somebody else's may be readable only once.
        return b""
    body = _Rejoined(raw)
    head = _of_urllib3(raw, io.BytesIO(body.head), response.request.method)
    response.raw = _of_urllib3(raw, body, response.request.method)
    try:
        return head.read(MOST_PEEKED, decode_content=True)
    except HTTPError:  # The caller meets the same error on reading.
        return b""


def _of_urllib3(raw: HTTPResponse, body: io.BufferedIOBase, method: str | None) -> HTTPResponse:
    """An answer like ``raw``, with the bytes of ``body``, which are as they came, and so may be compressed."""
    made = HTTPResponse(
        body,
        raw.headers,
        raw.status,
        raw.version,
        reason=raw.reason,
        preload_content=False,
        decode_content=raw.decode_content,
        original_response=raw._original_response,  # noqa: SLF001 (requests takes the cookies from it)
        retries=raw.retries,
        enforce_content_length=False,  # ``raw`` does so, below ``body``.
        request_method=method,
        request_url=raw.geturl(),
    )
    made.version_string = getattr(raw, "version_string", "")  # Only later releases of urllib3 take it as an argument.
    return made


class _Rejoined(io.BufferedIOBase):
    """The body of ``raw``, whose beginning has been read already: whoever reads it gets all of it nonetheless."""

    def __init__(self, raw: HTTPResponse) -> None:
        self._raw = raw
        self._error: Exception | None = None
        self.head = self._more(MOST_PEEKED)

    @override
    def readable(self) -> bool:
        return True

    @override
    def read(self, size: int | None = None, /) -> bytes:
        amt = None if size is None or size < 0 else size
        data, self.head = self.head[:amt], self.head[len(self.head) if amt is None else amt :]
        if amt is None or len(data) < amt:
            data += self._more(None if amt is None else amt - len(data))
        return self._given(data, amt)

    @override
    def read1(self, size: int = -1, /) -> bytes:
        return self.read(min(size, len(self.head)) if self.head and size >= 0 else size)

    @override
    def close(self) -> None:
        if not self.closed:
            super().close()
            self._raw.close()
            self._raw.release_conn()

    def _more(self, amt: int | None) -> bytes:
        if self._error is None:
            try:
                return self._raw.read(amt, decode_content=False)
            except Exception as error:  # noqa: BLE001 (raised for the caller who reads, after the bytes before it)
                self._error = error
        return b""

    def _given(self, data: bytes, amt: int | None) -> bytes:
        """Return ``data``, or raise the error that came instead. At its end the body is closed, as urllib3 expects."""
        if self._error is not None and (amt is None or not data):
            raise self._error
        if amt is None or (amt and not data):
            self.close()
        return data
