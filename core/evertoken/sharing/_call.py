"""A record that is loaded from a store, changed, and swapped in: what asking and editing have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from evertoken._grant import ClientCredentials
from evertoken._json import JsonObject
from evertoken._policy import Policy
from evertoken._states import LONG_AGO
from evertoken.outcomes import Blocked
from evertoken.sharing import _record
from evertoken.sharing._actions import Action, Fail, Keep, Load, Over, Swap
from evertoken.sharing._codec import key_of, read_record, write_record
from evertoken.sharing._record import Lease, Record
from evertoken.sharing._store import Cipher, Found, Swapped


class Setup(NamedTuple):
    """What all requests of one exchange with a store have in common; see :class:`Sharing`."""

    host: str
    draw: Callable[[], float]
    behind: int = 0
    required: bool = False
    cipher: Cipher | None = None


class Memory(NamedTuple):
    """What a process remembers of one key between requests. To forget it costs a call or a request, and no more.

    The store is not called before ``down_until``, and the endpoint is not asked without it before ``lone_at``. ``n`` is
    the highest number seen. ``blocked`` and ``retry_at`` are what the record said when it was loaded last, which stays
    in force while the store is down: the block with the moments at which it was met and ends, and the back-off of all.
    """

    down_until: float = LONG_AGO
    lone_at: float = LONG_AGO
    n: int = 0
    blocked: tuple[Blocked, float, float] | None = None
    retry_at: float = LONG_AGO


_NOTHING_YET = Memory()
_MOST_MEMORIES = 256
"""Keys that are remembered at once, so that a process which keeps making new ones does not fill its memory."""


class Call:
    """A record on its way from the store and back: what asking and editing have in common."""

    __slots__ = (
        "_began",
        "_beside",
        "_doubted",
        "_grant",
        "_heard",
        "_key",
        "_memories",
        "_nonce",
        "_now",
        "_pending",
        "_phase",
        "_policy",
        "_raw",
        "_record",
        "_setup",
        "_store_now",
        "_tries",
        "_writes",
        "action",
        "notes",
    )

    action: Action
    """What is to be done now."""
    notes: tuple[str, ...]
    """What a person should be told of the store, in whole sentences without a secret: that it cannot be reached, or
    holds what was not believed. More are added while the request is under way; tell each once."""

    def __init__(
        self,
        setup: Setup,
        grant: ClientCredentials,
        policy: Policy,
        memories: dict[str, Memory],
        *,
        now: float,
        nonce: str,
    ) -> None:
        self._setup = setup
        self._grant = grant
        self._policy = policy
        self._key = key_of(grant)
        self._nonce = nonce
        self._now = self._began = self._heard = now
        self._phase = "load"
        self._raw: bytes | None = None
        self._record = self._pending = _record.blank(policy)
        self._beside: JsonObject = {}
        self._doubted = False
        self._store_now = 0.0
        self._tries = self._writes = 0
        self._memories = memories
        self.notes = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} for {self._grant.client_id} at {self._grant.endpoint.url}: {self.action}>"

    @property
    def memory(self) -> Memory:
        """What the process remembers of this key."""
        return self._memories.get(self._key, _NOTHING_YET)

    @memory.setter
    def memory(self, memory: Memory) -> None:
        if len(self._memories) > _MOST_MEMORIES:
            self._memories.clear()
        self._memories[self._key] = memory

    @property
    def _timeout(self) -> float:
        """How many seconds one call of the store may take."""
        return self._policy.store_wait * 0.1

    def _do(self, phase: str, action: Action) -> Action:
        self._phase, self.action = phase, action
        return action

    def _load(self, phase: str = "load") -> Action:
        return self._do(phase, Load(self._key, self._timeout))

    def _swap(self, phase: str, kind: type[Swap], after: Record, holder: str = "") -> Action:
        self._writes += 1
        # The store may have lost numbers that this process has seen. No number is given twice all the same.
        after = after._replace(n=max(after.n, self.memory.n))
        self._pending = after
        write = f"{self._nonce}.{self._writes}"
        cipher = self._setup.cipher
        value = write_record(self._grant, self._key, after, self._beside, write=write, cipher=cipher)
        swap: Any = kind(self._key, self._raw, value, self._lasts(after), holder, self._timeout)
        return self._do(phase, swap)

    def _lasts(self, record: Record) -> float:
        """For how many seconds a store has to keep ``record``.

        It has to until the last of its moments has passed, and for another longest life: counters are kept that long.
        """
        moments = [record.account.retry_at, record.written, *(bar.until for bar in record.bars)]
        moments += [] if record.block is None else [record.block.ends]
        return max(moments) - record.written + self._policy.max_lifetime

    def _passed(self, now: float) -> float:
        """Note that it is ``now``; return when the call of the store that has just ended began."""
        began, self._now = self._now, now
        return began

    def _find(self, began: float, now: float, found: Found) -> None:
        """Take up what the store returned from a call that began at ``began`` and ended at ``now``."""
        read = read_record(self._grant, self._key, found.value, self._setup.cipher)
        if read.fault is not None:
            self._note(f"The record in the shared store was not believed and is written anew: {read.fault}.")
        record = _record.blank(self._policy) if read.record is None else read.record
        self._doubted = record.n < self.memory.n and record.grant is not None
        if self._doubted:
            self._note(
                "The record in the shared store is older than one that this process has seen, and its token is not"
                " believed: the store has lost data, or somebody has put an old record back."
            )
        lives = None if self._is_ours(record.lease) else found.holder_lives
        self._raw, self._beside = found.value, read.beside
        self._stands(_record.settled(self._policy, record, found.now, holder_lives=lives), began, now, found.now)

    def _is_ours(self, lease: Lease | None) -> bool:
        return lease is not None and lease.nonce.startswith(f"{self._nonce}-")

    def _stands(self, record: Record, began: float, now: float, store_now: float) -> None:
        """Note the record as it stands, how the store's clock stands to ours, and what to go by if the store fails."""
        self._record, self._began, self._heard, self._store_now = record, began, now, store_now
        block = record.block
        blocked = None
        if block is not None and store_now < block.ends:
            blocked = (Blocked(block.kind, block.problem), self._earliest(block.asked), self._latest(block.ends))
        retry_at = self._latest(record.account.retry_at)
        self.memory = Memory(LONG_AGO, self.memory.lone_at, max(self.memory.n, record.n), blocked, retry_at)

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes = (*self.notes, text)

    # Two clocks
    # ----------

    # The store reads its clock at some moment of the call. So a moment on its clock is known on ours only to within the
    # length of the call, and each use takes the end of that span which errs on the safe side.

    def _latest(self, moment: float) -> float:
        """What our clock shows at the latest when the store's clock shows ``moment``."""
        return self._heard + (moment - self._store_now)

    def _earliest(self, moment: float) -> float:
        """What our clock shows at the earliest then."""
        return self._began + (moment - self._store_now)

    def _store_time(self, now: float) -> float:
        """What the store's clock shows at the least when ours shows ``now``."""
        return self._store_now + (now - self._heard)


