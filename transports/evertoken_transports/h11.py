"""The default exchange: one token request over one blocking socket, with h11 and ``ssl``, in any thread.

Needs ``evertoken[h11]``.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress

from evertoken import HttpResponse, TokenRequest
from evertoken_transports._clock import Clock
from evertoken_transports._exchange import ExchangeBroken, ExchangeFailed
from evertoken_transports._exchanges.addresses import (
    CONNECTING,
    LONGEST_TIMEOUT,
    RESOLVING,
    connected,
    hang_up,
    resolved,
)
from evertoken_transports._exchanges.connecting import (
    HANDSHAKE,
    PIECE,
    Configured,
    check_alpn,
    default_ssl_context,
    failure_of,
    refuse_unsafe,
)
from evertoken_transports._exchanges.h11_client import Conversation
from evertoken_transports._exchanges.target import Target
from evertoken_transports._fence import Outbound
from evertoken_transports._progress import progress

__all__ = ("ExchangeBroken", "ExchangeFailed", "H11Exchange")


class H11Exchange(Outbound, Configured):
    """Sends a token request and returns the answer, over a connection of its own; see :class:`.Exchange`.

    The request's deadline covers the whole exchange, from DNS to the last byte, however slowly the other side drips.
    Redirects are not followed. Plain http is refused except to loopback. Proxies are not used: where the environment
    names one for the token endpoint, the request is refused, and not sent around the proxy.

    Args:
        ssl_context: for client certificates and private CAs. Default: one that verifies servers by the authorities
            that this machine trusts.
        trust_env: heed the proxies that the environment or the system names. If False, they are ignored.
        clock: the clock that ``request.deadline`` is measured on.

    The object keeps nothing but the ``ssl_context``, and may be called from several threads at once.

    Raises:
        ValueError: ``ssl_context`` is neither an ``ssl.SSLContext`` nor None.
    """

    def __call__(self, request: TokenRequest, /) -> HttpResponse:
        """Send ``request``; return the answer.

        Raises:
            ExchangeFailed: there is no answer. The text says at which stage the exchange failed, and why. After a
                fault in code it is an :class:`ExchangeBroken`.
        """
        self.check_fence()
        target = Target.of(request.url)
        refuse_unsafe(target, trust_env=self._trust_env)
        attempt = _Attempt(request, target, self._clock)
        try:
            return self._carried(attempt)
        except Exception as error:  # noqa: BLE001 (whatever it is, it is told without its frames)
            failure = failure_of(error, target, attempt.stage)
        # Raised outside the handler, so that neither a frame nor a context of the failure shows what was sent or read.
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
        return self._ssl_context.wrap_socket(plain, server_hostname=target.tls_name, do_handshake_on_connect=False)


class _Attempt:
    """One request under way, and how far it has come, in words."""

    def __init__(self, request: TokenRequest, target: Target, clock: Clock) -> None:
        self.target = target
        self._request = request
        self._clock = clock
        self._conversation = Conversation(request, target)
        self._note = progress()
        self._note.stage = "before it began"

    @property
    def stage(self) -> str:
        """How far it has come, as in "while connecting"."""
        return self._note.stage

    def seconds_left(self, stage: str) -> float:
        """Begin ``stage``, such as "while connecting", and return the seconds that are left for it.

        Raises:
            TimeoutError: none are left.
        """
        self._note.stage = stage
        left = self._request.seconds_left(self._clock())
        if not left:
            raise TimeoutError
        return min(left, LONGEST_TIMEOUT)

    def connected(self) -> socket.socket:
        """A connection to one of the target's addresses."""
        addresses = resolved(self.target, self.seconds_left(RESOLVING))
        return connected(self.target, addresses, lambda: self.seconds_left(CONNECTING))

    def converse(self, connection: socket.socket) -> HttpResponse:
        """Send the request and return the answer."""
        connection.settimeout(self.seconds_left("while sending the request"))
        # A server may answer, or say by a TLS alert what it misses, and hang up before it has read the request.
        with suppress(ConnectionError):
            connection.sendall(self._conversation.request_bytes())
        answer = None
        while answer is None:
            connection.settimeout(self.seconds_left(self._conversation.stage))
            answer = self._conversation.receive(connection.recv(PIECE))
        return answer
