"""A machine's state as JSON: to keep over a restart, to compare, to look at. Times are relative, so any clock will do.

    saved = machine.snapshot(now, secrets=True).to_json()
    ...
    machine = TokenMachine.restore(grant, Snapshot.from_json(saved), now, elapsed, draw=random.random)

What must survive a restart is above all the blocks, the back-off and the budget: a program
that a supervisor starts again and again would otherwise ask as often as it is started.

Moments are seconds from the moment of the snapshot, a whole number of ticks; those that are not finite are null.

**When it is believed.** A snapshot is sealed by a key that is derived from the client's secret
(``ClientCredentials.seal``), together with the form fields of the grant. Where the seal does not fit, the secret or a
parameter has been replaced since, or somebody has changed the text who does not know the secret. The two cannot be told
apart, so both are treated alike: token, blocks, counters and requests are dropped as if there were no snapshot, and
``explain`` says so. The budget is kept, at most full, refilling at the slowest pace: so a rotation refunds nothing, and
whoever forges a snapshot gains no more than by deleting it.

The seal does not say how old a snapshot is. Whoever can write the file can put an older snapshot of the same client
there.

A grant without a client secret has nothing to derive a key from, so anybody can seal its snapshots. They are believed
about blocks, counters and the budget, which a policy bounds; a token is neither written nor read. A client whose
authentication keeps its proof elsewhere can be given a random ``client_secret`` that is never sent: then all is kept.
(``PrivateKeyJwt`` needs none: it brings a secret for seals that follows from its key.)
Where the secret is a callable, restore with ``grant.with_secret(...)`` and the present secret: without it, no snapshot
of that client is believed.

**What it gives away.** With secrets, the token. Without, still: what the server said in errors, when it was asked, and
how long it keeps us away; digests (SHA-256) of tokens that an API rejected, which are too long to be guessed; a digest
of endpoint, client id, scope, audience and resource, by which a client that is suspected can be recognised; and the
seal, on which whoever reads the snapshot can try out guesses of the secret, at some 20 ms each. A secret of a hundred
random bits is safe from that; a word from a dictionary is not. What stands in ``parameters`` is in the seal alone, and
cannot be guessed without the secret.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
from dataclasses import dataclass, field
from typing import NamedTuple, Never

from evertoken import _schedule
from evertoken._checks import is_visible_ascii
from evertoken._forms import (
    BUDGET,
    DOUBLINGS,
    FLAG,
    LONGEST,
    PAST,
    PROBLEM,
    TEXT,
    TIME,
    Forms,
    Misfit,
    Value,
    count,
    digits,
    number,
    one_of,
    optional,
    ordered,
    plain_form,
    record,
    several,
    values_of,
    written,
)
from evertoken._grant import ClientCredentials
from evertoken._json import JsonObject, decode_object
from evertoken._policy import TICK, Policy, whole_ticks
from evertoken._problems import Problem, ProblemKind
from evertoken._secrecy import Unpicklable
from evertoken._states import (
    LONG_AGO,
    MOST_DOUBLINGS,
    MOST_LIFTED,
    MOST_TIERS,
    NEVER,
    AccessToken,
    Attempt,
    BackOff,
    Block,
    BlockKind,
    Budget,
    Credentials,
    Dropped,
    Rejections,
    State,
    first_state,
)
from evertoken._step import settle

DOUBTED = Problem(
    ProblemKind.SNAPSHOT,
    "The snapshot that this machine began with was not believed: it was not sealed under this client secret with these"
    " parameters",
    "After a change of the secret or of a parameter this is as it should be; if there was none, find out who can write"
    " the file. Its token, blocks and counters were dropped, its budget was kept.",
)


@dataclass(frozen=True, slots=True, init=False)
class Snapshot(Unpicklable):
    """One state of one machine, independent of any clock. Immutable; compares and hashes by content.

    Made by :meth:`TokenMachine.snapshot` and :meth:`from_json` only. It shows nothing in its repr and refuses to be
    pickled; :meth:`to_json` is the one way to write it down.
    """

    _text: str = field(repr=False)
    has_secrets: bool
    """Whether it holds the token: then keep it like a password."""

    def __init__(self, *content: Never, **names: Never) -> None:
        del self, content, names  # Error trackers show the local variables of every frame.
        raise TypeError("a Snapshot is made by TokenMachine.snapshot or Snapshot.from_json")

    def to_json(self) -> str:
        """The snapshot as one line of JSON, with its version in it. Equal snapshots give equal text."""
        return self._text

    @classmethod
    def from_json(cls, text: str) -> Snapshot:
        """The snapshot that :meth:`to_json` wrote. Whether it is believed is found out when it is restored.

        Raises:
            ValueError: the text is no snapshot, or of a version that this release does not know. It names the place,
                and shows nothing of the content.
            TypeError: it is no text.
        """
        made = _parsed(text) if isinstance(text, str) else type(text)
        del text  # Error trackers show the local variables of every frame.
        if isinstance(made, type):
            raise TypeError(f"a snapshot is read from a str, not from {made.__name__}")
        if isinstance(made, str):
            raise ValueError(f"this is no snapshot that can be restored: {made}")
        return made


def take_snapshot(grant: ClientCredentials, policy: Policy, state: State, *, secrets: bool) -> Snapshot:
    """The snapshot of a settled ``state``.

    The token is left out unless ``secrets`` is true and ``grant`` has a secret to seal it by.
    """
    if not (secrets and grant.sealing_secret):
        state = state._replace(token=None)
    head = {"version": VERSION, "client": _client_of(grant), "tuning": policy}
    content = written({**head, **state._asdict()}, _ALL, state.now)
    text = _canonical(content)
    return _made(text, _seal_of(grant, text), has_secrets=state.token is not None)


def read_snapshot(grant: ClientCredentials, policy: Policy, snapshot: Snapshot, now: float, elapsed: float) -> State:
    """The state at ``now``, ``elapsed`` seconds after the snapshot: as much of it as the seal allows to believe.

    Raises:
        ValueError: it was taken of another client.
    """
    kept = _kept_of(grant, snapshot, now - whole_ticks(elapsed))
    if kept is None:
        raise ValueError("the snapshot was taken of another client, endpoint, scope, audience or resource")
    state = capped(policy, kept) if is_sealed_by(grant, snapshot) else _doubted(policy, kept)
    if not grant.sealing_secret:
        state = state._replace(token=None)
    # Settled from long ago, since a cap or an edit may have put a deadline before the moment of the snapshot.
    return settle(policy, state.at(LONG_AGO), now)


def is_sealed_by(grant: ClientCredentials, snapshot: Snapshot) -> bool:
    """Whether ``snapshot`` was written by somebody who knew the secret of ``grant``, and has not been changed since."""
    if grant.secret_source is not None and not grant.client_secret:
        return False  # Its secret is not known yet, and anybody could have sealed the snapshot without one.
    content, seal = _unsealed(snapshot)
    return hmac.compare_digest(seal, _seal_of(grant, content))


def _seal_of(grant: ClientCredentials, text: str) -> str:
    return grant.seal("snapshot", f"{grant.form()!r}\0{text}")


def _client_of(grant: ClientCredentials) -> str:
    """A digest of what is public in ``grant``, by which a snapshot of another client is told apart."""
    public = (grant.endpoint.url, grant.client_id, grant.scope, grant.audience, grant.resource)
    text = f"evertoken snapshot\0{public!r}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _kept_of(grant: ClientCredentials, snapshot: Snapshot, taken: float) -> Kept | None:
    """What ``snapshot`` holds, which was taken at ``taken``; None if it is another client's."""
    kept = _read(decode_object(_unsealed(snapshot)[0]), taken)
    return kept if kept.client == _client_of(grant) else None


