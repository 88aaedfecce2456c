"""A state as a JSON object: moments relative to one of them, texts fit to be shown, and all that reading needs.

What is written here is read by ``_snapshot_reading``, and is written so that it always can be.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from evertoken._judge import digest
from evertoken._policy import Policy
from evertoken._problems import Problem
from evertoken._records import AccessToken, Attempt, Block, Budget
from evertoken._scrub import plain
from evertoken._states import State
from evertoken._strict_json import JsonObject

__all__ = ("written",)


def written(policy: Policy, state: State, *, secrets: bool) -> JsonObject:
    """``state``; without ``secrets``, without the token's value."""

    def moment(at: float) -> object:
        return None if math.isinf(at) else float(at - state.now)

    backoff, rejections, credentials = state.backoff, state.rejections, state.credentials
    return {
        "token": None if state.token is None else _written_token(state.token, moment, secrets=secrets),
        "attempt": _written_attempt(state.attempt, moment),
        "lost": _written_attempt(state.lost, moment),
        "next_id": state.next_id,
        "backoff": {
            **backoff._asdict(),
            "retry_at": moment(backoff.retry_at),
            "found": moment(backoff.found),
        },
        "blocks": [_written_block(block, moment) for block in state.blocks],
        "budget": _written_budget(policy, state.budget, moment),
        "rejections": {
            **rejections._asdict(),
            "allowed_at": moment(rejections.allowed_at),
            "forgive_at": moment(rejections.forgive_at),
            "dropped": [
                {"digest": name, "shunned_until": moment(shunned_until), "forget_at": moment(forget_at)}
                for name, shunned_until, forget_at in rejections.dropped
            ],
        },
        "credentials": credentials._asdict(),
        "granted_at": moment(state.granted_at),
        "problem": _written_problem(state.problem),
    }


_Moment = Callable[[float], object]


def _written_token(token: AccessToken, moment: _Moment, *, secrets: bool) -> JsonObject:
    named: JsonObject = {"value": token.value} if secrets else {}
    return named | {
        "digest": digest(token.value),
        "started": moment(token.started),
        "refresh_at": moment(token.refresh_at),
        "fresh_until": moment(token.fresh_until),
        "expires_at": moment(token.expires_at),
        "scope": _shown(token.scope),
    }


def _written_attempt(attempt: Attempt | None, moment: _Moment) -> JsonObject | None:
    if attempt is None:
        return None
    return {
        **attempt._asdict(),
        "started": moment(attempt.started),
        "deadline": moment(attempt.deadline),
        "draw": float(attempt.draw),  # Equal states give equal text, so a whole number is written like any other.
    }


def _written_budget(policy: Policy, budget: Budget, moment: _Moment) -> JsonObject:
    """The bucket, and the tunables that its interval was made by: it means nothing under others."""
    return {
        **budget._asdict(),
        "refill_at": moment(budget.refill_at),
        "budget_interval": float(policy.budget_interval),
        "budget_interval_floor": float(policy.budget_interval_floor),
    }


def _written_block(block: Block, moment: _Moment) -> JsonObject:
    return {
        "kind": block.kind.value,
        "until": moment(block.until),
        "found": moment(block.found),
        "times": block.times,
        "problem": _written_problem(block.problem),
    }


def _written_problem(problem: Problem | None) -> JsonObject | None:
    if problem is None:
        return None
    return {
        "kind": problem.kind.value,
        "summary": plain(problem.summary),
        "advice": plain(problem.advice),
        "status": problem.status,
        "error": _shown(problem.error),
        "detail": _shown(problem.detail),
    }


def _shown(text: str | None) -> str | None:
    return None if text is None else plain(text)
