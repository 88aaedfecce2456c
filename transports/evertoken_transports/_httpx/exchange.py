"""How a token request travels over httpx or httpx2: one implementation for both, which have one API under two names.

Each token request has a client of its own, so that no pool, cookie, hook or setting of the API's client ever meets it.
The time limits of these libraries hold for single operations, and a server that sends a byte now and then renews them
for ever; name resolution knows none at all. So the work is done in a thread beside the caller, who leaves at the
deadline whatever happens. The caller then cuts the connection, over which nothing more is sent after that.
"""

from __future__ import annotations

import math
import queue
import ssl
from collections.abc import Callable
from contextlib import closing, suppress
from types import ModuleType
from typing import Any, ClassVar, cast
from urllib.parse import urlsplit

from evertoken import HttpResponse, TokenRequest
from evertoken._checks import fault_of_url
from evertoken_transports._clock import Clock, suspend_aware_clock
from evertoken_transports._exchange import ExchangeFailed
from evertoken_transports._exchanges.connecting import check_context
from evertoken_transports._exchanges.target import fields_of
from evertoken_transports._fence import Outbound
from evertoken_transports._httpx.line import Line, Refused
from evertoken_transports._httpx.network import direct
from evertoken_transports._threads import LONGEST_SLEEP, start_thread

# A class of httpx or of httpx2.
Request = Any
Response = Any


class Settings(Outbound):
    """The base of the exchanges over httpx and httpx2: their arguments, and what the library is given by these."""

    _library: ClassVar[ModuleType]

    def __init__(
        self,
        *,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = None,
        trust_env: bool = True,
        clock: Clock = suspend_aware_clock,
    ) -> None:
        check_context(ssl_context)
        self._ssl_context = ssl_context
        if proxy is not None and not _is_proxy(self._library, proxy):
            del proxy  # The URL may have a password in it, and error trackers show local variables.
            raise ValueError("proxy must be the URL of an http, https or socks5 proxy, with scheme and host")
        self._proxy = proxy
        self._trust_env = bool(trust_env)
        self._clock = clock

    def _begun(self, request: TokenRequest) -> tuple[Line, float]:
        """A line for ``request`` and the seconds until its deadline, after all checks that come before sending."""
        self.check_fence()
        fault = fault_of_url("TokenRequest.url", request.url)
        if fault is None and self._proxy is not None and not _is_https(request):
            fault = "proxy: a token request over plain http would show the proxy the secret; leave proxy out"
        if fault is not None:
            raise Refused(fault)
        line = Line(request)
        left = request.seconds_left(self._clock())
        if not left:
            raise line.too_late()
        return line, left

    def _context(self, request: TokenRequest) -> ssl.SSLContext:
        """The SSL context, made when it is first needed, and kept: to load every certificate authority takes long."""
        if not _is_https(request):
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # The library wants one; it trusts nobody, and is not used.
        if self._ssl_context is None:
            self._ssl_context = cast("ssl.SSLContext", self._library.create_ssl_context(trust_env=self._trust_env))
        return self._ssl_context

    def _client_options(self, request: TokenRequest, seconds: float) -> dict[str, Any]:
        # Plain http goes to this machine only, and never to a proxy that the environment names.
        return {
            "verify": self._context(request),
            "proxy": self._proxy,
            "trust_env": self._trust_env and _is_https(request),
            "timeout": seconds if math.isfinite(seconds) else None,
            "follow_redirects": False,
        }

    def _library_request(self, request: TokenRequest, line: Line, trace: object) -> Request:
        """The library's request, with all the fields that other exchanges send, so that it adds none of its own."""
        headers = fields_of(request, line.target)
        extensions = {"trace": trace, "sni_hostname": line.target.tls_name}
        return self._library.Request(
            request.method, line.target.url, headers=headers, content=request.body, extensions=extensions
        )

    def _answer(self, request: TokenRequest, response: Response, body: bytes) -> HttpResponse:
        headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers.raw)
        return HttpResponse(response.status_code, headers, body[: request.max_body + 1])


