"""A machine's state as JSON: to keep over a restart, to compare, to look at. Times are relative, so any clock will do.

    saved = machine.snapshot(now, secrets=True).to_json()
    ...
    machine = TokenMachine.restore(grant, Snapshot.from_json(saved), now, elapsed, draw=random.random)

What must survive a restart is above all the blocks, the back-off and the budget: a program
that a supervisor starts again and again would otherwise ask as often as it is started.

Moments are seconds from the moment of the snapshot, a whole number of ticks; those that are not finite are null.

**What it gives away.** With secrets, the token. Without, still: what the server said in errors, when it was asked, and
how long it keeps us away; digests (SHA-256) of the tokens in hand and rejected, which are too long to be guessed; a
digest of endpoint, client id and parameters, by which a client that is suspected can be recognised; and a proof of the
secret (``ClientCredentials.proof``), on which whoever reads the snapshot can try out guesses, at some 20 ms each. A
secret of a hundred random bits is safe from that; a word from a dictionary is not.

By these, a snapshot that was taken of another client is refused, and a secret that was replaced meanwhile counts as
replaced. A way of authentication that keeps its proof elsewhere (``ClientAuthentication`` of one's own) is not looked
into.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Never

from evertoken._decide import settle
from evertoken._fields import Fields, Misfit
from evertoken._grant import ClientCredentials
from evertoken._policy import Policy, whole_ticks
from evertoken._records import LONG_AGO
from evertoken._secrecy import Unpicklable
from evertoken._snapshot_caps import capped
from evertoken._snapshot_reading import VERSION, Kept, read_kept
from evertoken._snapshot_writing import written
from evertoken._states import State
from evertoken._strict_json import JsonObject, decode_object

__all__ = ("Snapshot", "read_snapshot", "take_snapshot")


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
        """The snapshot that :meth:`to_json` wrote.

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
    """``state``, which is settled. Without ``secrets``, without the token."""
    content: JsonObject = {
        "version": VERSION,
        "client": client_of(grant),
        "proof": grant.proof(),
        **written(policy, state, secrets=secrets),
    }
    return _sealed(content, has_secrets=secrets and state.token is not None)


def read_snapshot(
    grant: ClientCredentials, policy: Policy, snapshot: Snapshot, now: float, elapsed: float
) -> tuple[State, bool]:
    """The state at ``now``, ``elapsed`` seconds after the snapshot; and whether its secret is that of ``grant``.

    Raises:
        ValueError: it was taken of another client.
    """
    kept = _kept_of(grant, snapshot, now, elapsed)
    if kept is None:
        raise ValueError("the snapshot was taken of another client, endpoint, scope, audience or parameters")
    # From long ago, since caps and edits may have moved a deadline behind the moment of the snapshot.
    state = settle(policy, capped(policy, kept).at(LONG_AGO), now)
    return state, kept.proof == grant.proof()


def client_of(grant: ClientCredentials) -> str:
    """A name for everything of ``grant`` but its proof."""
    text = "\0".join(("evertoken snapshot", grant.endpoint.url, grant.client_id, repr(grant.form())))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _kept_of(grant: ClientCredentials, snapshot: Snapshot, now: float, elapsed: float) -> Kept | None:
    """What ``snapshot`` holds, on a clock that shows ``now``; None if it is another client's."""
    kept = _read(decode_object(snapshot.to_json()), now, elapsed)
    return kept if kept.client == client_of(grant) else None


def _parsed(text: str) -> Snapshot | str:
    """The snapshot in ``text``, or why there is none."""
    content = decode_object(text) if text.strip() else "empty"
    if isinstance(content, str):
        return f"it is {content}"
    try:
        kept = _read(content, 0.0, 0.0)
    except Misfit as place:
        if str(place) == "version":
            return f"it is of another version than {VERSION}"
        return f"it is not as this release writes it, at {place}"
    return _sealed(content, has_secrets=kept.has_secrets)


def _read(content: object, now: float, elapsed: float) -> Kept:
    return Fields(content, now - whole_ticks(elapsed)).made(read_kept)


def _sealed(content: JsonObject, *, has_secrets: bool) -> Snapshot:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    made = object.__new__(Snapshot)
    object.__setattr__(made, "_text", text)
    object.__setattr__(made, "has_secrets", has_secrets)
    return made
