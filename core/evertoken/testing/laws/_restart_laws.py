"""The law of restarts: all that was known before the process ended is known after it, whatever the new clock shows."""

from __future__ import annotations

from typing import Any, cast

from evertoken._policy import Policy, whole_ticks
from evertoken._snapshot import DOUBTED
from evertoken._states import State, first_state
from evertoken._step import settle
from evertoken.testing._restart import Restart

_LAWS = {
    "now": "a process begins at its own now",
    "blocks": "a block stands over a restart",
    "backoff": "a back-off goes on over a restart",
    "budget": "no budget is refunded by a restart",
    "rejections": "rejections are remembered over a restart",
    "token": "a token is as old after a restart as before it, and gone where the snapshot holds no secrets",
    "attempt": "a request in flight has its slot over a restart, and is lost at its deadline",
    "lost": "the answer to a lost request may still come after a restart",
}
_REST = "what was counted and told before a restart counts and is told after it"
_MOMENTS = {
    *("now", "started", "deadline", "refresh_at", "fresh_until", "expires_at", "until", "retry_at", "found"),
    *("refill_at", "allowed_at", "forgive_at", "shunned_until", "forget_at", "granted_at", "look_at"),
}


def broken_by_restart(policy: Policy, before: State, restart: Restart, after: State) -> list[str]:
    """The laws that a restart from a snapshot breaks, which was taken in ``before`` and led to ``after``.

    How a snapshot is written plays no part here: the state that was kept is moved to the other clock, field by field.
    """
    kept = settle(policy, before, whole_ticks(restart.taken_at))
    if not restart.secrets:
        kept = kept._replace(token=None)
    if restart.replaced:  # A seal of another secret proves nothing: only the budget is believed, at the slowest pace.
        budget = kept.budget._replace(interval=whole_ticks(policy.budget_interval))
        kept = first_state(policy)._replace(now=kept.now, budget=budget, problem=DOUBTED)
    known = settle(policy, kept, kept.now + whole_ticks(restart.elapsed))
    shift = whole_ticks(restart.now) - known.now
    wrong = (name for name in State._fields if not _is_kept(name, getattr(known, name), getattr(after, name), shift))
    return list(dict.fromkeys(_LAWS.get(name, _REST) for name in wrong))


def _is_kept(name: str, one: object, other: object, shift: float) -> bool:
    """Whether ``other`` is ``one`` as it is told on a clock that shows ``shift`` seconds more."""
    if name in _MOMENTS:
        return cast("float", one) + shift == other
    parts = _parts(one)
    if not parts:
        return one == other
    others = _parts(other)
    return len(parts) == len(others) and all(
        name == its_name and _is_kept(name, part, its_part, shift)
        for (name, part), (its_name, its_part) in zip(parts, others, strict=True)
    )


def _parts(value: Any) -> list[tuple[str, object]]:  # noqa: ANN401 - of whatever a state is made
    """The parts of a record or a tuple by name; none if it has none."""
    if names := getattr(value, "__match_args__", ()):
        return [(name, getattr(value, name)) for name in names]
    return [("", part) for part in cast("tuple[object, ...]", value)] if isinstance(value, tuple) else []
