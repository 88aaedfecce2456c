"""What a policy lets a kept state say: no wait is longer than it could have made it.

A snapshot may have been taken under another policy, or by another hand. All is measured from the moment at which it was
taken, not from the one at which it is restored: a program that is started again and again from one snapshot would
otherwise push its waits ahead of itself for ever. A state that was made under this very policy is left as it is, to the
last bit.
"""

from __future__ import annotations

from evertoken import _schedule
from evertoken._policy import TICK, Policy, whole_ticks
from evertoken._records import MOST_DOUBLINGS, NEVER, AccessToken, Attempt, Block, Budget, Dropped, Rejections
from evertoken._snapshot_reading import Kept, Tuning
from evertoken._states import State

__all__ = ("capped",)


def capped(policy: Policy, kept: Kept) -> State:
    """The state that was kept, at the moment at which it was taken, as ``policy`` allows it to be."""
    state, backoff = kept.state, kept.state.backoff
    taken = state.now
    retry_at = min(backoff.retry_at, taken + _schedule.longest_back_off(policy))
    return state._replace(
        token=None if state.token is None else _capped_token(policy, state.token, taken),
        attempt=None if state.attempt is None else _capped_attempt(policy, state.attempt, taken),
        lost=None if state.lost is None else _capped_attempt(policy, state.lost, taken),
        backoff=backoff._replace(retry_at=retry_at, found=min(backoff.found, taken)),
        blocks=tuple(_capped_block(policy, block, taken) for block in state.blocks),
        budget=_fitted(policy, kept.tuning, state.budget, taken),
        rejections=_capped_rejections(policy, state.rejections, taken),
        granted_at=min(state.granted_at, taken),
    )


def _capped_token(policy: Policy, token: AccessToken, taken: float) -> AccessToken:
    started = min(token.started, taken)
    expires_at = min(token.expires_at, started + whole_ticks(policy.max_lifetime))
    fresh_until = min(token.fresh_until, expires_at)
    refresh_at = min(token.refresh_at, fresh_until)
    return AccessToken(token.value, token.authorization, started, refresh_at, fresh_until, expires_at, token.scope)


def _capped_attempt(policy: Policy, attempt: Attempt, taken: float) -> Attempt:
    started = min(attempt.started, taken)
    seconds = whole_ticks(policy.request_timeout)
    return attempt._replace(started=started, deadline=min(attempt.deadline, started + seconds))


def _capped_block(policy: Policy, block: Block, taken: float) -> Block:
    until = min(block.until, taken + _schedule.longest_wait(policy, block.kind))
    return block._replace(until=until, found=min(block.found, taken + TICK))


def _fitted(policy: Policy, tuning: Tuning, budget: Budget, taken: float) -> Budget:
    """The bucket of one policy as another's.

    Its interval was made for tokens whose lifetime is not known any more. Under the tunables that made it, it is right.
    Under others it is the longest, as at the start of a machine: too long a one costs a wait until the next grant, too
    short a one overuses the endpoint for as long as no grant comes. The next refill is only ever moved closer, so that
    restoring again and again neither gains a request nor loses one.
    """
    longest, floor = whole_ticks(policy.budget_interval), whole_ticks(policy.budget_interval_floor)
    is_ours = tuning == (policy.budget_interval, policy.budget_interval_floor)
    interval = min(longest, max(floor, budget.interval)) if is_ours else longest
    if budget.level >= policy.budget_burst:
        return Budget(policy.budget_burst, NEVER, interval)
    return Budget(budget.level, min(budget.refill_at, taken + interval), interval)


def _capped_rejections(policy: Policy, rejections: Rejections, taken: float) -> Rejections:
    allowed_at = min(rejections.allowed_at, taken + _schedule.rejection_pause(policy, MOST_DOUBLINGS))
    dropped = tuple(_capped_dropped(policy, entry, taken) for entry in rejections.dropped)
    forgive_at = min(rejections.forgive_at, taken + _schedule.forgiving_pause(policy))
    return rejections._replace(allowed_at=allowed_at, forgive_at=forgive_at, dropped=dropped)


def _capped_dropped(policy: Policy, entry: Dropped, taken: float) -> Dropped:
    pause, life = whole_ticks(policy.rejection_interval), whole_ticks(policy.max_lifetime)
    shunned_until = min(entry.shunned_until, taken + pause)
    return Dropped(entry.digest, shunned_until, min(entry.forget_at, taken + max(pause, life)))
