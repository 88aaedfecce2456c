"""The canonical form of a state: two states that have the same one answer every future alike."""

from __future__ import annotations

from evertoken._states import LONG_AGO, Attempt, Block, State

_Marks = tuple[float, float, float]
"""The starts of the attempt in flight and of the lost one, each of them now if there is none; and now itself."""


_BEFORE = (-1, -1, -1)


def canonical(state: State, now: float) -> tuple[object, ...]:
    """``state`` with its history taken out, for explorers that merge states: it hashes and compares.

    Moments that lie ahead are relative to ``now``, those behind are one; ids and generations are compared with each
    other instead of counted; texts and the token itself are left out. Two states with one canonical form, settled
    at their own ``now``, answer every future alike. Moments of attempts stay, since a token's life counts from them.
    """
    attempt, lost, backoff, rejections = state.attempt, state.lost, state.backoff, state.rejections
    marks = (now if attempt is None else attempt.started, now if lost is None else lost.started, now)
    return (
        _canonical_token(state, now, marks),
        _canonical_attempt(state, attempt, now),
        _canonical_attempt(state, lost, now),
        (*backoff[:3], _ahead(backoff.retry_at, now), _order(backoff.found, marks)),
        tuple([_canonical_block(block, now, marks) for block in state.blocks]) if state.blocks else (),
        (state.budget.level, state.budget.refill_at - now, state.budget.interval),
        (
            rejections.believed,
            rejections.worked,
            _ahead(rejections.allowed_at, now),
            _ahead(rejections.forgive_at, now),
        ),
        tuple([(_ahead(d.shunned_until, now), _ahead(d.forget_at, now)) for d in rejections.dropped])
        if rejections.dropped
        else (),
        state.credentials[1:],
        (state.granted_at == LONG_AGO, _order(state.granted_at, marks)),
    )


def _canonical_token(state: State, now: float, marks: _Marks) -> tuple[object, ...] | None:
    token = state.token
    if token is None:
        return None
    return (
        _ahead(token.refresh_at, now),
        _ahead(token.fresh_until, now),
        _ahead(token.expires_at, now),
        _ahead(token.started + token.lifetime / 4, now),
        token.longest_min_ttl,
        _order(token.started, marks),
    )


def _canonical_attempt(state: State, attempt: Attempt | None, now: float) -> tuple[object, ...] | None:
    if attempt is None:
        return None
    current = (attempt.generation == state.credentials.generation,)
    times = (now - attempt.started, _ahead(attempt.deadline, now))
    return (*times, attempt.draw, *current, attempt.tiers, attempt.asks)


def _canonical_block(block: Block, now: float, marks: _Marks) -> tuple[object, ...]:
    until, look_at = block.until, block.look_at
    known = (block.kind, until - now if until > now else None, block.times, _order(block.found, marks))
    if look_at == until:
        return known
    # From look_at on a store may be asked whether the block still stands; an attempt that starts later is such a look.
    return (*known, _ahead(look_at, now), _order(look_at, marks))


def _order(moment: float, marks: _Marks) -> tuple[int, int, int]:
    """Whether ``moment`` is before, at or after each of the marks: all that a later comparison can bring to light."""
    if moment == LONG_AGO:
        return _BEFORE
    first, second, now = marks
    return (
        (moment > first) - (moment < first),
        (moment > second) - (moment < second),
        (moment > now) - (moment < now),
    )


def _ahead(moment: float, now: float) -> float | None:
    return moment - now if moment > now else None
