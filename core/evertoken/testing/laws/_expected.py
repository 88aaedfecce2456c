"""What a policy makes of an answer, worked out a second time and more simply: the yardstick of the laws.

None of the arithmetic and of the judgements here comes from ``_schedule`` or ``_step``, so that a mistake has to be
made twice, and in the same way, to go unnoticed. The budget is not here: the laws take its arithmetic from
``_schedule``, the world counts the exchanges in every window, and tests hold that arithmetic to what it has to come to.
The one thing that all of them take for granted is that durations are whole ticks, rounded down.
"""

from __future__ import annotations

import enum
import math
from typing import NamedTuple

from evertoken._http import Seen
from evertoken._policy import TICK, Policy
from evertoken._problems import Problem
from evertoken._secrecy import replace
from evertoken._states import LONG_AGO, MOST_DOUBLINGS, AccessToken, Attempt, Block, BlockKind, State
from evertoken._step import digest
from evertoken.outcomes import Abandoned, Blocked, Failed, Granted, Malformed, Outcome, Postponed

KNOWN = "a block is known by the latest news of it, and from when they are"

_PER_SECOND = 1 / TICK


@enum.unique
class Meaning(enum.Enum):
    """What an answer to an attempt that is remembered amounts to in a state."""

    TAKEN = "a token that is taken"
    FAILED = "a failure"
    MALFORMED = "a malformed answer, or a failure that names a lasting cause"
    ABANDONED = "nobody waits for it any more"
    BLOCK = "a block"
    POSTPONED = "nothing was asked"
    STALE = "a refusal of credentials that have been replaced since"
    OVERTAKEN = "older than what is known"


def whole(seconds: float) -> float:
    """``seconds`` rounded down to whole ticks."""
    return math.floor(seconds * _PER_SECOND) / _PER_SECOND


def doubled(wait: float, cap: float, times: int) -> float:
    """``wait`` doubled so many times, and never more than ``cap``."""
    for _ in range(times):
        if wait >= cap:
            break
        wait *= 2
    return min(wait, cap)


def more(count: int) -> int:
    """One more than ``count``, up to the largest number that a state holds."""
    return min(count + 1, MOST_DOUBLINGS)


# Waits
# -----


def retry_wait(policy: Policy, failures: int, malformed: int, draw: float) -> float:
    """The back-off after so many failures in a row, the latest ``malformed`` of them 200s without a token."""
    longest = doubled(policy.retry_base, policy.retry_cap, failures - 1)
    if malformed:
        longest = max(longest, doubled(policy.retry_base, policy.malformed_cap, malformed - 1))
    return max(TICK, whole(longest * (0.5 + 0.5 * draw)))


def is_unasked(seen: Seen | None) -> bool:
    """Whether a store answered by itself, so that the endpoint was not asked."""
    return seen is not None and not seen.asked


def soon(policy: Policy, now: float, moment: float) -> float:
    """``moment``, not before the next tick and not after the longest pause that a store allows."""
    return max(now + TICK, min(whole(moment), now + whole(6 * policy.store_wait)))


def stated(policy: Policy, seconds: float | None, cap: float, draw: float) -> float:
    """A wait that a server stated: as long as it says, up to the cap, and the drawn part of the spread longer."""
    if seconds is None:
        return 0.0
    seconds = min(seconds, cap)
    return whole(seconds + draw * min(policy.wait_spread, policy.wait_spread_share * seconds))


def block_wait(policy: Policy, state: State, kind: BlockKind, seconds: float | None, draw: float) -> float:
    """For how many seconds a new block stands.

    That is our own wait, or the ``seconds`` that the server stated (None for no word of it) if they are more; for a
    rate limit the stated ones count in any case.
    """
    times = times_of(state, kind)
    if kind is BlockKind.RATE_LIMITED:
        if seconds is not None:
            return stated(policy, seconds, policy.rate_limited_wait_cap, draw)
        wait = policy.rate_limited_wait
        cap = min(policy.rate_limited_wait_cap, max(wait, policy.malformed_cap))
    elif kind is BlockKind.LOCKED:
        wait, cap = policy.locked_wait, policy.locked_wait_cap
    elif kind is BlockKind.REFUSED:
        wait, cap = policy.refused_wait, policy.refused_wait_cap
    else:
        wait, cap = policy.unclear_wait, policy.unclear_wait_cap
    if stands(state, kind):  # A block that is found again while it stands is given the same wait once more.
        times = max(0, times - 1)
    return max(whole(doubled(wait, cap, times)), stated(policy, seconds, cap, draw))


