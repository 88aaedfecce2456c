"""A machine's state as JSON: to keep over a restart, to compare, to look at. Times are relative, so any clock will do.

    saved = machine.snapshot(now, secrets=True).to_json()
    ...
    machine = TokenMachine.restore(grant, Snapshot.from_json(saved), now, elapsed, draw=random.random)

What must survive a restart is above all the doors that are known to be closed, the back-off and the budget: a program
that a supervisor starts again and again would otherwise ask as often as it is started.

Moments are seconds from the moment of the snapshot; those that are not finite are null. A difference of two floats that
no float can hold is written as two whose sum it is, so that a machine restored at once is the very same.

A snapshot names the client and its secret by digests that are salted with the endpoint and the client id: one that was
taken of another client is refused, and a secret that was replaced meanwhile counts as replaced. A way of authentication
that keeps its proof elsewhere (``ClientAuthentication`` of one's own) is not looked into.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from evertoken._bodies import JsonObject, read_object
from evertoken._decide import settle
from evertoken._fields import Fields, Misfit
from evertoken._grant import ClientCredentials
from evertoken._judge import digest
from evertoken._policy import TICK, Policy
from evertoken._problems import Problem, ProblemKind
from evertoken._records import (
    LONG_AGO,
    MOST_DOUBLINGS,
    NEVER,
    AccessToken,
    Attempt,
    BackOff,
    Block,
    BlockKind,
    Budget,
    Doublings,
    Dropped,
    Keys,
    Rejections,
)
from evertoken._secrecy import Unpicklable
from evertoken._states import State
from evertoken._wire import is_visible_ascii

__all__ = ("Snapshot", "proof_of", "read_snapshot", "take_snapshot")

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Snapshot(Unpicklable):
    """One state of one machine, independent of any clock. Immutable; compares and hashes by content.

    ``has_secrets`` says whether it holds the token: then keep it like a password. It shows nothing in its repr and
    refuses to be pickled; :meth:`to_json` is the one way to write it down.
    """

    _text: str = field(repr=False)
    has_secrets: bool

    def to_json(self) -> str:
        """The snapshot as one line of JSON, with its version in it. Equal snapshots give equal text."""
        return self._text

    @classmethod
    def from_json(cls, text: str) -> Snapshot:
        """The snapshot that :meth:`to_json` wrote.

        Raises:
            ValueError: the text is no snapshot, or of a version that this release does not know. It names the place,
                and shows nothing of the content.
        """
        made = _parsed(text)
        del text  # Error trackers show the local variables of every frame.
        if isinstance(made, str):
            raise ValueError(f"this is no snapshot that can be restored: {made}")
        return made


def take_snapshot(grant: ClientCredentials, state: State, now: float, *, secrets: bool) -> Snapshot:
    """``state`` as seen at ``now``, which is not before its own moment. Without ``secrets``, without the token."""
    has_secrets = secrets and state.token is not None
    content: JsonObject = {
        "version": _VERSION,
        "client": client_of(grant),
        "proof": proof_of(grant),
        **_written(state, now, secrets=secrets),
    }
    return Snapshot(_canonical(content), has_secrets=has_secrets)


def read_snapshot(
    grant: ClientCredentials, policy: Policy, snapshot: Snapshot, now: float, elapsed: float
) -> tuple[State, bool]:
    """The state at ``now``, ``elapsed`` seconds after the snapshot; and whether its secret is that of ``grant``.

    Raises:
        ValueError: it was taken of another client.
    """
    content = cast("JsonObject", json.loads(snapshot.to_json()))
    if content["client"] != client_of(grant):
        raise ValueError("the snapshot was taken of another client, endpoint, scope, audience or parameters")
    state = _read(Fields(content, (now, -elapsed)), policy)
    return settle(policy, state, now), content["proof"] == proof_of(grant)


def client_of(grant: ClientCredentials) -> str:
    """A name for everything of ``grant`` but its proof."""
    return _name(grant.endpoint.url, grant.client_id, repr(grant.form()))


def proof_of(grant: ClientCredentials) -> str:
    """A name for the secret of ``grant``."""
    return _name(grant.endpoint.url, grant.client_id, grant.client_secret)


def _name(*parts: str) -> str:
    text = "\0".join(parts)
    return hashlib.sha256(b"evertoken snapshot\0" + text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _canonical(content: JsonObject) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


# Writing
# -------


def _written(state: State, now: float, *, secrets: bool) -> JsonObject:
    def moment(at: float) -> object:
        return _relative(at, now)

    backoff, budget, rejections, keys = state.backoff, state.budget, state.rejections, state.keys
    return {
        "token": None if state.token is None else _written_token(state.token, moment, secrets=secrets),
        "attempt": _written_attempt(state.attempt, moment),
        "lost": _written_attempt(state.lost, moment),
        "next_id": state.next_id,
        "backoff": {
            **backoff._asdict(),
            "retry_at": moment(backoff.retry_at),
            "since": moment(backoff.since),
        },
        "blocks": [_written_block(block, moment) for block in state.blocks],
        "doublings": state.doublings._asdict(),
        "budget": {**budget._asdict(), "refill_at": moment(budget.refill_at)},
        "rejections": {
            **rejections._asdict(),
            "allowed_at": moment(rejections.allowed_at),
            "dropped": [
                {"digest": name, "vouched_at": moment(vouched_at), "forget_at": moment(forget_at)}
                for name, vouched_at, forget_at in rejections.dropped
            ],
        },
        "keys": keys._asdict(),
        "granted_at": moment(state.granted_at),
        "problem": _written_problem(state.problem),
    }


_Written = Callable[[float], object]


def _relative(moment: float, now: float) -> object:
    """Seconds from ``now``; null if that is for ever; a pair where the difference fits into no float."""
    if math.isinf(moment) or math.isinf(now):
        return None
    ahead = float(moment - now)
    rest = math.fsum((moment, -now, -ahead))
    return [ahead, rest] if rest else ahead


def _written_token(token: AccessToken, moment: _Written, *, secrets: bool) -> JsonObject:
    named: JsonObject = {"value": token.value} if secrets else {}
    return named | {
        "digest": digest(token.value),
        "started": moment(token.started),
        "refresh_at": moment(token.refresh_at),
        "fresh_until": moment(token.fresh_until),
        "expires_at": moment(token.expires_at),
        "scope": token.scope,
    }


def _written_attempt(attempt: Attempt | None, moment: _Written) -> JsonObject | None:
    if attempt is None:
        return None
    return {**attempt._asdict(), "started": moment(attempt.started), "deadline": moment(attempt.deadline)}


def _written_block(block: Block, moment: _Written) -> JsonObject:
    return {
        "kind": block.kind.value,
        "until": moment(block.until),
        "since": moment(block.since),
        "reported": block.reported,
        "problem": _written_problem(block.problem),
    }


def _written_problem(problem: Problem | None) -> JsonObject | None:
    if problem is None:
        return None
    return {
        "kind": problem.kind.value,
        "summary": problem.summary,
        "advice": problem.advice,
        "status": problem.status,
        "error": problem.error,
        "detail": problem.detail,
    }


# Reading
# -------
# -------


def _parsed(text: str) -> Snapshot | str:
    """The snapshot in ``text``, or why there is none."""
    content = read_object(text.encode("utf-8", "replace"))
    if isinstance(content, str):
        return f"it is {content}"
    fault = _fault_of(content)
    if fault is not None:
        return fault
    token = content["token"]
    return Snapshot(_canonical(content), has_secrets=isinstance(token, dict) and "value" in token)


def _fault_of(content: JsonObject) -> str | None:
    """Where ``content`` is not as :func:`take_snapshot` writes it."""
    if content.get("version") != _VERSION:
        return f"it is of another version than {_VERSION}"
    document = Fields(content, (0.0,))
    try:
        document.text("client")
        document.text("proof")
        _read(document, Policy())
    except Misfit as place:
        return f"it is not as this release writes it, at {place}"
    return None


def _read(document: Fields, policy: Policy) -> State:
    return State(
        now=document.origin,
        token=document.optional("token", _read_token),
        attempt=document.optional("attempt", _read_attempt),
        lost=document.optional("lost", _read_attempt),
        next_id=document.count("next_id", least=1),
        backoff=_read_backoff(document.part("backoff")),
        blocks=_read_blocks(document),
        doublings=_read_doublings(document.part("doublings")),
        budget=_read_budget(document.part("budget"), policy, document.origin),
        rejections=_read_rejections(document.part("rejections")),
        keys=_read_keys(document.part("keys")),
        granted_at=document.moment("granted_at", LONG_AGO),
        problem=document.optional("problem", _read_problem),
    )


def _read_token(fields: Fields) -> AccessToken | None:
    """The token; None if the snapshot was taken without secrets, and so without its value."""
    started, refresh_at = fields.time("started"), fields.time("refresh_at")
    fresh_until, expires_at = fields.time("fresh_until"), fields.time("expires_at")
    if not started <= refresh_at <= fresh_until <= expires_at:
        raise Misfit("token")
    scope = fields.text_or_none("scope")
    fields.text("digest")
    if not fields.has("value"):
        return None
    value = cast("str", fields.read("value", lambda value: isinstance(value, str) and is_visible_ascii(value)))
    return AccessToken(value, f"Bearer {value}", started, refresh_at, fresh_until, expires_at, scope)


def _read_attempt(fields: Fields) -> Attempt:
    return Attempt(
        id=fields.count("id"),
        started=fields.time("started"),
        deadline=fields.time("deadline"),
        draw=fields.number("draw", 1),
        generation=fields.count("generation"),
        min_ttl=fields.number("min_ttl", 2**40),
        claimed=fields.flag("claimed"),
    )


def _read_backoff(fields: Fields) -> BackOff:
    failures, malformed, abandoned, repeats = (fields.count(name, most=MOST_DOUBLINGS) for name in BackOff._fields[:4])
    retry_at, since = fields.moment("retry_at", LONG_AGO), fields.moment("since", LONG_AGO)
    return BackOff(failures, malformed, abandoned, repeats, retry_at, since)


def _read_blocks(document: Fields) -> tuple[Block, ...]:
    """The closed doors: each kind once, in the order of the kinds."""
    blocks = document.several("blocks", _read_block)
    kinds = [block.kind for block in blocks]
    if kinds != [kind for kind in BlockKind if kind in kinds]:
        raise Misfit("blocks")
    return blocks


def _read_block(fields: Fields) -> Block:
    kind = fields.one_of("kind", BlockKind)
    until, since, reported = fields.time("until"), fields.time("since"), fields.flag("reported")
    return Block(kind, until, since, reported, _read_problem(fields.part("problem")))


def _read_doublings(fields: Fields) -> Doublings:
    return Doublings(*(fields.count(name, most=MOST_DOUBLINGS) for name in Doublings._fields))


def _read_budget(fields: Fields, policy: Policy, now: float) -> Budget:
    """The bucket, made to fit the policy: it may be another than the one that filled it."""
    level = min(fields.count("level"), policy.budget_burst)
    refill_at, interval = fields.moment("refill_at", NEVER), fields.number("interval", 2**40)
    if level == policy.budget_burst:
        refill_at = NEVER
    elif refill_at == NEVER:
        refill_at = now + interval
    return Budget(level, refill_at, max(interval, TICK))


def _read_rejections(fields: Fields) -> Rejections:
    return Rejections(
        honoured=fields.count("honoured", most=MOST_DOUBLINGS),
        allowed_at=fields.moment("allowed_at", LONG_AGO),
        touched=fields.flag("touched"),
        dropped=fields.several("dropped", _read_dropped),
    )


def _read_dropped(fields: Fields) -> Dropped:
    return Dropped(fields.text("digest"), fields.time("vouched_at"), fields.time("forget_at"))


def _read_keys(fields: Fields) -> Keys:
    generation, vouched = fields.count("generation"), fields.count("vouched", least=-1)
    return Keys(generation, vouched, fields.flag("unlocked"))


def _read_problem(fields: Fields) -> Problem:
    return Problem(
        kind=fields.one_of("kind", ProblemKind),
        summary=fields.text("summary"),
        advice=fields.text("advice"),
        status=fields.count_or_none("status"),
        error=fields.text_or_none("error"),
        detail=fields.text_or_none("detail"),
    )
