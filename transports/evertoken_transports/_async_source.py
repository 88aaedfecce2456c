"""What the sources of asyncio and trio have in common: callers wait in their event loop, and never block it."""

from __future__ import annotations

import ssl
import weakref
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Hashable
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from evertoken import AccessToken, ClientCredentials, GiveUp, Policy, Ready, TokenRequest, TokenUnavailable
from evertoken._checks import check_type
from evertoken_transports._asking import is_async
from evertoken_transports._carrier import carry, carry_async
from evertoken_transports._coordinator import Coordinator, Waker
from evertoken_transports._events import EventCallback
from evertoken_transports._exchange import AsyncExchange, Exchange, check_exchange, check_no_settings
from evertoken_transports._runtime import is_simulated
from evertoken_transports._shares import Shares
from evertoken_transports._source import (
    SHORTEST_SLEEP,
    BaseSource,
    checked_timeout,
    default_exchange,
)
from evertoken_transports._threads import LONGEST_SLEEP, start_thread
from evertoken_transports._token import Token
from evertoken_transports._when import NO_LOOP, LastCall, TokenCallback, could_not_wait, told

if TYPE_CHECKING:
    from evertoken_transports._exchanges.streams import StreamExchange


class Sleeper(ABC):
    """One task that waits: it sleeps in its own loop, and can be woken from any thread."""

    wake: Waker
    """Wakes the task, from any thread. Raises if its loop is closed; the coordinator then goes on to the next one."""

    @abstractmethod
    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds``, or soon after ``wake`` was called since the last sleep ended."""


class AsyncSource(BaseSource):
    """A source whose callers are coroutines. Each runtime adds how a task sleeps, and how one starts beside them."""

    def __init__(
        self,
        grant: ClientCredentials,
        policy: Policy,
        coordinator: Coordinator | None,
        on_event: EventCallback | None,
        *,
        exchange: AsyncExchange | None,
        background: bool,
        keep_warm: bool,
        ssl_context: ssl.SSLContext | None,
        trust_env: bool,
        shares: Shares,
    ) -> None:
        if exchange is not None:
            check_exchange("exchange", exchange, is_async=True, instead=f"{self._exchange_name} makes one")
            check_no_settings("exchange", ssl_context, trust_env=trust_env)
        super().__init__(grant, policy, coordinator, on_event, keep_warm=keep_warm, stores=shares.stores(exchange))
        self._lasting: Exchange | None = None
        if exchange is None:
            exchange = self._exchange_class()(ssl_context=ssl_context, trust_env=trust_env, clock=self._clock)
            lasting = default_exchange(self._coordinator, ssl_context, trust_env=trust_env)
            self._outlive_with(shares.around(lasting, self._clock))
        self._exchange = self._coordinator._stand_in(shares.around_async(exchange, self._clock))
        check_type("background", background, bool)
        self._background = background
        if self._can_spawn():
            self._ensure_warm()

    def authorization_nowait(self) -> str | None:
        """The value for an ``Authorization`` header if there is a usable token now, else None. Never waits.

        While the token is fresh this is one clock reading and one comparison, without a lock. Past that it takes the
        coordinator's lock for a moment, and sees to it that a due token request is under way beside the caller. Outside
        the event loop it starts none, and only looks. Raises LocalProtocolError if the source is closed.
        """
        if self._clock() < self._quiet_until:
            return self._header
        held = self._held_now()
        return None if held is None else held.authorization

    async def authorization(self, timeout: float | None = None, min_ttl: float = 0.0) -> str:
        """The value for an ``Authorization`` header, waiting up to ``timeout`` seconds for one if need be.

        While the token is fresh this returns at once, without giving other tasks a turn. Cancelling a caller cancels no
        other caller, and not the token request either, unless ``background`` is False.

        Args:
            timeout: seconds that the caller can wait. Waiting ends early when it is hopeless. A request that is due
                when they are over is started beside the caller, as :meth:`authorization_nowait` does. Default: 15; with
                a store 20, and 10 more for each further one, so that another process can die while it asks.
            min_ttl: seconds for which the token must still be handed out; for work that waits in a queue.

        Raises:
            EndpointLocked, CredentialsRefused, RateLimited, LifetimeTooShort: at once, or as soon as it is known.
            TokenUnavailable: the common base; any other reason.
            LocalProtocolError: the source is closed.
            ValueError: an argument is negative or not a number.
        """
        if timeout is not None and timeout is not self._checked:
            self._checked = checked_timeout(timeout)
        clock = self._clock  # A local: Python 3.11 takes longer to call an attribute that is no method.
        if not min_ttl and clock() < self._quiet_until:
            return self._header or (await self._wait(timeout, min_ttl)).authorization
        return (await self._wait(timeout, min_ttl)).authorization

    async def token(self, timeout: float | None = None, min_ttl: float = 0.0) -> Token:
        """The token itself, with its expiry and scope, waiting for one as :meth:`authorization` does.

        For libraries that want the bare token or its expiry. Arguments and errors are those of :meth:`authorization`,
        which is cheaper where the header is all that is wanted.
        """
        if timeout is not None:
            checked_timeout(timeout)
        held = None if min_ttl else self._held()
        return self._token_of(held or await self._wait(timeout, min_ttl))

    @override
    def when_token(self, callback: TokenCallback, timeout: float | None = None) -> None:
        """Call ``callback`` once: with a :class:`~evertoken_transports.Token`, or with why there is none in time.

        For callers who must not wait, such as the plug-ins of gRPC and of Kafka's clients. This never blocks: where
        there is a usable token, ``callback`` is called before this returns; else later, from a task of its own.
        ``callback`` must be quick, since it holds up the event loop. What it raises is logged, and changes nothing.

        Args:
            callback: a plain function. It may call this source again.
            timeout: seconds within which it is called. The default is that of :meth:`authorization`.

        Outside the event loop this waits with the default exchange alone, since no other can be used in a thread: with
        another one, ``callback`` gets a token that is there, or an error that says so. If the loop ends while
        ``callback`` waits, it gets an error that says that.

        Raises:
            LocalProtocolError: the source is closed. Closed later, a ``TokenUnavailable`` says so to ``callback``.
            TypeError, ValueError: an argument is of another kind, or negative. ``callback`` is not called then.
        """
        if self._call_now(callback, timeout):
            return
        since = self._clock()
        if self._can_spawn():
            self._start_waiting(LastCall(callback), timeout)
        elif self._lasting is not None:
            self._waiting().add(callback, since, since + self._seconds(timeout))
        else:
            told(callback, TokenUnavailable(NO_LOOP))

    async def warm_up(self, timeout: float | None = None) -> None:
        """Get a token ahead of need, or raise as :meth:`authorization` does. For start-up and readiness checks."""
        await self.authorization(timeout)

    @override
    def _lift_in_store(self, unblock: Callable[[], object]) -> None:
        lift = super()._lift_in_store
        self._beside(lambda: lift(unblock))

    def _outlive_with(self, exchange: Exchange) -> None:
        """Have refreshes carried by ``exchange`` in threads. Adapters call this for an exchange of their library.

        No caller in the event loop waits for a refresh, since all have the old token. A task that carried one would end
        with its loop; in a program that runs a loop for each short job, no refresh would ever be finished.
        """
        self._lasting = self._coordinator._stand_in_thread(exchange)

    # What the runtime brings
    # -----------------------

    _exchange_name: ClassVar[str]
    """The public name of the default exchange's class."""

    @abstractmethod
    def _exchange_class(self) -> type[StreamExchange]:
        """The default exchange's class. It is imported only here, since it needs an extra."""

    @abstractmethod
    def _sleeper(self) -> Sleeper: ...

    @abstractmethod
    def _spawn(self, request: TokenRequest) -> None:
        """Start a task that carries ``request`` and reports its outcome, whatever becomes of the caller."""

    @abstractmethod
    def _start_waiting(self, call: LastCall, timeout: float | None) -> None:
        """Start a task that waits for a token. ``call`` is told what came of it, whatever becomes of the loop."""

    @abstractmethod
    def _can_spawn(self) -> bool:
        """Whether the caller is in an event loop of this runtime."""

    @abstractmethod
    def _place(self) -> Hashable:
        """What stands for the event loop that runs here, without keeping it alive."""

    @abstractmethod
    def _start_warmer(self) -> bool:
        """Start a task that keeps the token warm, and that calls :meth:`_cooled` whatever ends it.

        The task does not keep the source alive. Returns True, since a task, unlike a thread, can always be started.
        """

    # Waiting and carrying
    # --------------------

    def _ensure_warm(self) -> None:
        """Start what keeps the token warm in the event loop that runs here, if something should and nothing does."""
        self._see_warm(self._place(), self._start_warmer)

    @override
    def _held_now(self, min_ttl: float = 0.0) -> AccessToken | None:
        self._check_open()
        in_loop = self._can_spawn()
        if in_loop:
            self._ensure_warm()
        if not (in_loop and self._background):
            return self._coordinator.machine.token(self._clock(), min_ttl)
        caller = _caller()
        departed = self._coordinator._departure(caller)
        try:
            answer, request = self._coordinator._claim_or_wait(caller, since=self._clock(), min_ttl=min_ttl)
            if request is not None:
                self._carry_beside(request, answer)
        finally:
            departed()
            self._coordinator._catch_up()
        return answer.token if isinstance(answer, Ready) else None

    async def _wait(self, timeout: float | None, min_ttl: float) -> AccessToken:
        since = self._clock()
        deadline = since + self._seconds(timeout)
        sleeper = self._sleeper()
        departed = self._coordinator._departure(sleeper.wake)
        self._ensure_warm()
        has_waited = False
        try:
            while True:
                self._check_open()
                answer, request = self._coordinator._claim_or_wait(
                    sleeper.wake, since=since, deadline=deadline, min_ttl=min_ttl
                )
                self._check_open()  # Whoever closed it before this caller was registered has not woken it.
                # Nothing is awaited between the claim and what carries it, so no cancellation can come between.
                if request is not None and not self._background:
                    self._coordinator._tell_of_claim()
                    await carry_async(self._coordinator, self._exchange, request)
                    has_waited = True
                    continue  # The answer is older than what the exchange has just brought.
                if request is not None:
                    self._carry_beside(request, answer)
                if isinstance(answer, Ready):
                    if has_waited:
                        self._coordinator._call_ended(since)
                    return answer.token
                if isinstance(answer, GiveUp):
                    if self._clock() >= deadline:
                        self._held_now(min_ttl)  # Starts a request that is due, for the callers after this one.
                    self._coordinator._call_ended(since, answer.error.problem)
                    raise answer.error from None
                has_waited = True
                await sleeper.sleep(min(max(0.0, answer.until - self._clock()), LONGEST_SLEEP))
        finally:
            departed()
            self._coordinator._catch_up()

    async def _wait_to_call(self, call: LastCall, timeout: float | None) -> None:
        came: Token | TokenUnavailable | None = None
        try:
            came = self._token_of(await self._wait(timeout, 0.0))
        except Exception as error:  # noqa: BLE001 (nobody else is to be told)
            came = could_not_wait(error)
        finally:
            call.end() if came is None else call.tell(came)

    @override
    def _see_carried(self, request: TokenRequest) -> None:
        """Send ``request`` from the thread in which callbacks wait outside the event loop."""
        if self._lasting is not None:
            self._coordinator._tell_of_claim()
            carry(self._coordinator, self._lasting, request)

    def _carry_beside(self, request: TokenRequest, answer: object) -> None:
        """Have ``request`` sent beside the caller: by a thread if it is a refresh and one can, else by a task."""
        if not (isinstance(answer, Ready) and self._outlived(request)):
            self._spawn(request)
        self._coordinator._took(request)
        self._coordinator._tell_of_claim()

    def _outlived(self, request: TokenRequest) -> bool:
        """Whether a thread now carries ``request``, which is a refresh, so that it does not end with the event loop."""
        secret = self._grant.secret_source
        if self._lasting is None or is_simulated() or (secret is not None and is_async(secret)):
            return False
        return start_thread("evertoken-request", carry, self._coordinator, self._lasting, request)


def _caller() -> Waker:
    """The waker of a caller who does not wait: it wakes nobody. It equals no other, so it stands for its caller."""
    return lambda: None


async def stay_warm(
    source: weakref.ref[AsyncSource],
    coordinator: Coordinator,
    carry: Callable[[TokenRequest], Awaitable[None]],
    sleeper: Sleeper,
) -> None:
    """See every request carried as it falls due, until the source is closed or gone."""
    departed = coordinator._departure(sleeper.wake)
    try:
        while (held := source()) is not None and not held.closed:
            answer, request = coordinator._claim_or_wait(sleeper.wake)
            if request is not None and isinstance(answer, Ready) and held._outlived(request):
                coordinator._took(request)
                request = None
            coordinator._tell_of_claim()
            del held
            if request is not None:
                await carry(request)
            else:
                ahead = coordinator.next_deadline() - coordinator.clock()
                await sleeper.sleep(min(max(SHORTEST_SLEEP, ahead), LONGEST_SLEEP))
    finally:
        departed()
        coordinator._catch_up()
