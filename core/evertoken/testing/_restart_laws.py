"""The law of restarts: what was known before the process ended is known after, on whatever clock, and no less of it."""

from __future__ import annotations

from evertoken._decide import settle
from evertoken._policy import Policy
from evertoken._records import AccessToken
from evertoken._states import State
from evertoken.testing._expected import closed_until
from evertoken.testing._restart import Restart

__all__ = ("broken_by_restart",)

_CLOSE = 1e-5
"""Seconds that may be lost where a moment is told on another clock: floats are not exact there."""


def broken_by_restart(policy: Policy, before: State, restart: Restart, after: State) -> list[str]:
    """The laws that a restart from a snapshot breaks, which was taken in ``before`` and led to ``after``."""
    moment = max(restart.taken_at, before.now)
    kept = settle(policy, before, moment)
    if not restart.secrets:
        kept = kept._replace(token=None)
    known = settle(policy, kept, moment + restart.elapsed)
    shift = restart.now - restart.elapsed - moment
    found = [
        f"a door stays closed over a restart: {block.kind.value}"
        for block in known.blocks
        if block.until > known.now + _CLOSE and not _is_close(closed_until(after, block.kind), block.until + shift)
    ]
    if known.backoff[:4] != after.backoff[:4] or not _is_close(known.backoff.retry_at + shift, after.backoff.retry_at):
        found.append("a back-off goes on over a restart")
    budget = known.budget
    if (budget.level, budget.interval) != (after.budget.level, after.budget.interval) or not _is_close(
        budget.refill_at + shift, after.budget.refill_at
    ):
        found.append("no budget is refunded by a restart")
    if known.doublings != after.doublings or known.keys != after.keys:
        found.append("what was counted before a restart counts after it")
    told, heard = known.rejections, after.rejections
    if (told.honoured, len(told.dropped)) != (heard.honoured, len(heard.dropped)) or not _is_close(
        told.allowed_at + shift, heard.allowed_at
    ):
        found.append("rejections are remembered over a restart")
    if not _is_kept(known.token, after.token, shift):
        found.append("a token is as old after a restart as before it, and gone where the snapshot holds no secrets")
    return found


def _is_close(one: float, other: float) -> bool:
    return one == other or abs(one - other) < _CLOSE


def _is_kept(token: AccessToken | None, kept: AccessToken | None, shift: float) -> bool:
    if token is None or kept is None:
        return token is kept
    moments = (token.started, token.refresh_at, token.fresh_until, token.expires_at)
    kept_moments = (kept.started, kept.refresh_at, kept.fresh_until, kept.expires_at)
    close = all(_is_close(one + shift, other) for one, other in zip(moments, kept_moments, strict=True))
    return close and token.value == kept.value
