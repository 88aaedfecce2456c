"""The numbers: a token's moments, back-off, waits, the budget. Pure arithmetic on a policy; nothing here holds state.

Durations are rounded down to whole ticks before they are added to a moment (see ``whole_ticks``).
"""

from __future__ import annotations

from evertoken._policy import TICK, Policy, whole_ticks
from evertoken._states import MOST_DOUBLINGS, NEVER, AccessToken, BlockKind, Budget
from evertoken.outcomes import Granted


def make_token(
    policy: Policy, granted: Granted, *, started: float, received: float, draw: float, tiers: int = 0
) -> AccessToken:
    """The token with its moments. Margins never eat more than their share of a short life.

    The refresh is never due before half of the time that is left at receipt: an answer that was slow to come does not
    make the next one due at once. With shared stores (``tiers``) a newer one is looked for from a drawn point on in the
    last ``refresh_before_share`` of the life: if the store is down by then, a fleet does not ask in one second. It is
    drawn from what half of the time at receipt leaves of that range: those whom it cuts short would be due all at once.
    """
    expires_in = policy.default_lifetime if granted.expires_in is None else granted.expires_in
    life, value = whole_ticks(min(expires_in, policy.max_lifetime)), granted.access_token
    leeway = min(policy.leeway, policy.leeway_share * life)
    before, spread = refresh_before(policy, life), policy.refresh_jitter_share * life
    if tiers:
        spread = max(spread, policy.refresh_before_share * life - before)
    fresh_until = started + whole_ticks(life - leeway)
    halfway = received + whole_ticks((fresh_until - received) / 2)
    before += draw * max(0.0, min(spread, started + life - before - halfway))
    refresh_at = min(fresh_until, max(started + whole_ticks(life - before), halfway))
    return AccessToken(value, f"Bearer {value}", started, refresh_at, fresh_until, started + life, granted.scope)


def refresh_before(policy: Policy, life: float) -> float:
    """How long before its expiry a token of this lifetime is due, jitter apart."""
    return min(policy.refresh_before, policy.refresh_before_share * life)


def look_pause(policy: Policy, draw: float) -> float:
    """How long until a shared store is looked at again: drawn, or a fleet would look all at once."""
    return max(TICK, whole_ticks(longest_look(policy) * (0.5 + 0.4 * draw)))


def longest_look(policy: Policy) -> float:
    """The longest pause of a machine with a shared store, in seconds, whatever the wait.

    The waits of the fleet are kept in the store, and the machine looks there whether they still hold. As often is a
    callable asked whether there is another secret in place of one that is refused.
    """
    return whole_ticks(6 * policy.store_wait)


def attempt_seconds(policy: Policy, tiers: int, *, asks: bool) -> float:
    """How long an attempt has: for the endpoint, for each store before it, and for the client's secret before all."""
    return whole_ticks((1 + asks) * policy.request_timeout + tiers * policy.store_wait)


def back_off(policy: Policy, failures: int, draw: float, malformed: int = 0) -> float:
    """Seconds to wait after ``failures`` in a row, of which the last ``malformed`` were 200s without a token."""
    longest = min(policy.retry_cap, policy.retry_base * 2.0 ** (failures - 1))
    if malformed:
        longest = max(longest, min(policy.malformed_cap, policy.retry_base * 2.0 ** (malformed - 1)))
    return max(TICK, whole_ticks(longest * (0.5 + 0.5 * draw)))


def stated_wait(policy: Policy, seconds: float, cap: float, draw: float) -> float:
    """How long a wait is kept that somebody stated, in seconds: no longer than ``cap``, and with a drawn part added.

    Every other client was told the same moment, and all would come back at once.
    """
    capped = min(seconds, cap)
    return whole_ticks(capped + draw * min(policy.wait_spread, policy.wait_spread_share * capped))


def own_wait(policy: Policy, kind: BlockKind, doublings: int) -> float:
    """How long a block of this kind lasts where nobody states it, in seconds, after so many ``doublings``."""
    wait, cap = wait_and_cap(policy, kind)
    if kind is BlockKind.RATE_LIMITED:  # Its cap is for what a server states, which may well be a day.
        cap = min(cap, max(wait, policy.malformed_cap))
    return whole_ticks(min(cap, wait * 2.0**doublings))


