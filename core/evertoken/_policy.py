"""Every tunable of the machine: its unit, its default, and where the default comes from.

There is no number of seconds anywhere else in the machine, so that a simulator can shrink or stretch all of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

TICK = 2.0**-10
"""Computed durations are multiples of this many seconds: short of 2**40 s, floats add them without rounding."""

MOST_SECONDS = 2.0**30
"""No duration in a policy is longer (34 years): sums of a time and a few durations stay exact."""

_SHARES = ("refresh_before_share", "leeway_share", "refresh_jitter_share", "wait_spread_share")
_COUNTS = ("budget_burst", "max_body", "rejection_burst")
_MAY_BE_ZERO = ("refresh_before", "leeway", "wait_spread")
_CAPS = {
    "retry_cap": "retry_base",
    "malformed_cap": "retry_base",
    "locked_wait_cap": "locked_wait",
    "refused_wait_cap": "refused_wait",
    "unclear_wait_cap": "unclear_wait",
    "rate_limited_wait_cap": "rate_limited_wait",
    "rejection_interval_cap": "rejection_interval",
    "budget_interval": "budget_interval_floor",
}


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Policy:
    """How eagerly tokens are renewed and how patiently trouble is sat out. Values are in seconds unless said.

    A policy is immutable, hashable and compares by value. Two sources with equal grants and equal policies share one
    token; see ``evertoken_transports.Coordinator.shared``.

    Raises:
        ValueError: a value is not finite, is out of its range, or contradicts another; the text names the field.
    """

    refresh_before: float = 30.0
    """Renewal starts this long before the token expires (Mangopay: Authentication, "30 seconds before")."""
    refresh_before_share: float = 0.25
    """... but never more than this share of the token's lifetime before it."""
    leeway: float = 5.0
    """A token is not handed out in its last seconds: a call in flight must still be good when it arrives."""
    leeway_share: float = 0.05
    """... and never more than this share of its lifetime. Below 1."""
    refresh_jitter_share: float = 0.02
    """Up to this share of the lifetime is drawn and added to ``refresh_before``, so that fleets spread out."""
    default_lifetime: float = 300.0
    """The lifetime of a token whose answer names none (``expires_in`` is only RECOMMENDED, RFC 6749 section 5.1)."""
    max_lifetime: float = 86_400.0
    """A longer ``expires_in`` counts as this: an absurd lifetime never means "for ever"."""
    request_timeout: float = 10.0
    """One token request, from connecting to the last byte of the answer. Past it the attempt is lost."""
    retry_base: float = 1.0
    """Back-off after the n-th failure in a row: ``min(retry_cap, retry_base * 2**(n-1))``, half to all of it."""
    retry_cap: float = 120.0
    """The longest such back-off. With the default budget it averages slower than the budget refills."""
    malformed_cap: float = 3_600.0
    """... and the longest after answers that no repetition will mend, as a 200 that is not a token answer. The wait
    after a 429 that states none doubles to no more than this either."""
    locked_wait: float = 900.0
    """No request this long after "account temporarily locked"; Mangopay names no duration. Doubles each time."""
    locked_wait_cap: float = 21_600.0
    """The longest wait of that kind."""
    refused_wait: float = 3_600.0
    """No request this long after a recognised OAuth refusal, unless the credentials change. Doubles each time."""
    refused_wait_cap: float = 86_400.0
    """The longest wait of that kind."""
    doubted_refusal_wait: float = 300.0
    """The wait after the first refusal of credentials that this very machine was granted a token with before."""
    unclear_wait: float = 60.0
    """After a redirect, or a 4xx with no recognised code: a proxy, an allowlist, a deploy. Doubles each time."""
    unclear_wait_cap: float = 3_600.0
    """The longest wait of that kind."""
    rate_limited_wait: float = 60.0
    """After a 429 that states no wait. Doubles each time, up to ``malformed_cap``."""
    rate_limited_wait_cap: float = 86_400.0
    """The longest wait that a server can impose by Retry-After or X-RateLimit-Reset."""
    wait_spread: float = 30.0
    """At most this much is drawn and added to a stated wait: 500 workers are told the same second."""
    wait_spread_share: float = 0.10
    """... and at most this share of it."""
    budget_burst: int = 10
    """Token requests that may be made at once: the size of a bucket that every request is taken from."""
    budget_interval: float = 60.0
    """The bucket gains one request this often; half the granted lifetime where that is shorter."""
    budget_interval_floor: float = 2.0
    """... but never more often than this."""
    rejection_interval: float = 60.0
    """An API's word that the token is bad is believed at most this often. Doubles each time beyond the burst."""
    rejection_burst: int = 3
    """So many times in a row an API's word is believed at once about a token that has served calls: a restart of the
    API's server must not cost a minute of 401s. A row ends when a token works and ten intervals are without one."""
    rejection_interval_cap: float = 3_600.0
    """The longest such interval."""
    store_wait: float = 10.0
    """For each shared store on the way an attempt has so much more time, to wait for another process that asks. One
    call of the store may take a tenth of it; a machine that waits longer looks there again within six times as long."""
    max_body: int = 65_536
    """Bytes of a token answer that are read; a longer one is malformed."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if fault := _fault(field.name, getattr(self, field.name)):
                raise ValueError(f"Policy.{field.name} {fault}")
        for cap, base in _CAPS.items():
            if getattr(self, cap) < getattr(self, base):
                raise ValueError(f"Policy.{cap} must not be smaller than Policy.{base}")

    def __repr__(self) -> str:
        """What differs from the defaults: all that a reader of a signature or of a log wants to know."""
        values = [(field, getattr(self, field.name)) for field in fields(self)]
        return f"Policy({', '.join(f'{field.name}={value!r}' for field, value in values if value != field.default)})"


def _fault(name: str, value: object) -> str | None:
    """What is wrong with a field of this name that has this value."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"must be a number, not {type(value).__name__}"
    if not -math.inf < value < math.inf:
        return f"must be finite, not {value}"
    if name in _COUNTS:
        is_right, rule = isinstance(value, int) and 1 <= value <= 2**31, "must be a whole number of at least 1"
    elif name in _SHARES:
        is_right, rule = 0.0 <= value < 1.0, f"is a share of a whole: 0 <= {name} < 1"
    else:
        least = 0.0 if name in _MAY_BE_ZERO else 2 * TICK
        is_right, rule = least <= value <= MOST_SECONDS, f"is in seconds, from {least} to {MOST_SECONDS:.0f}"
    return None if is_right else f"{rule}, not {value}"


def whole_ticks(seconds: float) -> float:
    """``seconds`` rounded down to a whole number of ticks, so that no origin of time changes an answer."""
    return seconds // TICK * TICK