def times_of(state: State, kind: BlockKind) -> int:
    """How often in a row a wait of our own has followed a block of this kind."""
    for block in state.blocks:
        if block.kind is kind:
            return block.times
    return 0


def counted(state: State, kind: BlockKind) -> int:
    """What ``times_of`` comes to when such a block is found: one more, unless one stands already."""
    times = times_of(state, kind)
    return times if stands(state, kind) else more(times)


def stands(state: State, kind: BlockKind) -> bool:
    """Whether a block of this kind stands."""
    return state.now < blocked_until(state, kind)


def blocked_until(state: State, kind: BlockKind) -> float:
    """When the block of this kind is over; long ago if there was none."""
    for block in state.blocks:
        if block.kind is kind:
            return block.until
    return LONG_AGO


def lifted(state: State, kinds: tuple[BlockKind, ...], found_until: float = math.inf) -> tuple[Block, ...]:
    """The blocks once those of ``kinds`` have been lifted: they are over, and nothing of them is forgotten."""
    now = state.now
    ended = [
        block for block in state.blocks if block.kind in kinds and block.found <= found_until and now < block.until
    ]
    return tuple([block._replace(until=now, look_at=now) if block in ended else block for block in state.blocks])


class News(NamedTuple):
    """What is known of a block beside its end: from which moment the latest word of it is, and the words for people."""

    found: float
    problem: Problem | None


def latest_news(state: State, kind: BlockKind, news: News) -> News:
    """What is known of a block once ``news`` of it are there: the later of what was known and what is new."""
    for block in state.blocks:
        if block.kind is kind and block.found >= news.found:
            return News(block.found, block.problem)
    return news


def news_of(state: State, kind: BlockKind) -> News | None:
    """What the state knows of the block of this kind, if it was ever found since the last grant."""
    for block in state.blocks:
        if block.kind is kind:
            return News(block.found, block.problem)
    return None


def blocks_but(state: State, kind: BlockKind) -> list[Block]:
    """The blocks of every other kind."""
    return [block for block in state.blocks if block.kind is not kind]


def unblock_at(blocks: tuple[Block, ...]) -> float:
    """When the last block is over."""
    latest = LONG_AGO
    for block in blocks:
        latest = max(latest, block.until)
    return latest


def look_at(blocks: tuple[Block, ...]) -> float:
    """From when on no block keeps a request from being started."""
    return max([block.look_at for block in blocks]) if blocks else LONG_AGO


def loss_retry_at(policy: Policy, state: State, attempt: Attempt) -> float:
    """When the next try may start once ``attempt`` is lost: the back-off counts from its deadline."""
    wait = retry_wait(policy, more(state.backoff.failures), 0, attempt.draw)
    if attempt.tiers > 0:
        wait = min(wait, whole(6 * policy.store_wait))
    return max(state.backoff.retry_at, attempt.deadline + wait)


# What an answer means
# --------------------


def _token(policy: Policy, granted: Granted, attempt: Attempt, received: float) -> AccessToken:
    """The token of ``granted``. Its life counts from the start of the request; no margin is above its share of that."""
    started, draw = attempt.started, attempt.draw
    value, life = granted.access_token, whole_life(policy, granted)
    fresh_until = started + whole(life - min(policy.leeway, policy.leeway_share * life))
    earliest = received + whole((fresh_until - received) / 2)
    ahead, drawn = min(policy.refresh_before, policy.refresh_before_share * life), policy.refresh_jitter_share * life
    if attempt.tiers > 0 and ahead + drawn < policy.refresh_before_share * life:  # The last quarter of the life.
        drawn = policy.refresh_before_share * life - ahead
    if drawn > started + life - ahead - earliest:
        drawn = max(0.0, started + life - ahead - earliest)
    refresh_at = min(fresh_until, max(started + whole(life - (ahead + draw * drawn)), earliest))
    return AccessToken(value, f"Bearer {value}", started, refresh_at, fresh_until, started + life, granted.scope)


