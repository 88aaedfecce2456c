"""What the sources of all runtimes have in common: everything but waiting."""

from __future__ import annotations

import math
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeGuard

from evertoken import (
    AccessToken,
    BlockKind,
    Challenge,
    ClientCredentials,
    Explanation,
    LocalProtocolError,
    Policy,
    Rejection,
    TokenRequest,
    read_challenge,
)
from evertoken._checks import check_type, fault_of_authorization, is_moment
from evertoken._secrecy import Hidden, Unpicklable
from evertoken_transports._blame import place_of
from evertoken_transports._coordinator import Coordinator
from evertoken_transports._events import EventCallback, bound, check_callback, check_on_event
from evertoken_transports._exchange import Exchange
from evertoken_transports._fence import Outbound
from evertoken_transports._readiness import Readiness, readiness_of
from evertoken_transports._threads import start_thread
from evertoken_transports._token import Token
from evertoken_transports._when import TokenCallback, Waiting, told

SHORTEST_SLEEP = 0.05
"""The fewest seconds that what keeps a token warm sleeps, also where a request that is due cannot be built."""


_PATIENCE = 15.0
"""Seconds that a caller waits who does not say for how long, where no store is shared."""

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS", "TRACE")
"""The methods whose calls may be repeated whatever became of them (RFC 9110 section 9.2.1)."""

_LEASE, _MORE = 1.5, 5.0
"""How many times ``Policy.request_timeout`` the lease of a shared store lasts, and the seconds by which a caller who
does not say for how long waits longer than that."""


