"""The law of restarts: what was known before the process ended is known after, on whatever clock, and no less of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, cast

from evertoken._decide import settle
from evertoken._inputs import CredentialsReplaced
from evertoken._policy import Policy
from evertoken._states import State
from evertoken._step import step
from evertoken.testing._restart import Restart

__all__ = ("broken_by_restart",)

_CLOSE = 1e-5
"""Seconds that may be lost where a moment is told on another clock: floats are not exact there."""

_LAWS = {
    "now": "a process begins at its own now",
    "blocks": "a door stays closed over a restart",
    "backoff": "a back-off goes on over a restart",
    "budget": "no budget is refunded by a restart",
    "rejections": "rejections are remembered over a restart",
    "token": "a token is as old after a restart as before it, and gone where the snapshot holds no secrets",
    "attempt": "a request in flight has its slot over a restart, and is lost at its deadline",
    "lost": "the answer to a lost request may still come after a restart",
}
_REST = "what was counted and told before a restart counts and is told after it"
_DEADLINES = ("deadline", "until", "forget_at", "refresh_at")
_MOMENTS = {
    *_DEADLINES,
    *("now", "started", "fresh_until", "expires_at", "retry_at", "since", "refill_at"),
    *("allowed_at", "vouched_at", "granted_at"),
}


def broken_by_restart(policy: Policy, before: State, restart: Restart, after: State) -> list[str]:
    """The laws that a restart from a snapshot breaks, which was taken in ``before`` and led to ``after``.

    How a snapshot is written plays no part here: the state that was kept is moved to the other clock, field by field.
    """
    moment = max(restart.taken_at, before.now)
    kept = settle(policy, before, moment)
    if not restart.secrets:
        kept = kept._replace(token=None)
    known = settle(policy, kept, moment + restart.elapsed)
    if any(abs(deadline - known.now) < _CLOSE for deadline in _deadlines(kept)):
        return []  # What is over on the one clock may not be on the other.
    if restart.replaced:
        known = step(policy, known, CredentialsReplaced(known.now))
    shift = restart.now - known.now
    wrong = (name for name in State._fields if not _is_kept(name, getattr(known, name), getattr(after, name), shift))
    return list(dict.fromkeys(_LAWS.get(name, _REST) for name in wrong))


def _is_kept(name: str, one: object, other: object, shift: float) -> bool:
    """Whether ``other`` is ``one`` as it is told on a clock that shows ``shift`` seconds more."""
    if name in _MOMENTS:
        return _is_close(cast("float", one) + shift, cast("float", other))
    parts = _parts(one)
    if not parts:
        return one == other
    others = _parts(other)
    return len(parts) == len(others) and all(
        name == its_name and _is_kept(name, part, its_part, shift)
        for (name, part), (its_name, its_part) in zip(parts, others, strict=True)
    )


def _is_close(one: float, other: float) -> bool:
    return one == other or math.isclose(one, other, rel_tol=0.0, abs_tol=_CLOSE)


def _parts(value: Any) -> list[tuple[str, object]]:  # noqa: ANN401 - of whatever a state is made
    """The parts of a record or a tuple by name; none if it has none."""
    if is_dataclass(value):
        return [(field.name, getattr(value, field.name)) for field in fields(value)]
    if hasattr(value, "_fields"):
        return list(value._asdict().items())
    return [("", part) for part in cast("tuple[object, ...]", value)] if isinstance(value, tuple) else []


def _deadlines(value: object) -> Iterator[float]:
    for name, part in _parts(value):
        if name in _DEADLINES:
            yield cast("float", part)
        else:
            yield from _deadlines(part)