class HttpxExchangeBase(Settings):
    """Sends each token request over a connection of its own, and reads the answer up to the request's limit.

    Args:
        ssl_context: for private authorities and client certificates (mTLS). Default: the library's, which verifies.
        proxy: URL of an http, https or socks5 proxy, which may carry user and password.
        trust_env: use the proxies and certificate authorities that the environment names, as the library does.
        clock: the clock that ``request.deadline`` is measured on, which is the coordinator's.

    Safe to use from any number of threads.

    Raises:
        ValueError: an argument is wrong. The text does not show the proxy.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.__doc__ = with_reference(cls, HttpxExchangeBase)

    def __call__(self, request: TokenRequest, /) -> HttpResponse:
        """Send ``request``; return the answer, whatever its status. Redirects are not followed.

        Raises:
            ExchangeFailed: (:mod:`evertoken_transports.h11`) there is no answer. The text names stage, host and cause.
                It is a TimeoutError as well if ``request.deadline`` has passed, after which nothing is sent; a
                ValueError if the URL is plain http to another machine, or plain http through ``proxy``; a
                ConnectionError if something went wrong between here and the endpoint; and an ``ExchangeBroken`` if a
                fault in code is to blame.
        """
        line, left = self._begun(request)
        # The answer is told as soon as it is whole. What closing leads to is told after it, and does not count.
        outcomes: queue.SimpleQueue[HttpResponse | ExchangeFailed] = queue.SimpleQueue()
        try:
            # At interpreter shutdown no thread can be started. Then the limits on single operations have to suffice.
            if not start_thread("evertoken-exchange", self._work, request, left, line, outcomes.put):
                self._work(request, left, line, outcomes.put)
            outcome = self._awaited(outcomes, request)
        finally:
            line.cut()
        if isinstance(outcome, HttpResponse):
            return outcome
        raise line.too_late() if outcome is None else outcome

    def _awaited(
        self, outcomes: queue.SimpleQueue[HttpResponse | ExchangeFailed], request: TokenRequest
    ) -> HttpResponse | ExchangeFailed | None:
        while left := request.seconds_left(self._clock()):
            with suppress(queue.Empty):
                return outcomes.get(timeout=min(left, LONGEST_SLEEP))
        with suppress(queue.Empty):
            return outcomes.get_nowait()
        return None

    def _work(
        self,
        request: TokenRequest,
        seconds: float,
        line: Line,
        tell: Callable[[HttpResponse | ExchangeFailed], object],
    ) -> None:
        try:
            self._send(request, seconds, line, tell)
        except Exception as error:  # noqa: BLE001 (whatever it is, it is told in the caller's thread)
            tell(line.failure(self._library, error))

    def _send(self, request: TokenRequest, seconds: float, line: Line, tell: Callable[[HttpResponse], object]) -> None:
        def read(response: Response) -> None:
            body = bytearray()
            try:
                with closing(response.iter_raw()) as chunks:
                    line.read(0, response.headers.get("Content-Length"))
                    for chunk in chunks:
                        body += chunk
                        line.read(len(body), response.headers.get("Content-Length"))
                        if len(body) > request.max_body:
                            break
            except Exception:
                if not line.is_whole and len(body) <= request.max_body:
                    raise
            tell(self._answer(request, response, bytes(body)))
            line.cut()  # The library closes the connection next, and so waits for nobody.

        # The answer is read in a hook, because httpx parses the Location of a redirect that it does not follow, and
        # raises if that is no URL.
        options = self._client_options(request, seconds)
        with direct(self._library.Client(event_hooks={"response": [read]}, **options), line) as client:
            client.send(self._library_request(request, line, line.trace), stream=True)


def _is_https(request: TokenRequest) -> bool:
    return urlsplit(request.url).scheme == "https"


def _is_proxy(library: ModuleType, proxy: str) -> bool:
    # The text and the frames of what the library raises may show a password.
    with suppress(Exception):
        library.Proxy(proxy)
        return True
    return False


def with_reference(cls: type, base: type) -> str:
    """The docstring of ``cls`` and after it that of ``base``, so that ``help()`` of the public name is complete."""
    return f"{cls.__doc__}\n\n    {base.__doc__}"
