"""The default exchange: one token request over one blocking socket, with h11 and ``ssl``, in any thread.

Needs ``evertoken[h11]``.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress

from evertoken import HttpResponse, TokenRequest
from evertoken_transports._addresses import connected_to, hang_up, resolved
from evertoken_transports._clock import Clock, suspend_aware_clock
from evertoken_transports._connecting import (
    HANDSHAKE,
    check_alpn,
    default_ssl_context,
    explained,
    reason_of,
    refuse_unsafe,
)
from evertoken_transports._fence import Outbound
from evertoken_transports._h11_client import Conversation, ExchangeFailed, Target

__all__ = ("ExchangeFailed", "H11Exchange")

_PIECE = 16 * 1024
"""Bytes asked of the socket at a time: what one TLS record holds."""

_LONGEST_TIMEOUT = 86_400.0
"""Seconds. Operating systems count a socket's time-out in milliseconds and 31 bits."""


class H11Exchange(Outbound):
    """Sends a token request and returns the answer, over a connection of its own; see :class:`.Exchange`.

    The request's deadline covers all of it, from DNS to the last byte, however slowly the other side drips. Redirects
    are not followed. Plain http is refused except to loopback. Proxies are not spoken to: where the environment names
    one for the token endpoint, the request is refused and not sent around it.

    Args:
        max_body: bytes of body that are read, and one more; give it ``Policy.max_body``.
        ssl_context: for client certificates and private CAs. Default: verified against this machine's own store.
        trust_env: heed the proxies that environment or system name. If False, they are ignored.
        clock: the one that ``request.deadline`` is measured on.

    It keeps nothing but the ``ssl_context``, and may be called from several threads at once.

    Raises:
        ValueError: ``max_body`` is not a whole number of at least 1.
    """

    def __init__(
        self,
        *,
        max_body: int = 65_536,
        ssl_context: ssl.SSLContext | None = None,
        trust_env: bool = True,
        clock: Clock = suspend_aware_clock,
    ) -> None:
        if isinstance(max_body, bool) or not isinstance(max_body, int) or max_body < 1:
            raise ValueError(f"max_body must be a whole number of at least 1, not {max_body!r}")
        self._max_body = max_body
        self._ssl_context = ssl_context
        self._trust_env = trust_env
        self._clock = clock

    def __call__(self, request: TokenRequest, /) -> HttpResponse:
        """Send ``request``; return the answer.

        Raises:
            ExchangeFailed: there is none. The text says at which stage it failed, and why.
        """
        self.check_fence()
        target = Target.of(request.url)
        refuse_unsafe(target, trust_env=self._trust_env)
        attempt = _Attempt(request, target, self._clock, self._max_body)
        try:
            return self._carried(attempt)
        except ExchangeFailed as error:
            failure = error.with_traceback(None)
        except (OSError, UnicodeError) as error:
            failure = explained(error, target, attempt.stage)
        # Outside the handlers: what was being sent and read must not hang on the failure, by its frames or its context.
        raise failure

    def _carried(self, attempt: _Attempt) -> HttpResponse:
        connection = attempt.connected()
        try:
            if attempt.target.scheme == "https":
                connection = secured = self._wrapped(connection, attempt.target)
                secured.settimeout(attempt.seconds_left(HANDSHAKE))
                secured.do_handshake()
                check_alpn(secured.selected_alpn_protocol())
            return attempt.converse(connection)
        finally:
            hang_up(connection)

    def _wrapped(self, plain: socket.socket, target: Target) -> ssl.SSLSocket:
        if self._ssl_context is None:
            self._ssl_context = default_ssl_context()
        # SNI and certificates do not know the dot that ends a fully qualified name (RFC 6066 section 3).
        name = target.host.rstrip(".")
        return self._ssl_context.wrap_socket(plain, server_hostname=name, do_handshake_on_connect=False)


class _Attempt:
    """One request under way, and the words for where it is."""

    def __init__(self, request: TokenRequest, target: Target, clock: Clock, max_body: int) -> None:
        self.target = target
        self._deadline = request.deadline
        self._clock = clock
        self._conversation = Conversation(request, target, max_body=max_body)
        self.stage = "before it began"

    def seconds_left(self, stage: str) -> float:
        """Seconds for what comes next, which is called ``stage``. More than 0, or it raises TimeoutError."""
        self.stage = stage
        left = self._deadline - self._clock()
        if left <= 0.0:
            raise TimeoutError
        return min(left, _LONGEST_TIMEOUT)

    def connected(self) -> socket.socket:
        """A connection to the first address that takes one. What time there is, those still to be tried share."""
        addresses = resolved(self.target, self.seconds_left("while resolving the host name"))
        failures: list[str] = []
        for tried, address in enumerate(addresses):
            share = self.seconds_left("while connecting") / (len(addresses) - tried)
            try:
                return connected_to(address, share)
            except OSError as error:
                failures.append(f"{address.text}: {reason_of(error)}")
        raise ExchangeFailed(f"no connection to {self.target.authority} ({'; '.join(failures)})")

    def converse(self, connection: socket.socket) -> HttpResponse:
        """Send and receive."""
        connection.settimeout(self.seconds_left("while sending the request"))
        # A server may answer, or say by a TLS alert what it misses, and hang up before it has read the request.
        with suppress(ConnectionError):
            connection.sendall(self._conversation.request_bytes())
        answer = None
        while answer is None:
            connection.settimeout(self.seconds_left(self._conversation.stage))
            answer = self._conversation.receive(connection.recv(_PIECE))
        return answer
