"""What one process knows of its store between two requests: the way in for whoever writes a driver."""

from __future__ import annotations

from collections.abc import Callable

from evertoken._checks import check_whole
from evertoken._grant import ClientCredentials
from evertoken._http import TokenRequest
from evertoken._policy import Policy
from evertoken._problems import LocalProtocolError
from evertoken._states import MOST_TIERS, BlockKind
from evertoken.sharing import _record
from evertoken.sharing._ask import Ask
from evertoken.sharing._call import Edit, Memory, Setup
from evertoken.sharing._record import Record
from evertoken.sharing._store import Cipher


class Sharing:
    """What one process knows of its store between two requests. One for each exchange with a store.

    Args:
        host: a name for this host, the same for all of its processes: what one of them is turned away for by an
            allowlist is no news to the others.
        draw: returns a number in [0, 1): ``random.random``, or a seeded generator in a simulation.
        behind: how many more stores stand between this one and the endpoint.
        required: never ask the endpoint without the store: while it is down, every request is postponed.
        cipher: encrypts the records, if they are to be encrypted.

    It may be used by several threads at once: it keeps immutable values, and replaces each as a whole.
    """

    __slots__ = ("_memories", "_setup")

    def __init__(
        self,
        *,
        host: str,
        draw: Callable[[], float],
        behind: int = 0,
        required: bool = False,
        cipher: Cipher | None = None,
    ) -> None:
        check_whole("behind", behind, 0, MOST_TIERS - 1)
        self._setup = Setup(host, draw, behind, required, cipher)
        self._memories: dict[str, Memory] = {}

    def ask(self, now: float, request: TokenRequest, *, nonce: str, unix_time: float) -> Ask:
        """Begin with ``request``, when its clock shows ``now`` and the wall clock of this host ``unix_time``.

        ``nonce`` names the lease, and must be drawn anew each time by the operating system (``secrets.token_hex(16)``):
        a generator that is copied with a cloned machine or a forked process would give two leases one name.

        Raises:
            LocalProtocolError: no TokenMachine has made ``request``.
        """
        grant, policy = request.grant, request.policy
        if grant is None or policy is None:
            raise LocalProtocolError("a shared store answers requests that a TokenMachine has made, and no others")
        return Ask(
            self._setup,
            self._memories,
            now=now,
            request=request,
            grant=grant,
            policy=policy,
            nonce=nonce,
            unix_time=unix_time,
        )

    def unblock(self, now: float, grant: ClientCredentials, policy: Policy, *, nonce: str) -> Edit:
        """Begin to lift the block that the store holds for ``grant``, for every process: an operator has said so."""
        return Edit(self._setup, grant, policy, self._memories, now=now, nonce=nonce, change=_record.unblocked)

    def block(
        self,
        now: float,
        grant: ClientCredentials,
        policy: Policy,
        kind: BlockKind,
        seconds: float | None = None,
        *,
        nonce: str,
    ) -> Edit:
        """Begin to tell the store of a block that an API has reported, as ``TokenMachine.endpoint_blocked`` is told."""
        draw = self._setup.draw()

        def change(record: Record, t: float) -> Record:
            return _record.reported(policy, record, t, kind, seconds, draw=draw)

        return Edit(self._setup, grant, policy, self._memories, now=now, nonce=nonce, change=change)