def _parsed(text: str) -> Snapshot | str:
    """The snapshot in ``text``, or why there is none."""
    content = decode_object(text) if text.strip() else "empty"
    if isinstance(content, str):
        return f"it is {content}"
    beside = {"seal": content.pop("seal", None)}
    try:
        kept = _read(content, 0.0)
        seal = values_of(beside, _SEAL, 0.0)["seal"]
    except Misfit as misfit:
        if misfit.place == ["version"]:
            return f"it is of another version than {VERSION}"
        return f"it is not as this release writes it, at {'.'.join(misfit.place) or 'the top'}{misfit.why}"
    return _made(_canonical(content), seal, has_secrets=kept.state.token is not None)


def _canonical(content: JsonObject) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _made(content: str, seal: str, *, has_secrets: bool) -> Snapshot:
    made = object.__new__(Snapshot)
    object.__setattr__(made, "_text", f"{content[:-1]}{_SEALED}{seal}{_END}")
    object.__setattr__(made, "has_secrets", has_secrets)
    return made


_SEALED, _END = ',"seal":"', '"}'


def _unsealed(snapshot: Snapshot) -> tuple[str, str]:
    """The text that was sealed, and the seal."""
    content, _, seal = snapshot.to_json().rpartition(_SEALED)
    return content + "}", seal.removesuffix(_END)


# The table
# =========

VERSION = 6


def _token(value: str, **rest: Value) -> AccessToken:
    return AccessToken(value, f"Bearer {value}", **rest)


