"""One token request that goes by a store: it is told what the store and the endpoint said, and says what to do next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from evertoken._grant import ClientCredentials
from evertoken._http import HttpResponse, TokenRequest
from evertoken._policy import Policy
from evertoken._problems import Problem
from evertoken._secrecy import Unpicklable
from evertoken._states import BlockKind
from evertoken.sharing._store import Cipher, Found, Swapped

__all__ = (
    "Acquire",
    "Action",
    "Answer",
    "Ask",
    "Fail",
    "Keep",
    "Load",
    "Over",
    "Postpone",
    "Release",
    "Send",
    "Sharing",
    "Sleep",
)


# What is to be done
# ==================


@dataclass(frozen=True, slots=True)
class Load:
    """Call ``store.load(key, timeout=timeout)``; then :meth:`Ask.loaded` or :meth:`Ask.store_failed`."""

    key: str
    timeout: float


@dataclass(frozen=True, slots=True)
class Swap(Unpicklable):
    """Call ``store.swap`` with all of this; then :meth:`Ask.swapped` or :meth:`Ask.store_failed`."""

    key: str
    expected: bytes | None = field(repr=False)
    value: bytes | None = field(repr=False)
    lasts: float
    holder: str
    timeout: float


class Acquire(Swap):
    """The swap that takes the lease."""

    __slots__ = ()


class Keep(Swap):
    """The swap that writes down what the endpoint said, and releases the lease in the same step."""

    __slots__ = ()


class Release(Swap):
    """The swap that gives the lease back: unused, or because the exchange came to nothing."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Send(Unpicklable):
    """Hand ``request`` to the inner exchange. It is the request that came, with an earlier deadline at most.

    Then :meth:`Ask.answered`, :meth:`Ask.failed` if it raised, or :meth:`Ask.postponed` if it raised because it had not
    asked either (``NotNow``, of a tier behind this one).
    """

    request: TokenRequest


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait until the clock shows ``until``, or until the subscription calls; then :meth:`Ask.woken`."""

    until: float


@dataclass(frozen=True, slots=True)
class Answer(Unpicklable):
    """The exchange is over: return ``response``.

    ``unsaved`` says that the store has not taken it yet: go on in the background with :meth:`Ask.save` if that can be,
    and do what it says until it says :class:`Over`.
    """

    response: HttpResponse
    unsaved: bool = False


@dataclass(frozen=True, slots=True)
class Postpone:
    """The exchange is over, and nothing was sent: raise ``NotNow(until, problem)``."""

    until: float
    problem: Problem


@dataclass(frozen=True, slots=True)
class Fail:
    """The exchange is over: raise again what the inner exchange raised."""


@dataclass(frozen=True, slots=True)
class Over:
    """Nothing is left to do."""


Action = Load | Acquire | Keep | Release | Send | Sleep | Answer | Postpone | Fail | Over


class Sharing:
    """What one process knows of its store between two requests. One for each exchange with a store.

    Args:
        host: a name for this host, the same for all of its processes: what one of them is turned away for by an
            allowlist is no news to the others.
        draw: returns a number in [0, 1): ``random.random``, or a seeded generator in a simulation.
        behind: how many more stores stand between this one and the endpoint.
        required: ask the endpoint never without the store; while it is down, every request is postponed.
        cipher: encrypts the records, if they are to be.

    Safe to use from several threads: what it keeps are whole values, replaced by whole values.
    """

    def __init__(
        self,
        *,
        host: str,
        draw: Callable[[], float],
        behind: int = 0,
        required: bool = False,
        cipher: Cipher | None = None,
    ) -> None: ...

    def ask(self, now: float, request: TokenRequest, *, nonce: str, unix_time: float) -> Ask:
        """Begin with ``request``, whose clock shows ``now``.

        ``nonce`` must be new each time and come from the operating system (``secrets.token_hex(16)``): what a cloned
        machine or a forked process would draw again must not name two leases. ``unix_time`` is what this host's wall
        clock shows.
        """
        raise NotImplementedError

    def unblock(self, grant: ClientCredentials, policy: Policy, *, nonce: str) -> Ask:
        """Begin to lift the block that the store holds for ``grant``: the operator's word, for every process.

        What it says is done as for a request; it ends with :class:`Over`.
        """
        raise NotImplementedError

    def block(
        self, grant: ClientCredentials, policy: Policy, kind: BlockKind, seconds: float | None, *, nonce: str
    ) -> Ask:
        """Begin to tell the store of a block that an API has reported, as ``TokenMachine.endpoint_blocked`` does."""
        raise NotImplementedError


class Ask:
    """One request on its way through a store. Do what :attr:`action` says, and tell what came of it.

        ask = sharing.ask(clock(), request, nonce=secrets.token_hex(16), unix_time=time.time())
        while True:
            match ask.action:
                case Load() as load:
                    try:
                        found = store.load(load.key, timeout=load.timeout)
                    except StoreTrouble as trouble:
                        ask.store_failed(clock(), str(trouble))
                    else:
                        ask.loaded(clock(), found)
                case Acquire() | Keep() | Release() as swap: ...
                case Send(request): ...
                case Sleep(until): ...
                case Answer(response): return response
                ...

    Every method sets ``action`` and gives it. ``now`` is always the clock of ``request.deadline``, read when what is
    told has happened; do at once what is to be done, since a call of the store counts as begun when it was asked for.
    """

    action: Action
    """What is to be done now."""
    notes: tuple[str, ...]
    """What a person should be told of the store, in whole sentences without a secret: it cannot be reached, or holds
    what was not believed. Grows while the request is under way; tell each once."""

    def loaded(self, now: float, found: Found) -> Action:
        """The store gave its record."""
        raise NotImplementedError

    def swapped(self, now: float, swapped: Swapped) -> Action:
        """The store swapped, or did not since another value stood there."""
        raise NotImplementedError

    def store_failed(self, now: float, why: str) -> Action:
        """The store did not answer, or nobody knows whether it did what it was asked to."""
        raise NotImplementedError

    def woken(self, now: float) -> Action:
        """The sleep is over, or the store has told of a change: early is as good as late."""
        raise NotImplementedError

    def answered(self, now: float, response: HttpResponse) -> Action:
        """The inner exchange gave a response."""
        raise NotImplementedError

    def failed(self, now: float) -> Action:
        """The inner exchange raised, whatever it was: nobody knows whether the endpoint was asked."""
        raise NotImplementedError

    def postponed(self, now: float, until: float, problem: Problem | None = None) -> Action:
        """The inner exchange raised, and had asked nobody (``NotNow``)."""
        raise NotImplementedError

    def given_up(self, now: float) -> Action:
        """Whoever carried the request is cancelled or closing, and no exchange is under way: gives the lease back.

        Says :class:`Release` once if there is a lease to give back, then :class:`Over`.
        """
        raise NotImplementedError

    def save(self, now: float) -> Action:
        """Go on after an :class:`Answer` that is ``unsaved``."""
        raise NotImplementedError