def wait_and_cap(policy: Policy, kind: BlockKind) -> tuple[float, float]:
    """The policy's wait for this kind of block, and its cap."""
    match kind:
        case BlockKind.LOCKED:
            return policy.locked_wait, policy.locked_wait_cap
        case BlockKind.REFUSED:
            return policy.refused_wait, policy.refused_wait_cap
        case BlockKind.UNCLEAR:
            return policy.unclear_wait, policy.unclear_wait_cap
        case _:
            return policy.rate_limited_wait, policy.rate_limited_wait_cap


def longest_wait(policy: Policy, kind: BlockKind) -> float:
    """The longest block of this kind that one answer or report can bring."""
    _, cap = wait_and_cap(policy, kind)
    stated = stated_wait(policy, cap, cap, 1.0)
    if kind is BlockKind.REFUSED:
        return max(stated, whole_ticks(policy.doubted_refusal_wait))
    return max(stated, back_off(policy, MOST_DOUBLINGS, 1.0)) if kind is BlockKind.RATE_LIMITED else stated


def longest_back_off(policy: Policy) -> float:
    """The most that one failure can ask for: by itself, as one of many, or by the Retry-After that came with it."""
    cap = policy.rate_limited_wait_cap
    return max(back_off(policy, MOST_DOUBLINGS, 1.0, MOST_DOUBLINGS), stated_wait(policy, cap, cap, 1.0))


def refill(policy: Policy, budget: Budget, now: float) -> Budget:
    """The bucket as it stands at ``now``. Its clock runs only while it is not full."""
    level, refill_at, interval = budget
    if now < refill_at:
        return budget
    gained = 1 + int((now - refill_at) // interval)
    if level + gained >= policy.budget_burst:
        return Budget(policy.budget_burst, NEVER, interval)
    return Budget(level + gained, refill_at + gained * interval, interval)


def charge(policy: Policy, budget: Budget, now: float) -> Budget:
    """The bucket after one exchange started at ``now``; the caller has checked that there is one left."""
    level, refill_at, interval = refill(policy, budget, now)
    return Budget(level - 1, now + interval if refill_at == NEVER else refill_at, interval)


def give_back(policy: Policy, budget: Budget, now: float) -> Budget:
    """The bucket as if the exchange that was charged last, and made nowhere, had not been charged.

    There is one attempt at a time, so what refills meanwhile is the same either way.
    """
    level, refill_at, interval = refill(policy, budget, now)
    if level + 1 >= policy.budget_burst:
        return Budget(policy.budget_burst, NEVER, interval)
    return Budget(level + 1, refill_at, interval)


def retuned(policy: Policy, budget: Budget, now: float, lifetime: float) -> Budget:
    """The bucket with the interval that tokens of ``lifetime`` need.

    The next refill keeps its moment, unless the new interval brings it sooner: the first short-lived token must not sit
    out an interval that was made for long ones. Refills stay at least one interval apart either way.
    """
    level, refill_at, _ = refill(policy, budget, now)
    interval = whole_ticks(max(policy.budget_interval_floor, min(policy.budget_interval, lifetime / 2)))
    return Budget(level, refill_at if refill_at == NEVER else min(refill_at, now + interval), interval)


def bare_401_counts_from(policy: Policy, token: AccessToken) -> float:
    """From when on a 401 that names no cause counts against ``token``: a fresh one is not known everywhere yet."""
    return token.started + whole_ticks(min(policy.rejection_interval, token.lifetime / 4))


def believed_again_from(policy: Policy, token: AccessToken) -> float:
    """From when on a rejection of ``token``, which has worked, is believed at once: 5 s after its start by default."""
    return token.started + whole_ticks(min(policy.rejection_interval / 12, token.lifetime / 4))


def rejection_pause(policy: Policy, believed: int) -> float:
    """How long no further rejection is believed once so many in a row have been, unless the burst allows it."""
    doublings = max(0, believed - policy.rejection_burst)
    return whole_ticks(min(policy.rejection_interval_cap, policy.rejection_interval * 2.0**doublings))


def forgiving_pause(policy: Policy) -> float:
    """How long no rejection may be heard of before a token that works ends the row of them."""
    return whole_ticks(10 * policy.rejection_interval)