class BaseSource(Unpicklable, ABC):
    """One client's token, as callers of any runtime see it. See the ``TokenSource`` of each runtime.

    A copy of a source is the source itself: another object would not be told when a token is dropped, or that the
    source is closed.
    """

    _exchange: Any
    """What carries the requests, of the kind that the runtime needs."""

    def __init__(
        self,
        grant: ClientCredentials,
        policy: Policy,
        coordinator: Coordinator | None,
        on_event: EventCallback | None,
        *,
        keep_warm: bool,
        stores: tuple[Hashable, ...] = (),
    ) -> None:
        check_type("keep_warm", keep_warm, bool)
        check_on_event(on_event)
        self._coordinator = found_coordinator(grant, policy, coordinator, stores)
        self._profile = grant.endpoint.profile
        self._clock = self._coordinator.clock
        self._closed = False
        self._farewell = "this TokenSource is closed"
        self._followers: tuple[BaseSource, ...] = ()
        self._keep_warm = keep_warm
        self._warmers: dict[Hashable, object] = {}
        self._waiters: Waiting | None = None
        self._quiet_until = -math.inf
        self._header: str | None = None
        self._checked = 15.0
        """The latest timeout that was checked. Most callers give the same object each time, which need not be again."""
        self._proven: str | None = None
        """The Authorization value of which the coordinator was told last that it works, so that it is told once."""
        self.on_event = None if on_event is None else bound(on_event, self._coordinator)
        self._coordinator._subscribe(self)

    def __repr__(self) -> str:
        name = f"{type(self).__module__}.{type(self).__name__}"
        coordinator = getattr(self, "_coordinator", None)  # Not there yet if a wrong argument stopped the making.
        closed = ", closed" if coordinator is not None and self._closed else ""
        return f"<{name} of {coordinator!r}{closed}>"

    @property
    def closed(self) -> bool:
        """Whether ``close`` or ``aclose`` was called."""
        return self._closed

    @property
    def coordinator(self) -> Coordinator:
        """The coordinator behind this source; give it to another source to share one token with it."""
        return self._coordinator

    def token_nowait(self) -> Token | None:
        """The token, if there is a usable one now, else None; as ``authorization_nowait``, it never waits.

        For libraries that want the bare token, its scope or its expiry. Where the header is all that is wanted,
        ``authorization_nowait`` is cheaper. Raises LocalProtocolError if the source is closed.
        """
        held = self._held() or self._held_now()
        return None if held is None else self._token_of(held)

    @abstractmethod
    def when_token(self, callback: TokenCallback, timeout: float | None = None) -> None:
        """Call ``callback`` with a token, or with why there is none; see the source of each runtime."""

    def answered(
        self,
        authorization: str | None,
        method: str,
        status: int,
        headers: Sequence[tuple[str, str]] | Mapping[str, str],
        body: bytes,
        *,
        resendable: bool,
    ) -> bool:
        """An API answered a call that carried ``authorization``; whether to make the call once more, with a new token.

        This is all that an adapter has to report: whether the token has worked or was rejected, and whether the account
        is locked, is read from the answer here. It is a plain call in every runtime, and never blocks. While the same
        token goes on working it costs a comparison.

        ::

            answer = send(header)
            if source.answered(header, "GET", answer.status, answer.headers, answer.body, resendable=True):
                answer = send(source.authorization())

        Args:
            authorization: the value that the answered request carried; after a redirect, that need not be the request
                which the caller made. Unless it is a bearer token, the answer says nothing about ours.
            method: that of the request. One that is not safe (RFC 9110 section 9.2.1) is repeated only if the answer
                names the token as its cause. For a call that may be made twice, by an idempotency key, give ``"GET"``.
            status: that of the answer, which must come from an origin that tokens are for.
            headers: those of the answer: pairs, or a mapping such as the headers of an HTTP library.
            body: that of the answer. It matters on 400 and 401 alone, and its first 64 KiB suffice; ``b""`` if unread.
            resendable: whether the call can be sent again at all. False for the answer to a call that was repeated, for
                a body that is used up, and where the caller wants no repetition.

        If no other token can be had after True, ``authorization()`` raises, and the caller keeps this answer. Raises
        LocalProtocolError if ``authorization`` is no text or the token alone, and TypeError for other wrong arguments.
        """
        if not isinstance(status, int):
            kind = type(status).__name__
            del authorization, headers, body  # Error trackers show local variables.
            raise TypeError(f"status must be an int, not {kind}")
        works = 200 <= status < 300
        if ((authorization == self._proven) if works else not 400 <= status <= 499) or not _may_be_ours(authorization):
            return False
        hidden, fault = Hidden(authorization), fault_of_authorization(authorization)
        del authorization  # Error trackers show local variables.
        if fault is not None:
            raise LocalProtocolError(fault)
        if works:
            self.token_worked(hidden.reveal())
            return False
        try:
            check_type("method", method, str)
            challenge = read_challenge(status, headers, body, self._profile)
        except TypeError:
            del headers, body  # As secret as a token, perhaps.
            raise
        # 401 means that the call was not applied (RFC 9110 section 15.5.2), if the API itself said it. Without a word
        # about the token it may come from a server in front of the API or behind it.
        had_no_effect = challenge is Challenge.TOKEN or method.upper() in _SAFE_METHODS
        return self._heed(hidden, challenge) and resendable and had_no_effect

    def _heed(self, carried: Hidden, challenge: Challenge) -> bool:
        """Report what an answer said of the token that was ``carried``. Returns whether another is to be tried."""
        if challenge is Challenge.LOCKED:
            self.endpoint_blocked()
        if challenge not in (Challenge.TOKEN, Challenge.UNKNOWN):
            return False
        return self.token_rejected(carried.reveal(), challenge) is not Rejection.KEPT

    def token_rejected(self, authorization: str, challenge: Challenge) -> Rejection:
        """An API refused a call that carried ``authorization``; see :meth:`evertoken.TokenMachine.token_rejected`.

        For code that has read the answer already, by :func:`evertoken.read_challenge`; :meth:`answered` does both.
        Unless this returns KEPT, the call may be repeated once with another token, if it can be repeated at all.

        Raises:
            TypeError: ``challenge`` is no Challenge.
            LocalProtocolError: ``authorization`` is not the value of a header, with its scheme.
        """
        if not isinstance(challenge, Challenge):
            kind = type(challenge).__name__
            del authorization, challenge  # Error trackers show local variables.
            raise TypeError(f"challenge must be a Challenge, not {kind}")
        hidden, fault = Hidden(authorization), fault_of_authorization(authorization)
        del authorization  # The coordinator's clock or a callback may raise.
        if fault is not None:
            raise LocalProtocolError(fault)
        return self._coordinator.token_rejected(hidden.reveal(), challenge)

    def token_worked(self, authorization: str) -> None:
        """An API served a call that carried ``authorization``; see :meth:`evertoken.TokenMachine.token_worked`.

        Call it after every such answer, or after the first with each token; a repetition costs a comparison. Raises
        LocalProtocolError if ``authorization`` is not the value of a header, with its scheme.
        """
        if authorization == self._proven and authorization:
            return
        hidden, fault = Hidden(authorization), fault_of_authorization(authorization)
        del authorization
        if fault is not None:
            raise LocalProtocolError(fault)
        self._proven = hidden.reveal()
        self._coordinator.token_worked(hidden.reveal())

    def endpoint_blocked(self, seconds: float | None = None) -> None:
        """An API said that the account is locked (Mangopay: 400 ``unauthorized_client``), for ``seconds`` if known.

        A shared store is told as well, in a thread, so that the caller does not wait for it. Raises ValueError if
        ``seconds`` is negative or no finite number.
        """
        self._coordinator.endpoint_blocked(BlockKind.LOCKED, seconds)
        block, grant, policy = getattr(self._exchange, "block", None), self._grant, self._policy
        if block is not None:
            self._beside(lambda: self._tell_store(lambda: block(grant, BlockKind.LOCKED, seconds, policy)))

    def replace_credentials(self, credentials: ClientCredentials) -> None:
        """Use another secret from now on; see :meth:`evertoken.TokenMachine.replace_credentials`.

        All sources that share the coordinator use the new secret too, and sources that are made with it later find the
        same token.

        Raises:
            TypeError: ``credentials`` is no ClientCredentials.
            LocalProtocolError: ``credentials`` are another client's, or for another endpoint, scope or audience.
        """
        if not isinstance(credentials, ClientCredentials):
            kind = type(credentials).__name__
            del credentials  # Perhaps the secret itself.
            raise TypeError(f"credentials must be a ClientCredentials (see with_secret), not {kind}")
        self._coordinator.replace_credentials(credentials)

    def lift_block(self) -> None:
        """End blocks and stated waits, since the operator has mended their cause. Back-off and budget stay.

        With a shared store, every process that uses it obeys within a minute (six times ``Policy.store_wait``). The
        source for threads waits a moment for the store; those of event loops tell it in a thread, and do not wait.
        """
        self._coordinator.lift_block()
        unblock, grant, policy = getattr(self._exchange, "unblock", None), self._grant, self._policy
        if unblock is not None:
            self._lift_in_store(lambda: unblock(grant, policy))

    def _lift_in_store(self, unblock: Callable[[], object]) -> None:
        """Tell the store, then end blocks here once more: a look into the store between found the old block there."""
        self._tell_store(unblock)
        self._coordinator.lift_block()

    def _tell_store(self, act: Callable[[], object]) -> None:
        """Call ``act``, which tells the store something. Everybody is told of what it raises, and the caller is not."""
        try:
            act()
        except Exception as error:  # noqa: BLE001 (StoreTrouble, which is for people; else a bug)
            from evertoken.sharing import StoreTrouble  # noqa: PLC0415 (for those who share)

            is_trouble = isinstance(error, StoreTrouble)
            self._coordinator._store_noted(
                str(error) if is_trouble else f"the store was not told, by a bug: {place_of(error)}"
            )

    def _beside(self, act: Callable[[], object]) -> None:
        """Call ``act``, which tells the store something, in a thread of its own."""
        if not start_thread("evertoken-store", act):
            self._coordinator._store_noted("the store was not told: no thread could be started for that")

    @property
    def _grant(self) -> ClientCredentials:
        return self._coordinator.machine.grant

    @property
    def _policy(self) -> Policy:
        return self._coordinator.machine.policy

    def _seconds(self, timeout: float | None) -> float:
        """The seconds that a caller waits who gave ``timeout``, which was checked before.

        With a store the default is long enough for the process that holds the lease to die, and for another to ask.
        """
        if timeout is not None:
            return timeout
        tiers = self._coordinator.machine.tiers
        if not tiers:
            return _PATIENCE
        return self._policy.request_timeout * _LEASE + (tiers - 1) * self._policy.store_wait + _MORE

    def next_deadline(self) -> float:
        """When something will next be worth doing, a point in time on the coordinator's clock.

        For embedders with a timer of their own: call ``authorization_nowait()`` then. May change after any call.
        """
        return self._coordinator.next_deadline()

    def explain(self) -> Explanation:
        """State, deadlines, budget and the last problem, redacted and printable."""
        return self._coordinator.explain()

    def readiness(self) -> Readiness:
        """Whether a call that needs a token now would have one, or may ask for one: for health endpoints.

        It never makes a request and never waits, and is a plain call in every runtime. A source with a usable token is
        ready, whatever the token endpoint's state. One without a token is ready if the next call may ask for one at
        once, or the first request is under way. It is not ready while it is blocked, backing off or out of budget,
        while it asks again after a failed request, and if it is to keep a token warm. A source that is closed is never
        ready. See "Health endpoints" in the documentation for why a program that nobody calls must count as ready, and
        ``Readiness`` for what is told.
        """
        machine = self._coordinator.machine
        now = self._clock()
        held, seen = machine.token(now), machine.explain(now)
        seconds_left = 0.0 if held is None else held.fresh_until - now
        return readiness_of(seen, seconds_left, farewell=self._farewell if self._closed else "", warm=self._keep_warm)

    # The token in hand
    # -----------------

    def _held(self) -> AccessToken | None:
        """The token in hand if it is fresh and nothing needs doing, else None.

        The clock is read before the token is, so that a token which was dropped in between is not handed out.
        """
        return self._coordinator.machine.state_value.token if self._clock() < self._quiet_until else None

    @abstractmethod
    def _held_now(self, min_ttl: float = 0.0) -> AccessToken | None:
        """The token in hand if it is usable, else None. A request that is due is sent beside the caller."""

    def _call_now(self, callback: TokenCallback, timeout: float | None) -> bool:
        """Whether there is a usable token, and ``callback`` was called with it. Raises if an argument is wrong."""
        check_callback("callback", callback, "a Token or a TokenUnavailable")
        if timeout is not None:
            checked_timeout(timeout)
        held = self._held() or self._held_now()
        if held is not None:
            told(callback, self._token_of(held))
        return held is not None

    def _waiting(self) -> Waiting:
        """The callbacks that wait outside an event loop. Made for the first, since most sources never have any."""
        if self._waiters is None:  # Two threads that come at once make two, and each is served by a thread of its own.
            self._waiters = Waiting(self._coordinator, self._check_open, self._see_carried, self._token_of)
        return self._waiters

    @abstractmethod
    def _see_carried(self, request: TokenRequest) -> object:
        """See to it that ``request`` is sent, for callbacks that wait outside an event loop."""

    def _token_of(self, held: AccessToken) -> Token:
        return Token.of(held, self._grant.scope, self._clock, self._coordinator.wall)

    def _close_with(self, other: BaseSource) -> None:
        """Close this source together with ``other``."""
        other._followers += (self,)

    def _republish(self, quiet_until: float, header: str | None) -> None:
        """For the coordinator: before ``quiet_until``, ``header`` is good and nothing needs doing.

        Readers look at the moment first and take the header second, without a lock. So the moment is taken away before
        the header is changed, and comes back last: whatever falls in between, a reader gets one whole header, which was
        good at some moment of its call.
        """
        self._quiet_until = -math.inf
        self._header = header
        if self._may_be_quiet():
            self._quiet_until = quiet_until
        if not self._may_be_quiet():  # Closed in between, or what kept the token warm has ended.
            self._quiet_until = -math.inf

    def _forked(self) -> None:
        """For the coordinator, in a forked child: what kept the token warm is not here. The next call starts it."""
        self._warmers.clear()
        self._waiters = None  # Their thread is not here. The parent calls the callbacks that it was given.
        self._quiet_until = -math.inf

    def _may_be_quiet(self) -> bool:
        """Whether readers need do nothing while the token is fresh: not even see to it that it is kept warm."""
        return not self._closed and (not self._keep_warm or bool(self._warmers))

    def _see_warm(self, place: Hashable, start: Callable[[], bool]) -> None:
        """If the token is to be kept warm and nothing in ``place`` (an event loop, say) does that, call ``start``.

        ``start`` starts what does, and returns whether it could. What it has started calls :meth:`_cooled` at its end.
        """
        if not self._keep_warm or self._closed or place in self._warmers:
            return
        mine = object()
        if self._warmers.setdefault(place, mine) is not mine:
            return  # Another thread was faster.
        if start():
            self._coordinator._bring_up_to_date(self)
        else:
            self._cooled(place)

    def _cooled(self, place: Hashable) -> None:
        """What kept the token warm in ``place`` has ended, or could not be started. The next call starts another."""
        self._warmers.pop(place, None)
        if not self._may_be_quiet():
            self._quiet_until = -math.inf

    def _check_open(self) -> None:
        """Raise an error that says why, if this source is closed or a test has forbidden to go out."""
        if self._closed:
            raise LocalProtocolError(self._farewell)
        if isinstance(self._exchange, Outbound):
            self._exchange.check_fence()

    def _shut(self, farewell: str | None = None) -> None:
        """Close without waking anybody. From now on the path without a lock finds nothing, and the other one raises."""
        self._farewell = farewell or self._farewell
        self._closed = True
        self._quiet_until = -math.inf
        for follower in self._followers:
            follower._shut(farewell)