class Edit(Call):
    """A change of the record by an operator's word, or an API's, for which nobody is asked.

    Do what :attr:`action` says as for an :class:`Ask`. The last action is :class:`Over`, or :class:`Fail` where the
    store has failed twice: then raise what it raised.
    """

    __slots__ = ("_change",)

    def __init__(
        self,
        setup: Setup,
        grant: ClientCredentials,
        policy: Policy,
        memories: dict[str, Memory],
        *,
        now: float,
        nonce: str,
        change: Callable[[Record, float], Record],
    ) -> None:
        super().__init__(setup, grant, policy, memories, now=now, nonce=nonce)
        self._change = change
        self._load()

    def loaded(self, now: float, found: Found) -> Action:
        """The store returned what it has."""
        self._find(self._passed(now), now, found)
        return self._swap("keep", Keep, self._change(self._record, self._store_time(now)))

    def swapped(self, now: float, swapped: Swapped) -> Action:
        """The store swapped, or did not because another value stood there."""
        if not swapped.done:
            return self.loaded(now, swapped.found)
        self._stands(self._pending, self._passed(now), now, swapped.found.now)
        return self._do("over", Over())

    def store_failed(self, now: float, why: str) -> Action:
        """The store raised, so that nobody knows whether it made the change. To make it twice does no harm."""
        self._passed(now)
        self._note(why)
        self._tries += 1
        return self._load() if self._tries < 2 else self._do("over", Fail())
