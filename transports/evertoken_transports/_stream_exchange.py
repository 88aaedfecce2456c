"""What the exchanges of asyncio and trio share: the order of things, the deadline, and the words for failure."""

from __future__ import annotations

import ssl
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from contextlib import suppress
from ipaddress import ip_address

from evertoken import HttpResponse, TokenRequest
from evertoken_transports._clock import Clock, suspend_aware_clock
from evertoken_transports._connecting import HANDSHAKE, check_alpn, default_ssl_context, explained, refuse_unsafe
from evertoken_transports._h11_client import Conversation, ExchangeFailed, Target

__all__ = ("Line", "StreamExchange")

PIECE = 16 * 1024
"""Bytes asked of a stream at a time: what one TLS record holds."""


class Line(ABC):
    """One connection, in the words of its runtime. Its methods raise OSError, ``ssl.SSLError`` included."""

    @abstractmethod
    async def send(self, data: bytes) -> None:
        """Send all of ``data``."""

    @abstractmethod
    async def receive(self, most: int) -> bytes:
        """Whatever has arrived, up to ``most`` bytes; empty at the end."""

    @abstractmethod
    async def start(self, context: ssl.SSLContext | None, name: str) -> str | None:
        """Begin to read and write; with a ``context``, after the handshake with ``name``.

        Whatever arrives before a handshake is read by TLS and by nobody else: a byte from then is never handed on.

        Returns:
            The protocol that was chosen (ALPN), if any.
        """

    @abstractmethod
    def peer(self) -> str:
        """The address at the other end."""

    @abstractmethod
    def close(self) -> None:
        """Close it at once and without ceremony: there is nothing to wait for, so that nothing can hang."""


class StreamExchange(ABC):
    """Sends a token request and returns the answer, over a connection of its own; see :class:`.AsyncExchange`.

    The same rules as for :class:`evertoken_transports.h11.H11Exchange`: one deadline for everything, no redirects, no
    plain http but to loopback, no way around a configured proxy.

    Args:
        max_body: bytes of body that are read, and one more; give it ``Policy.max_body``.
        ssl_context: for client certificates and private CAs. Default: verified against this machine's own store.
        trust_env: heed the proxies that environment or system name. If False, they are ignored.
        clock: the one that ``request.deadline`` is measured on.

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

    async def __call__(self, request: TokenRequest, /) -> HttpResponse:
        """Send ``request``; return the answer.

        Raises:
            ExchangeFailed: there is none. The text says at which stage it failed, and why.
        """
        target = Target.of(request.url)
        refuse_unsafe(target, trust_env=self._trust_env)
        attempt = _Attempt(Conversation(request, target, max_body=self._max_body))
        try:
            seconds = max(0.0, request.deadline - self._clock())
            return await self._within(seconds, self._carried(attempt, target, seconds))
        except ExchangeFailed as error:
            failure = error.with_traceback(None)
        except (OSError, UnicodeError) as error:
            failure = explained(error, target, attempt.stage)
        # Outside the handlers: what was being sent and read must not hang on the failure, by its frames or its context.
        raise failure

    @abstractmethod
    async def _open(self, target: Target, seconds: float) -> Line:
        """A connection to ``target``, without TLS. ``seconds`` is what there is for all of the exchange."""

    @abstractmethod
    async def _within(self, seconds: float, work: Coroutine[None, None, HttpResponse]) -> HttpResponse:
        """The result of ``work``; TimeoutError, and ``work`` is cancelled, after ``seconds``."""

    async def _carried(self, attempt: _Attempt, target: Target, seconds: float) -> HttpResponse:
        line = await self._open(target, seconds)
        try:
            if target.scheme == "https":
                attempt.stage = HANDSHAKE
            elif not _is_here(line.peer()):
                raise ExchangeFailed(
                    f"plain http is refused: {target.host} is {line.peer()}, which is not this machine"
                )
            # SNI and certificates do not know the dot that ends a fully qualified name (RFC 6066 section 3).
            check_alpn(await line.start(self._context_for(target), target.host.rstrip(".")))
            return await attempt.converse(line)
        finally:
            with suppress(Exception):  # What goes wrong in closing must not cost the answer.
                line.close()

    def _context_for(self, target: Target) -> ssl.SSLContext | None:
        if target.scheme != "https":
            return None
        if self._ssl_context is None:
            self._ssl_context = default_ssl_context()
        return self._ssl_context


class _Attempt:
    """One request under way, and the words for where it is."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self.stage = "while connecting"

    async def converse(self, line: Line) -> HttpResponse:
        """Send and receive."""
        self.stage = "while sending the request"
        # A server may answer, or say by a TLS alert what it misses, and hang up before it has read the request.
        with suppress(ConnectionError):
            await line.send(self._conversation.request_bytes())
        answer = None
        while answer is None:
            self.stage = self._conversation.stage
            answer = self._conversation.receive(await line.receive(PIECE))
        return answer


def _is_here(address: str) -> bool:
    try:
        return ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False
