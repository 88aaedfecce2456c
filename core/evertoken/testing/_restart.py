"""A process that ends and goes on from a snapshot of its machine, as one value that a trace can hold and replay."""

from __future__ import annotations

from typing import NamedTuple

from evertoken import mangopay
from evertoken._checks import on_the_grid
from evertoken._policy import Policy
from evertoken._snapshot import Snapshot, read_snapshot, take_snapshot
from evertoken._states import State
from evertoken._step import settle

_ANYBODY = mangopay.sandbox("anybody", "any key")
"""A client that stands for every other: whose snapshot it is makes no difference to a state."""
_ANOTHER = _ANYBODY.with_secret("another key")


class Restart(NamedTuple):
    """A process ends, and another goes on from the snapshot that was taken at ``taken_at``.

    The new process starts at ``now`` on its own clock, which is ``elapsed`` seconds after the snapshot. Moments are
    rounded down to the tick, as by the machine. Without ``secrets`` the snapshot does not hold the token. ``replaced``
    says that the new process has another secret.
    """

    taken_at: float
    now: float
    elapsed: float
    secrets: bool
    replaced: bool = False


def restarted(policy: Policy, state: State, restart: Restart) -> State:
    """The state of the new process: ``state``, written down as JSON and read again."""
    state = settle(policy, state, on_the_grid(restart.taken_at))
    taken = take_snapshot(_ANYBODY, policy, state, secrets=restart.secrets)
    kept = Snapshot.from_json(taken.to_json())
    now = on_the_grid(restart.now)
    return read_snapshot(_ANOTHER if restart.replaced else _ANYBODY, policy, kept, now, restart.elapsed)
