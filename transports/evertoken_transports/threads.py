"""TokenSource for threads: callers wait on an event, and the exchange outlives its caller in a daemon thread."""

from __future__ import annotations

import ssl
import weakref
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from typing_extensions import override

from evertoken import AccessToken, ClientCredentials, GiveUp, Policy, Ready, TokenRequest
from evertoken._checks import check_type
from evertoken_transports._carrier import carry
from evertoken_transports._coordinator import Coordinator
from evertoken_transports._events import EventCallback
from evertoken_transports._exchange import Exchange, check_exchange, check_no_settings
from evertoken_transports._shares import Shares
from evertoken_transports._source import SHORTEST_SLEEP, BaseSource, checked_timeout, default_exchange
from evertoken_transports._threads import Caller, may_start_threads, start_thread
from evertoken_transports._token import Token
from evertoken_transports._when import TokenCallback

if TYPE_CHECKING:
    from evertoken.sharing import Store

__all__ = ("TokenSource",)

_DEFAULT = "evertoken_transports.h11.H11Exchange"


class TokenSource(BaseSource):
    """Keeps one valid token for any number of threads.

    Args:
        grant: who asks, where, and how; for example ``mangopay.sandbox(client_id=..., api_key=...)``.
        policy: the tunables; see :class:`evertoken.Policy`.
        exchange: how a token request travels: a plain callable. Default:
            :class:`~evertoken_transports.h11.H11Exchange`, raw HTTP/1.1 over a fresh socket, with ``evertoken[h11]``.
        coordinator: share this one. Default: that of all sources in the process with an equal grant, policy and store.
        background: send token requests from a short-lived daemon thread, so that one under way survives its
            caller. If False, or if no thread can be started, the caller carries the request itself, and is then held
            for up to ``Policy.request_timeout`` whatever its own timeout.
        keep_warm: refresh a due token even if nobody asks. Otherwise a program that makes no calls makes no requests.
        ssl_context: client certificates (mTLS) and private CAs of the default exchange. Default: verified against this
            machine's own store. Give it to ``exchange`` where there is one.
        trust_env: whether the default exchange heeds the proxies that environment or system name.
        store: share the token by it with every process that uses it: :class:`~evertoken_transports.stores.FileStore`,
            :class:`~evertoken_transports.stores.RedisStore`. See :class:`~evertoken_transports.stores.SharedExchange`,
            also for ``store_required`` and ``keys``.
        on_event: called with each event; see :class:`~evertoken_transports.Coordinator`.

    Raises TypeError or ValueError, which name the argument that is wrong.

    Safe to use from any thread, and after ``os.fork``. A source is cheap to make, since sources share what is
    expensive. It is a context manager that closes itself.
    """

    def __init__(
        self,
        grant: ClientCredentials,
        *,
        policy: Policy = Policy(),  # noqa: B008 (frozen: sharing it is safe)
        exchange: Exchange | None = None,
        coordinator: Coordinator | None = None,
        background: bool = True,
        keep_warm: bool = False,
        ssl_context: ssl.SSLContext | None = None,
        trust_env: bool = True,
        store: Store | None = None,
        store_required: bool = False,
        keys: Sequence[str | bytes] = (),
        on_event: EventCallback | None = None,
    ) -> None:
        shares = Shares(store, keys, store_required=store_required)
        del keys  # Error trackers show local variables.
        shares.check()
        if exchange is not None:
            check_exchange("exchange", exchange, is_async=False, instead=f"{_DEFAULT} makes one")
            check_no_settings("exchange", ssl_context, trust_env=trust_env)
        super().__init__(grant, policy, coordinator, on_event, keep_warm=keep_warm, stores=shares.stores(exchange))
        if exchange is None:
            exchange = default_exchange(self._coordinator, ssl_context, trust_env=trust_env)
        self._exchange = self._coordinator._stand_in(shares.around(exchange, self._clock))
        check_type("background", background, bool)
        self._background = background
        self._ensure_warm()

    def authorization_nowait(self) -> str | None:
        """The value for an ``Authorization`` header if there is a usable token now, else None. Never waits.

        While the token is fresh this is one clock reading and one comparison, without a lock. Past that it takes the
        coordinator's lock for a moment, and sees to it that a due token request is under way beside the caller. Raises
        LocalProtocolError if the source is closed.
        """
        if self._clock() < self._quiet_until:
            return self._header
        held = self._held_now()
        return None if held is None else held.authorization

    def authorization(self, timeout: float | None = None, min_ttl: float = 0.0) -> str:
        """The value for an ``Authorization`` header, waiting up to ``timeout`` seconds for one if need be.

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
        if not min_ttl and self._clock() < self._quiet_until:
            return self._header or self._wait(timeout, min_ttl).authorization
        return self._wait(timeout, min_ttl).authorization

    def token(self, timeout: float | None = None, min_ttl: float = 0.0) -> Token:
        """The token itself, with its expiry and scope, waiting for one as :meth:`authorization` does.

        For libraries that want the bare token or its expiry. Arguments and errors are those of :meth:`authorization`,
        which is cheaper where the header is all that is wanted.
        """
        if timeout is not None:
            checked_timeout(timeout)
        held = None if min_ttl else self._held()
        return self._token_of(held or self._wait(timeout, min_ttl))

    @override
    def when_token(self, callback: TokenCallback, timeout: float | None = None) -> None:
        """Call ``callback`` once: with a :class:`~evertoken_transports.Token`, or with why there is none in time.

        For callers who must not wait, such as the plug-ins of gRPC and of Kafka's clients. This never blocks: where
        there is a usable token, ``callback`` is called before this returns; else later, from a thread in which all
        callbacks wait together. ``callback`` must be quick, since the others wait for it. What it raises is logged, and
        changes nothing.

        Args:
            callback: a plain function. It may call this source again.
            timeout: seconds within which it is called. The default is that of :meth:`authorization`.

        A forked child does not call the callbacks that were given to its parent.

        Raises:
            LocalProtocolError: the source is closed. Closed later, a ``TokenUnavailable`` says so to ``callback``.
            TypeError, ValueError: an argument is of another kind, or negative. ``callback`` is not called then.
        """
        since = self._clock()
        if not self._call_now(callback, timeout):
            self._waiting().add(callback, since, since + self._seconds(timeout))

    def warm_up(self, timeout: float | None = None) -> None:
        """Get a token ahead of need, or raise as :meth:`authorization` does. For start-up and readiness checks."""
        self.authorization(timeout)

    def close(self) -> None:
        """Refuse further calls, and end current ones with a LocalProtocolError. A request under way is finished.

        Other sources of the same coordinator may wait for that request.
        """
        if not self._closed:
            self._shut()
            self._coordinator._wake_all()

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # Waiting and carrying
    # --------------------

    @override
    def _held_now(self, min_ttl: float = 0.0) -> AccessToken | None:
        self._check_open()
        self._ensure_warm()
        if not (self._background and may_start_threads()):
            return self._coordinator.machine.token(self._clock(), min_ttl)
        caller = Caller()
        departed = self._coordinator._departure(caller.wake)
        try:
            answer, request = self._coordinator._claim_or_wait(caller.wake, since=self._clock(), min_ttl=min_ttl)
            if request is not None:
                self._is_carried_beside(request)
        finally:
            departed()
            self._coordinator._catch_up()
        return answer.token if isinstance(answer, Ready) else None

    def _wait(self, timeout: float | None, min_ttl: float) -> AccessToken:
        since = self._clock()
        deadline = since + self._seconds(timeout)
        caller = Caller()
        departed = self._coordinator._departure(caller.wake)
        self._ensure_warm()
        has_waited = False
        try:
            while True:
                self._check_open()
                answer, request = self._coordinator._claim_or_wait(
                    caller.wake, since=since, deadline=deadline, min_ttl=min_ttl
                )
                self._check_open()  # Whoever closed it before this caller was registered has not woken it.
                if request is not None and not self._see_carried(request):
                    has_waited = True
                    continue  # The answer is older than what the exchange has just brought.
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
                caller.sleep(answer.until - self._clock())
        finally:
            departed()
            self._coordinator._catch_up()

    @override
    def _see_carried(self, request: TokenRequest) -> bool:
        """Send ``request`` in a thread of its own, or here if that cannot be. Returns whether a thread has it."""
        if self._background and self._is_carried_beside(request):
            return True
        self._coordinator._tell_of_claim()
        carry(self._coordinator, self._exchange, request)
        return False

    def _is_carried_beside(self, request: TokenRequest) -> bool:
        """Whether a daemon thread now carries ``request``. None can at interpreter shutdown or the limit of threads."""
        if not start_thread("evertoken-request", carry, self._coordinator, self._exchange, request):
            return False
        self._coordinator._took(request)
        self._coordinator._tell_of_claim()
        return True

    # Keeping warm
    # ------------

    def _ensure_warm(self) -> None:
        """Start the thread that keeps the token warm, if it should be and there is none: at first, and after a fork."""
        self._see_warm("a thread", self._start_warmer)

    def _start_warmer(self) -> bool:
        caller = Caller()
        self._coordinator._expect(caller.wake)
        what = weakref.ref(self), self._coordinator, self._exchange, caller
        if start_thread("evertoken-keep-warm", _stay_warm, *what):
            return True
        self._coordinator._departure(caller.wake)()
        self._coordinator._catch_up()
        return False


def _stay_warm(source: weakref.ref[TokenSource], coordinator: Coordinator, exchange: Exchange, caller: Caller) -> None:
    """Carry every request as it falls due, until the source is closed or gone."""
    departed = coordinator._departure(caller.wake)
    try:
        while _wants_warmth(source()):
            _, request = coordinator._claim_or_wait(caller.wake)
            if request is not None:
                coordinator._tell_of_claim()
                carry(coordinator, exchange, request)
            else:
                caller.sleep(max(SHORTEST_SLEEP, coordinator.next_deadline() - coordinator.clock()))
    finally:
        departed()
        coordinator._catch_up()
        if (held := source()) is not None:
            held._cooled("a thread")


def _wants_warmth(source: TokenSource | None) -> bool:
    """Whether the token of ``source`` is still to be kept warm.

    A function of its own, so that the thread holds no reference to the source while it sleeps.
    """
    return source is not None and not source.closed
