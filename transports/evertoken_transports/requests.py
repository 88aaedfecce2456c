"""Signing the calls of requests: ``session.auth = BearerAuth(grant)``. Needs requests, and h11 for token requests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from typing_extensions import Unpack, override

try:
    from requests import PreparedRequest, Response
    from requests.auth import AuthBase
except ImportError as error:
    raise ImportError("evertoken_transports.requests needs requests: pip install requests", name=error.name) from error

from evertoken import ClientCredentials, TokenUnavailable
from evertoken._secrecy import Hidden, Unpicklable
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

    Calls to other origins go out unsigned, which is told once each. A 401 to a call that carried our value is told to
    the source, and the call is repeated once, with another token, if its body can be sent again (bytes and text can,
    files and iterators cannot) and either the answer names the token as the cause or the method is safe. The repeated
    call has the first answer in ``response.history``. What a call raises beside the errors of requests is what
    ``authorization`` raises, before anything is sent. One object serves any number of threads and sessions.

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
        del origins, options  # There may be a password in either, and error trackers show local variables.
        super().__init__(grant, allowed, lambda: TokenSource(grant, **given()), timeout, replay=replay)

    @override
    def __call__(self, r: PreparedRequest) -> PreparedRequest:
        if self._origins.allow(origin_of(r.url or ""), self._source):
            call = _Call(self._source, self._timeout, replay=self._replay)
            call.sign(r)
            r.register_hook("response", call)
        return r


class _Call(Unpicklable):
    """What one call carried: the hook that is told of its answers, also of those that send it elsewhere."""

    def __init__(self, source: TokenSource, timeout: float | None, *, replay: bool) -> None:
        self._source, self._timeout, self._replay = source, timeout, replay
        self._sent = Hidden("")  # Not the text: a hook's repr is shown with the request's.

    def sign(self, request: PreparedRequest) -> bool:
        """Put the value on ``request``; whether it is another one than before."""
        before, authorization = self._sent.reveal(), self._source.authorization(self._timeout)
        request.headers["Authorization"], self._sent = authorization, Hidden(authorization)
        return authorization != before

    def __call__(self, response: Response, **sending: Any) -> Response:  # noqa: ANN401 (for requests' own adapter)
        stream = bool(sending.get("stream"))
        if not response.is_redirect:  # A response can be pickled, and so what hangs on its request.
            response.request.deregister_hook("response", self)
        if not self._heed(response, stream=stream, resendable=self._replay):
            return response
        request = response.request.copy()
        try:
            if not self.sign(request):
                return response
        except TokenUnavailable:
            return response
        response.close()
        repeated: Response = response.connection.send(request, **sending)
        repeated.history.append(response)
        repeated.request = request
        self._heed(repeated, stream=stream, resendable=False)
        return repeated

    def _heed(self, response: Response, *, stream: bool, resendable: bool) -> bool:
        """Tell the source what the answer says, if it is one to our value; whether the call should be repeated."""
        request, authorization = response.request, self._sent.reveal()
        if request.headers.get("Authorization") != authorization:
            return False
        return self._source.answered(
            authorization,
            request.method or "",
            response.status_code,
            response.headers,
            _beginning(response, stream=stream) if response.status_code in TELLING else b"",
            resendable=resendable and isinstance(request.body, str | bytes | None),
        )


def _beginning(response: Response, *, stream: bool) -> bytes:
    if not stream or response.raw is None:
        return response.content[:MOST_PEEKED]
    response.raw = peeked = _Peeked(response.raw)
    return peeked.head


class _Peeked:
    """An answer whose beginning has been read already; whoever reads it as it comes gets all of it nonetheless."""

    def __init__(self, raw: Any) -> None:  # noqa: ANN401 (urllib3's, or what another adapter has in its place)
        self._raw = raw
        self.head = b""
        self._error: Exception | None = None
        try:
            self.head = raw.read(MOST_PEEKED, decode_content=True)
        except Exception as error:  # noqa: BLE001 (for the one who reads)
            self._error = error

    def __getattr__(self, name: str) -> object:
        return getattr(self._raw, name)

    def stream(self, amt: int, **options: Any) -> Iterator[bytes]:  # noqa: ANN401
        yield self.read(MOST_PEEKED)
        yield from self._raw.stream(amt, **options)

    def read(self, amt: int | None = None, **options: Any) -> bytes:  # noqa: ANN401 (urllib3's)
        if self._error is not None:
            raise self._error
        head, self.head = self.head[:amt], self.head[len(self.head) if amt is None else amt :]
        if amt is None or not head:
            head += self._raw.read(amt, **options)
        return head