def whole_life(policy: Policy, granted: Granted) -> float:
    """The lifetime that an answer states, or the default: in ticks, and never more than the policy believes."""
    life = policy.default_lifetime if granted.expires_in is None else granted.expires_in
    return whole(min(life, policy.max_lifetime))


def expected_token(policy: Policy, state: State, attempt: Attempt, granted: Granted) -> AccessToken:
    """The token of this answer. A repeated token is not due again before a back-off, or each would bring the next."""
    token = _token(policy, granted, attempt, state.now)
    if state.token is None or state.token.value != token.value:
        return token
    moment = state.now + retry_wait(policy, state.backoff.repeats + 1, 0, attempt.draw)
    return replace(token, refresh_at=min(token.fresh_until, max(token.refresh_at, moment)))


def is_shunned(state: State, value: str) -> bool:
    """Whether the API rejected this token so lately that it is not taken again."""
    dropped = state.rejections.dropped
    if not dropped:
        return False
    name = digest(value)
    return any(entry.digest == name and state.now < entry.shunned_until for entry in dropped)


def meaning_of(policy: Policy, state: State, attempt: Attempt, answer: Outcome, seen: Seen | None = None) -> Meaning:
    """What ``answer`` amounts to for ``attempt``, which is in flight or the latest lost one.

    What a store answered by itself, in time, is a token that is taken, a block with the moments that the store knows,
    or nothing that counts (POSTPONED, STALE).
    """
    late = state.attempt is None or attempt.id != state.attempt.id
    unasked = is_unasked(seen)
    meaning = _meaning(policy, state, attempt, answer, late=late, unasked=unasked)
    if late or not unasked or meaning in (Meaning.TAKEN, Meaning.STALE):
        return meaning
    return (
        Meaning.BLOCK if meaning is Meaning.BLOCK and seen is not None and seen.ends is not None else Meaning.POSTPONED
    )


def _meaning(policy: Policy, state: State, attempt: Attempt, answer: Outcome, *, late: bool, unasked: bool) -> Meaning:
    if isinstance(answer, Granted):
        return _meaning_of_grant(policy, state, attempt, answer, late=late, unasked=unasked)
    if isinstance(answer, Blocked):
        if answer.kind is BlockKind.REFUSED and attempt.generation != state.credentials.generation:
            return Meaning.STALE
        return Meaning.OVERTAKEN if late and state.granted_at > attempt.started else Meaning.BLOCK
    if late:  # The loss of this attempt was counted already.
        return Meaning.OVERTAKEN
    if isinstance(answer, Abandoned):
        return Meaning.ABANDONED
    if isinstance(answer, Postponed):
        return Meaning.POSTPONED
    lasting = isinstance(answer, Malformed) or (isinstance(answer, Failed) and answer.lasting)
    return Meaning.MALFORMED if lasting else Meaning.FAILED


def _meaning_of_grant(
    policy: Policy, state: State, attempt: Attempt, granted: Granted, *, late: bool, unasked: bool
) -> Meaning:
    unusable = Meaning.OVERTAKEN if late else Meaning.FAILED
    if is_shunned(state, granted.access_token):
        return unusable
    life = whole_life(policy, granted)
    fresh_until = attempt.started + whole(life - min(policy.leeway, policy.leeway_share * life))
    if state.now >= fresh_until:
        return unusable
    held = state.token
    if held is not None and unasked:  # A store has one token only, which may be older than ours and live longer.
        return Meaning.TAKEN if fresh_until > held.fresh_until else Meaning.OVERTAKEN
    if held is not None and (held.started > attempt.started or (late and held.started == attempt.started)):
        return Meaning.OVERTAKEN
    return Meaning.TAKEN
