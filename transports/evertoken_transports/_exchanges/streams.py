"""What the exchanges of asyncio and trio share: the order of things, the deadline, and the words for failure."""

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
    """One connection, in the words of its runtime. Its methods raise OSError, ``ssl.SSLError`` included."""

    @abstractmethod
    async def start(self, context: ssl.SSLContext | None, name: str) -> str | None:
        """Begin to read and write; with a ``context``, after the handshake with ``name``.

        Whatever arrives before a handshake is read by TLS and by nobody else: a byte from then is never handed on.

        Returns:
            The protocol that was chosen (ALPN), if any.
        """

    @abstractmethod
    async def send(self, data: bytes) -> None:
        """Send all of ``data``."""

    @abstractmethod
    async def receive(self, most: int) -> bytes:
        """Whatever has arrived, up to ``most`` bytes; empty at the end."""

    @abstractmethod
    def close(self) -> None:
        """Close it at once and without ceremony: there is nothing to wait for, so that nothing can hang."""


class StreamExchange(Configured, ABC):
    """Sends a token request and returns the answer, over a connection of its own; see :class:`.AsyncExchange`.

    The request's deadline covers all of it, from DNS to the last byte, however slowly the other side drips. Redirects
    are not followed. Plain http is refused except to loopback. Proxies are not spoken to: where the environment names
    one for the token endpoint, the request is refused and not sent around it.

    Args:
        ssl_context: for client certificates and private CAs. Default: verified against this machine's own store.
        trust_env: heed the proxies that environment or system name. If False, they are ignored.
        clock: the one that ``request.deadline`` is measured on.

    It keeps nothing but the ``ssl_context``, belongs to no event loop, and may be used by several tasks at once.

    Raises:
        ValueError: ``ssl_context`` is none.
    """

    async def __call__(self, request: TokenRequest, /) -> HttpResponse:
        """Send ``request``; return the answer.

        Raises:
            ExchangeFailed: (:mod:`evertoken_transports.h11`) there is none. The text says at which stage it failed, and
                why.
        """
        target = Target.of(request.url)
        refuse_unsafe(target, trust_env=self._trust_env)
        attempt = Attempt(Conversation(request, target), progress())
        try:
            seconds = request.seconds_left(self._clock())
            return await self._within(seconds, self._carried(attempt, target, seconds))
        except Exception as error:  # noqa: BLE001 (whatever it is, it is told without its frames)
            failure = failure_of(error, target, attempt.stage)
        # Outside the handlers: what was being sent and read must not hang on the failure, by its frames or its context.
        raise failure

    @abstractmethod
    async def _open(self, target: Target, attempt: Attempt, seconds: float) -> Line:
        """A connection to ``target``, not yet started. ``seconds`` is what there is for all of the exchange."""

    async def _within(self, seconds: float, work: Coroutine[None, None, HttpResponse]) -> HttpResponse:
        """The result of ``work``; TimeoutError, and ``work`` is cancelled, after ``seconds``."""
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
        if self._ssl_context is None:  # In a thread, because to load every authority would hold up the loop.
            self._ssl_context = await in_thread(default_ssl_context)
        return self._ssl_context


class SocketExchange(Outbound, StreamExchange):
    """One that finds its way by DNS and TCP."""

    @override
    async def _open(self, target: Target, attempt: Attempt, seconds: float) -> Line:
        self.check_fence()
        attempt.stage = RESOLVING
        addresses = await resolved(target)
        attempt.stage = CONNECTING
        return await first_of(target, addresses, partial(self._connected, target), _discard)

    @abstractmethod
    async def _connected(self, target: Target, address: Address) -> Line:
        """A connection to ``address`` that :func:`._addresses.refuse_to_leave` lets pass; OSError if there is none."""


async def _discard(line: Line) -> None:
    line.close()


class Attempt:
    """One request under way, and the words for where it is."""

    def __init__(self, conversation: Conversation, note: Progress) -> None:
        self._conversation = conversation
        self._note = note
        self.stage = "before it began"

    @property
    def stage(self) -> str:
        """Where it is, as in "while connecting"; noted for those who wait, too."""
        return self._note.stage

    @stage.setter
    def stage(self, words: str) -> None:
        self._note.stage = words

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
