"""What the exchanges of asyncio and trio share: the order of the steps, the deadline, and the words for failures."""

from __future__ import annotations

import ssl
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from contextlib import suppress
from functools import partial

from typing_extensions import override

from evertoken import HttpResponse, TokenRequest
from evertoken_transports._exchanges.addresses import CONNECTING, RESOLVING, Address
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
from evertoken_transports._exchanges.racing import first_of, resolved
from evertoken_transports._exchanges.target import Target
from evertoken_transports._fence import Outbound
from evertoken_transports._progress import Progress, progress
from evertoken_transports._runtime import in_thread, within


class Line(ABC):
    """One connection, by the means of its runtime. Its methods raise OSError, of which ``ssl.SSLError`` is one."""

    @abstractmethod
    async def start(self, context: ssl.SSLContext | None, name: str) -> str | None:
        """Begin to read and write; with a ``context``, after a TLS handshake with the host ``name``.

        Bytes that arrive before the handshake must go to TLS alone, and never to :meth:`receive`: no certificate
        vouches for them.

        Returns:
            The protocol that was chosen (ALPN), if any.
        """

    @abstractmethod
    async def send(self, data: bytes) -> None:
        """Send all of ``data``."""

    @abstractmethod
    async def receive(self, most: int) -> bytes:
        """Whatever has arrived, up to ``most`` bytes; empty at the end of the connection."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection at once, without a farewell of TLS: nothing is waited for, so that nothing can hang."""


class StreamExchange(Configured, ABC):
    """Sends a token request and returns the answer, over a connection of its own; see :class:`.AsyncExchange`.

    The request's deadline covers the whole exchange, from DNS to the last byte, however slowly the other side drips.
    Redirects are not followed. Plain http is refused except to loopback. Proxies are not used: where the environment
    names one for the token endpoint, the request is refused, and not sent around the proxy.

    Args:
        ssl_context: for client certificates and private CAs. Default: one that verifies servers by the authorities
            that this machine trusts.
        trust_env: heed the proxies that the environment or the system names. If False, they are ignored.
        clock: the clock that ``request.deadline`` is measured on.

    The object keeps nothing but the ``ssl_context``, belongs to no event loop, and may be used by several tasks at
    once.

    Raises:
        ValueError: ``ssl_context`` is neither an ``ssl.SSLContext`` nor None.
    """

    async def __call__(self, request: TokenRequest, /) -> HttpResponse:
        """Send ``request``; return the answer.

        Raises:
            ExchangeFailed: (:mod:`evertoken_transports.h11`) there is no answer. The text says at which stage the
                exchange failed, and why. After a fault in code it is an ``ExchangeBroken``.
        """
        target = Target.of(request.url)
        refuse_unsafe(target, trust_env=self._trust_env)
        attempt = Attempt(Conversation(request, target), progress())
        try:
            seconds = request.seconds_left(self._clock())
            return await self._within(seconds, self._carried(attempt, target, seconds))
        except Exception as error:  # noqa: BLE001 (whatever it is, it is told without its frames)
            failure = failure_of(error, target, attempt.stage)
        # Raised outside the handler, so that neither a frame nor a context of the failure shows what was sent or read.
        raise failure

    @abstractmethod
    async def _open(self, target: Target, attempt: Attempt, seconds: float) -> Line:
        """A connection to ``target``, not yet started. ``seconds`` are left for the whole exchange."""

    async def _within(self, seconds: float, work: Coroutine[None, None, HttpResponse]) -> HttpResponse:
        """The result of ``work``. After ``seconds``, ``work`` is cancelled and TimeoutError raised."""
        return await within(seconds, work)

    async def _carried(self, attempt: Attempt, target: Target, seconds: float) -> HttpResponse:
        context = await self._context_for(target)
        line = await self._open(target, attempt, seconds)
        try:
            attempt.stage = HANDSHAKE
            check_alpn(await line.start(context, target.tls_name))
            return await attempt.converse(line)
        finally:
            with suppress(Exception):  # What goes wrong in closing must not cost the answer.
                line.close()

    async def _context_for(self, target: Target) -> ssl.SSLContext | None:
        if target.scheme != "https":
            return None
        if self._ssl_context is None:  # Made in a thread, because to load every authority would hold up the loop.
            self._ssl_context = await in_thread(default_ssl_context)
        return self._ssl_context


class SocketExchange(Outbound, StreamExchange):
    """An exchange that finds the endpoint by DNS and TCP."""

    @override
    async def _open(self, target: Target, attempt: Attempt, seconds: float) -> Line:
        self.check_fence()
        attempt.stage = RESOLVING
        addresses = await resolved(target)
        attempt.stage = CONNECTING
        return await first_of(target, addresses, partial(self._connected, target), _discard)

    @abstractmethod
    async def _connected(self, target: Target, address: Address) -> Line:
        """A connection to ``address`` that :func:`.addresses.refuse_to_leave` lets pass. Raises OSError without one."""


async def _discard(line: Line) -> None:
    line.close()


class Attempt:
    """One request under way, and how far it has come, in words."""

    def __init__(self, conversation: Conversation, note: Progress) -> None:
        self._conversation = conversation
        self._note = note
        self.stage = "before it began"

    @property
    def stage(self) -> str:
        """How far it has come, as in "while connecting". Callers who give up waiting for the token are told this."""
        return self._note.stage

    @stage.setter
    def stage(self, words: str) -> None:
        self._note.stage = words

    async def converse(self, line: Line) -> HttpResponse:
        """Send the request and return the answer."""
        self.stage = "while sending the request"
        # A server may answer, or say by a TLS alert what it misses, and hang up before it has read the request.
        with suppress(ConnectionError):
            await line.send(self._conversation.request_bytes())
        answer = None
        while answer is None:
            self.stage = self._conversation.stage
            answer = self._conversation.receive(await line.receive(PIECE))
        return answer