def _may_be_ours(authorization: str | None) -> TypeGuard[str]:
    """Whether ``authorization`` is a bearer token, or something wrong that is to be refused, as a token alone.

    A value of another scheme, such as ``Basic``, is somebody else's, and no fault.
    """
    if not isinstance(authorization, str):
        return authorization is not None
    scheme, space, _ = authorization.partition(" ")
    return bool(authorization) and (scheme.lower() == "bearer" or not space)


def found_coordinator(
    grant: ClientCredentials, policy: Policy, coordinator: Coordinator | None, stores: tuple[Hashable, ...] = ()
) -> Coordinator:
    """``coordinator``, or the one that is shared by all with this ``grant``, ``policy`` and ``stores``.

    Raises TypeError or ValueError, which name the argument that is wrong.
    """
    check_type("grant", grant, ClientCredentials)
    check_type("policy", policy, Policy)
    if coordinator is None:
        return Coordinator.shared(grant, policy, stores)
    if isinstance(coordinator, BaseSource):
        raise TypeError("coordinator must be a Coordinator, not a source: give it source.coordinator")
    check_type("coordinator", coordinator, Coordinator)
    if not coordinator.machine.grant.same_client(grant):
        raise ValueError("coordinator: it belongs to another client or endpoint than the grant")
    if policy not in (coordinator.machine.policy, Policy()):
        raise ValueError("policy: the given coordinator has another one already; leave it out")
    coordinator._check_tiers(len(stores))
    return coordinator


def checked_timeout(timeout: float) -> float:
    """``timeout`` in seconds, or a ValueError that names it. Infinity is allowed: wait as long as it takes."""
    if timeout != math.inf and (not is_moment(timeout) or timeout < 0):
        raise ValueError("timeout must be a number of seconds that is not negative, or math.inf")
    return timeout


def default_exchange(coordinator: Coordinator, ssl_context: ssl.SSLContext | None, *, trust_env: bool) -> Exchange:
    """The exchange of a source that was given none: raw HTTP/1.1 over blocking sockets."""
    from evertoken_transports.h11 import H11Exchange  # noqa: PLC0415 (an extra: imported only by those who need it)

    return H11Exchange(ssl_context=ssl_context, trust_env=trust_env, clock=coordinator.clock)
