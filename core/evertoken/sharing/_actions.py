"""What a driver is told to do next, as frozen values. It does that and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field

from evertoken._http import HttpResponse, TokenRequest
from evertoken._problems import Problem
from evertoken._secrecy import Unpicklable


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
    value: bytes = field(repr=False)
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
    """Hand ``request`` to the inner exchange. It is the request that came, perhaps with an earlier deadline.

    Then :meth:`Ask.answered`; :meth:`Ask.postponed` if it raised ``NotNow``, as a tier behind this one does that has
    asked nobody either; :meth:`Ask.failed` if it raised anything else.
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
