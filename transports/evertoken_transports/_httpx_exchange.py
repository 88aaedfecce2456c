"""How a token request travels over httpx or httpx2: one implementation for both, which have one API under two names.

Each token request has a client of its own, so that no pool, cookie, hook or setting of the API's client ever meets it.
The time limits of these libraries hold for single operations, and a server that sends a byte now and then renews them
for ever; name resolution knows none at all. So the work is done in a thread beside the caller, who leaves at the
deadline whatever happens, and cuts the line then: once it is cut nothing more is sent over it.
"""

from __future__ import annotations

import math
import ssl
import threading
from contextlib import closing, suppress
from queue import Empty, SimpleQueue
from types import ModuleType
from typing import Any, ClassVar, cast
from urllib.parse import urlsplit

from evertoken import HttpResponse, TokenRequest
from evertoken._arguments import check_url
from evertoken_transports._clock import Clock, suspend_aware_clock
from evertoken_transports._fence import Outbound
from evertoken_transports._httpx_line import Line
from evertoken_transports._source import LONGEST_SLEEP

__all__ = ("HttpxExchangeBase", "Settings", "with_reference")

# httpx's or httpx2's.
Request = Any
Response = Any


class Settings(Outbound):
    """What an exchange is made with, and what it makes of that for one request."""

    _library: ClassVar[ModuleType]

    def __init__(
        self,
        *,
        max_body: int = 65_536,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = None,
        trust_env: bool = True,
        clock: Clock = suspend_aware_clock,
    ) -> None:
        if isinstance(max_body, bool) or not isinstance(max_body, int) or max_body < 1:
            raise ValueError("max_body must be a whole number of bytes, at least 1")
        if not isinstance(ssl_context, ssl.SSLContext | None):
            raise ValueError(f"ssl_context must be an ssl.SSLContext or None, not {type(ssl_context).__name__}")
        self._max_body = max_body
        self._ssl_context = ssl_context
        self._proxy = _checked_proxy(self._library, proxy)
        self._trust_env = bool(trust_env)
        self._clock = clock

    def _time_left(self, request: TokenRequest, line: Line) -> float:
        """Seconds until the deadline, after the last checks before anything is sent."""
        self.check_fence()
        check_url("TokenRequest.url", request.url)
        if self._proxy is not None and not _is_https(request):
            raise ValueError("proxy: a token request over plain http would show the proxy the secret; leave proxy out")
        left = request.deadline - self._clock()
        if left <= 0:
            raise line.too_late()
        return left

    def _context(self) -> ssl.SSLContext:
        """Made when it is first needed, and kept: it takes long to load every certificate authority."""
        if self._ssl_context is None:
            self._ssl_context = cast("ssl.SSLContext", self._library.create_ssl_context(trust_env=self._trust_env))
        return self._ssl_context

    def _client_options(self, request: TokenRequest, seconds: float) -> dict[str, Any]:
        # Plain http goes to this machine only, and never to a proxy that the environment names.
        return {
            "verify": self._context(),
            "proxy": self._proxy,
            "trust_env": self._trust_env and _is_https(request),
            "timeout": seconds if math.isfinite(seconds) else None,
            "follow_redirects": False,
        }

    def _library_request(self, request: TokenRequest, trace: object) -> Request:
        headers = list(request.headers)
        extensions = {"trace": trace}
        return self._library.Request(
            request.method, request.url, headers=headers, content=request.body, extensions=extensions
        )


class HttpxExchangeBase(Settings):
    """Sends each token request over a connection of its own, and reads the answer up to a limit.

    Args:
        max_body: bytes of the answer's body that are kept, and one more, by which the machine sees that there were too
            many. They are counted as they arrive, and never decompressed.
        ssl_context: for private authorities and client certificates (mTLS). Default: the library's, which verifies.
        proxy: URL of an http, https or socks5 proxy, which may carry user and password.
        trust_env: use the proxies and certificate authorities that the environment names, as the library does.
        clock: the coordinator's clock, on which ``request.deadline`` is a point in time.

    Wrong arguments raise ValueError. Safe to use from any number of threads.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.__doc__ = with_reference(cls, HttpxExchangeBase)

    def __call__(self, request: TokenRequest, /) -> HttpResponse:
        """Send ``request``; return the answer, whatever its status. Redirects are not followed.

        Raises:
            TimeoutError: ``request.deadline`` passed. From then on nothing is sent.
            ConnectionError: anything else between here and the answer. The text names stage, host and cause.
            ValueError: the URL is plain http to another machine, or plain http through ``proxy``.
        """
        line = Line(request)
        left = self._time_left(request, line)
        outcomes: SimpleQueue[HttpResponse | OSError] = SimpleQueue()
        thread = threading.Thread(
            target=lambda: outcomes.put(self._outcome(request, left, line)), name="evertoken-exchange", daemon=True
        )
        try:
            # At interpreter shutdown no thread can be started. The limits on single operations have to do then.
            outcome = self._awaited(outcomes, request) if _started(thread) else self._outcome(request, left, line)
        finally:
            line.cut()
        if isinstance(outcome, HttpResponse):
            return outcome
        raise line.too_late() if outcome is None else outcome

    def _awaited(
        self, outcomes: SimpleQueue[HttpResponse | OSError], request: TokenRequest
    ) -> HttpResponse | OSError | None:
        while (left := request.deadline - self._clock()) > 0:
            with suppress(Empty):
                return outcomes.get(timeout=min(left, LONGEST_SLEEP))
        return None

    def _outcome(self, request: TokenRequest, seconds: float, line: Line) -> HttpResponse | OSError:
        try:
            return self._send(request, seconds, line)
        except Exception as error:  # noqa: BLE001 (whatever it is, it is told in the caller's thread)
            return line.failure(self._library, error, request)

    def _send(self, request: TokenRequest, seconds: float, line: Line) -> HttpResponse:
        answers: list[HttpResponse] = []

        def read(response: Response) -> None:
            body = bytearray()
            with closing(response.iter_raw()) as chunks:
                for chunk in chunks:
                    body += chunk
                    if len(body) > self._max_body:
                        break
            content = bytes(body[: self._max_body + 1])
            answers.append(HttpResponse(response.status_code, tuple(response.headers.multi_items()), content))

        # The answer is read in a hook, because httpx looks at the Location of a redirect even where it does not follow
        # it, and raises over one that is no URL.
        options = self._client_options(request, seconds)
        with self._library.Client(event_hooks={"response": [read]}, **options) as client:
            try:
                client.send(self._library_request(request, line.trace), stream=True)
            except self._library.HTTPError:
                if not answers:
                    raise
        return answers[0]


def _is_https(request: TokenRequest) -> bool:
    return urlsplit(request.url).scheme == "https"


def _started(thread: threading.Thread) -> bool:
    try:
        thread.start()
    except RuntimeError:
        return False
    return True


def _checked_proxy(library: ModuleType, proxy: str | None) -> str | None:
    if proxy is None:
        return None
    # What the library raises may show a password, and so may its frames.
    with suppress(Exception):
        library.Proxy(proxy)
        return proxy
    raise ValueError("proxy must be the URL of an http, https or socks5 proxy, with scheme and host")


def with_reference(cls: type, base: type) -> str:
    """What ``cls`` says of itself and all that ``base`` says, so that ``help()`` of the public name is complete."""
    return f"{cls.__doc__}\n\n    {base.__doc__}"