_TOKEN = record(
    _token,
    {
        "value": plain_form(lambda value: isinstance(value, str) and is_visible_ascii(value)),
        "started": TIME,
        "refresh_at": TIME,
        "fresh_until": TIME,
        "expires_at": TIME,
        "scope": optional(TEXT),
    },
    ordered("started", "refresh_at", "fresh_until", "expires_at"),
)
_ATTEMPT = record(
    Attempt,
    {
        "id": count(least=1),
        "started": TIME,
        "deadline": TIME,
        "draw": number(1),
        "generation": count(),
        "tiers": count(MOST_TIERS),
        "asks": FLAG,
    },
    ordered("started", "deadline"),
)
_BACKOFF = record(
    BackOff,
    {"failures": DOUBLINGS, "malformed": DOUBLINGS, "repeats": DOUBLINGS, "retry_at": PAST, "found": PAST},
)
_BLOCK = record(
    Block,
    {
        "kind": one_of(BlockKind),
        "until": TIME,
        "found": TIME,
        "times": DOUBLINGS,
        "problem": PROBLEM,
        "look_at": TIME,
    },
    ordered("look_at", "until"),
)
_DROPPED = record(Dropped, {"digest": digits(64), "shunned_until": TIME, "forget_at": TIME})
_REJECTIONS = record(
    Rejections,
    {
        "believed": DOUBLINGS,
        "allowed_at": PAST,
        "forgive_at": PAST,
        "worked": FLAG,
        "dropped": several(_DROPPED),
    },
)
_CREDENTIALS = record(
    Credentials,
    {"generation": count(), "proven": FLAG, "lock_lifted": FLAG, "refusals_lifted": count(MOST_LIFTED)},
)


class Tuning(NamedTuple):
    """The tunables that the budget's interval was computed from, as ``Policy`` names them; under others it is void."""

    budget_interval: float
    budget_interval_floor: float


_STATE: Forms = {
    "token": optional(_TOKEN),
    "attempt": optional(_ATTEMPT),
    "lost": optional(_ATTEMPT),
    "next_id": count(least=1),
    "backoff": _BACKOFF,
    "blocks": several(_BLOCK),
    "budget": BUDGET,
    "rejections": _REJECTIONS,
    "credentials": _CREDENTIALS,
    "granted_at": PAST,
    "problem": optional(PROBLEM),
}
_ALL: Forms = {
    "version": plain_form(lambda value: type(value) is int and value == VERSION),  # True and 1.0 are equal to 1.
    "client": digits(32),
    "tuning": record(Tuning, dict.fromkeys(Tuning._fields, number(LONGEST))),
    **_STATE,
}
_SEAL: Forms = {"seal": digits(64)}
"""What stands in the text beside all that it seals."""


class Kept(NamedTuple):
    """What a snapshot holds: a state at the moment at which it was taken, and of whom and under what it was taken."""

    client: str
    tuning: Tuning
    state: State


def _read(content: object, taken: float) -> Kept:
    values = values_of(content, _ALL, taken)
    del values["version"]
    client, tuning = values.pop("client"), values.pop("tuning")
    state = State(now=taken, **values)
    name = _misfit_of(state)
    if name is not None:
        raise Misfit(name)
    return Kept(client, tuning, state)


def _misfit_of(state: State) -> str | None:
    """The name of what contradicts the rest of the state; None if nothing does.

    An answer finds its attempt by the id, so each attempt has one of its own, below the next one. No attempt is of a
    later generation of credentials than the present. Each kind of block is there at most once, in the order of the
    kinds.
    """
    attempts = [attempt for attempt in (state.attempt, state.lost) if attempt is not None]
    kinds = [block.kind for block in state.blocks]
    if any(attempt.id >= state.next_id for attempt in attempts):
        return "next_id"
    if len({attempt.id for attempt in attempts}) < len(attempts):
        return "lost"
    if any(attempt.generation > state.credentials.generation for attempt in attempts):
        return "credentials"
    return None if kinds == [kind for kind in BlockKind if kind in kinds] else "blocks"


# Under another policy
# ====================

# A snapshot may have been taken under another policy, or edited. So no wait in it is left longer than the present
# policy could have made it.
#
# The waits are measured from the moment at which the snapshot was taken, not from the one at which it is restored: a
# program that is started again and again from one snapshot would otherwise push its waits ahead of itself for ever. A
# state that was made under this very policy is left as it is, to the last bit.


def _doubted(policy: Policy, kept: Kept) -> State:
    """What is left of a state that nobody vouches for: the budget, which refills as slowly as that of a new machine."""
    unknown = Tuning(math.nan, math.nan)
    budget = _fitted(policy, unknown, kept.state.budget, kept.state.now)
    return first_state(policy)._replace(budget=budget, problem=DOUBTED)


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
    seconds = _schedule.attempt_seconds(policy, attempt.tiers, asks=attempt.asks)
    return attempt._replace(started=started, deadline=min(attempt.deadline, started + seconds))


def _capped_block(policy: Policy, block: Block, taken: float) -> Block:
    until = min(block.until, taken + _schedule.longest_wait(policy, block.kind))
    return block._replace(until=until, found=min(block.found, taken + TICK), look_at=min(block.look_at, until))


def _fitted(policy: Policy, tuning: Tuning, budget: Budget, taken: float) -> Budget:
    """``budget``, which was kept under ``tuning``, as ``policy`` allows it to be.

    Its interval was computed from the lifetime of tokens, which is not known any more. Under the same tunables the
    interval is still right. Under others it becomes the longest, as at the start of a machine: an interval that is too
    long costs a wait until the next grant, and one that is too short overuses the endpoint until then. The next refill
    is only ever moved closer, so that restoring again and again neither gains a request nor loses one.
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
