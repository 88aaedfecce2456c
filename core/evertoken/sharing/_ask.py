"""One token request that goes by a store: it is told what the store and the endpoint said, and says what to do next.

The way of a request::

    Load -> look -> Answer          a token that is fresh by our own policy and lives longer than the one in hand
                 -> Answer          a block that stands: when it ends, and when to look again
                 -> Postpone        our token is not due yet: this was a look whether there is a newer one
                 -> Acquire -> Send -> Keep     -> Answer      nobody asks, and somebody may
                                    -> Release  -> Answer      it came to nothing
                 -> Sleep -> Load ...           somebody else asks; at the end of our time for that, Postpone

A call of the store that fails is repeated once. Then the store is left alone for a drawn while, what was loaded last
stays in force to its own end, and this process asks by itself: once, after one last look at the store, at a moment that
is drawn, or a fleet would ask in one second. What it is granted then serves its life, and is not shared.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, NamedTuple, cast

from evertoken import _schedule
from evertoken._answer import no_answer, read_answer
from evertoken._checks import check_whole
from evertoken._grant import ClientCredentials
from evertoken._http import HttpResponse, Seen, TokenRequest
from evertoken._json import JsonObject
from evertoken._policy import Policy
from evertoken._problems import LocalProtocolError, Problem, ProblemKind
from evertoken._secrecy import replace
from evertoken._shared_problems import ASKED_ELSEWHERE
from evertoken._states import LONG_AGO, MOST_TIERS, NEVER, AccessToken, BlockKind, Budget
from evertoken._step import digest
from evertoken.outcomes import Blocked, Failed, Granted, Malformed, Outcome
from evertoken.sharing import _record
from evertoken.sharing._actions import (
    Acquire,
    Action,
    Answer,
    Fail,
    Keep,
    Load,
    Over,
    Postpone,
    Release,
    Send,
    Sleep,
    Swap,
)
from evertoken.sharing._codec import is_unshared, key_of, read_record, write_record
from evertoken.sharing._glance import token_in
from evertoken.sharing._record import Grant, Lease, Record
from evertoken.sharing._store import Cipher, Found, Swapped

_MOST_SWAPS = 8
"""So often is a swap made again at once that found another value each time."""

_REQUIRED = Problem(
    ProblemKind.POSTPONED,
    "The shared store cannot be used, and no token is asked for without it",
    "Mend the store. A program that is running uses it again within a minute.",
)

_DOWN = Problem(
    ProblemKind.POSTPONED,
    "The shared store cannot be used, and this process asks for itself only now and then",
    "Mend the store: what is wrong with it was told in a warning. Give calls without a token more time meanwhile.",
)


class Setup(NamedTuple):
    """What all requests of one exchange with a store have in common; see :class:`Sharing`."""

    host: str
    draw: Callable[[], float]
    behind: int = 0
    required: bool = False
    cipher: Cipher | None = None


class Memory(NamedTuple):
    """What a process remembers of one key between requests. All of it may be forgotten.

    The store is not called before ``down_until``, and nothing is asked without it before ``lone_at``. ``n`` is the
    highest number seen. ``blocked`` and ``retry_at`` are what the record said when it was loaded last, by which a
    process goes on while the store is down: the block, when it was met, and when it ends.
    """

    down_until: float = LONG_AGO
    lone_at: float = LONG_AGO
    n: int = 0
    blocked: tuple[Blocked, float, float] | None = None
    retry_at: float = LONG_AGO


_NOTHING_YET = Memory()
_MOST_MEMORIES = 256


class _Call:
    """What asking and editing have in common: a record that is loaded, changed and swapped."""

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
    """What a person should be told of the store, in whole sentences without a secret: it cannot be reached, or holds
    what was not believed. Grows while the request is under way; tell each once."""

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
        return self._policy.store_wait * 0.1

    def _do(self, phase: str, action: Action) -> Action:
        self._phase, self.action = phase, action
        return action

    def _load(self, phase: str = "load") -> Action:
        return self._do(phase, Load(self._key, self._timeout))

    def _swap(self, phase: str, kind: type[Swap], after: Record, holder: str = "") -> Action:
        self._writes += 1
        # Numbers go on growing, also where the store has lost some since this process has seen them.
        after = after._replace(n=max(after.n, self.memory.n))
        self._pending = after
        write = f"{self._nonce}.{self._writes}"
        cipher = self._setup.cipher
        value = write_record(self._grant, self._key, after, self._beside, write=write, cipher=cipher)
        swap: Any = kind(self._key, self._raw, value, self._lasts(after), holder, self._timeout)
        return self._do(phase, swap)

    def _lasts(self, record: Record) -> float:
        """Until nothing in it matters any more, and a day longer for what is counted."""
        moments = [record.account.retry_at, record.written, *(bar.until for bar in record.bars)]
        moments += [] if record.block is None else [record.block.ends]
        return max(moments) - record.written + self._policy.max_lifetime

    def _passed(self, now: float) -> float:
        """Note that it is ``now``, and give the moment at which the call began that has just ended."""
        began, self._now = self._now, now
        return began

    def _find(self, began: float, now: float, found: Found) -> None:
        """The record as it stands, and how the store's clock stands to ours."""
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
        ours = record.lease is not None and record.lease.nonce.startswith(f"{self._nonce}-")
        lives = None if ours else found.holder_lives
        self._raw, self._beside = found.value, read.beside
        self._stands(_record.settled(self._policy, record, found.now, holder_lives=lives), began, now, found.now)

    def _stands(self, record: Record, began: float, now: float, store_now: float) -> None:
        self._record, self._began, self._heard, self._store_now = record, began, now, store_now
        block = record.block
        blocked = None
        if block is not None and store_now < block.ends:
            blocked = (Blocked(block.kind, block.problem), self._earliest(block.asked), self._local(block.ends))
        retry_at = self._local(record.account.retry_at)
        self.memory = Memory(LONG_AGO, self.memory.lone_at, max(self.memory.n, record.n), blocked, retry_at)

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes = (*self.notes, text)

    # Two clocks
    # ----------

    # The store read its clock somewhere between the beginning and the end of the call, so that each moment of the one
    # is one of two moments of the other. Which one is taken is what is on the safe side.

    def _local(self, moment: float) -> float:
        """When our clock shows, at the latest, what the store's clock calls ``moment``."""
        return self._heard + (moment - self._store_now)

    def _earliest(self, moment: float) -> float:
        """... and at the earliest."""
        return self._began + (moment - self._store_now)

    def _store_time(self, now: float) -> float:
        """What the store's clock shows at least when ours shows ``now``."""
        return self._store_now + (now - self._heard)


class Ask(_Call):
    """One request on its way through a store. Do what :attr:`action` says, and tell what came of it.

    ::

        ask = sharing.ask(clock(), request, nonce=secrets.token_hex(16), unix_time=time.time())
        while True:
            match ask.action:
                case Load() as load:
                    try:
                        found = store.load(load.key, timeout=load.timeout)
                    except StoreTrouble as trouble:
                        ask.store_failed(clock(), str(trouble))
                    else:
                        ask.loaded(clock(), found)
                case Acquire() | Keep() | Release() as swap: ...
                case Send(request): ...
                case Sleep(until): ...
                case Answer(response): return response
                ...

    Every method sets ``action`` and gives it. ``now`` is always the clock of ``request.deadline``, read when what is
    told has happened; do at once what is to be done, since a call of the store counts as begun when it was asked for.
    """

    __slots__ = (
        "_asked_twice",
        "_downs",
        "_drawn",
        "_final",
        "_lease",
        "_lone",
        "_outcome",
        "_request",
        "_response",
        "_saving",
        "_sent",
        "_untaken",
        "_wait_end",
        "_wall",
    )

    def __init__(
        self,
        setup: Setup,
        memories: dict[str, Memory],
        *,
        now: float,
        request: TokenRequest,
        grant: ClientCredentials,
        policy: Policy,
        nonce: str,
        unix_time: float,
    ) -> None:
        super().__init__(setup, grant, policy, memories, now=now, nonce=nonce)
        self._request = request
        self._wait_end = request.deadline - self._exchange_time
        self._wall = unix_time - now
        self._lease: Lease | None = None
        self._sent: float | None = None
        self._outcome: Outcome | None = None
        self._response: HttpResponse | None = None
        self._final: Action | None = None
        self._lone = self._saving = self._asked_twice = False
        self._downs = self._untaken = 0
        self._drawn = 0.0
        if self._is_unshared():
            self._note(
                "Nothing is shared through the store: without a client secret its records can be forged by whoever can"
                " write there. Give the store keys to encrypt them with."
            )
            self._send(now, lone=True)
        elif now < self.memory.down_until:
            self._without_store(now)
        else:
            self._load()

    @property
    def _exchange_time(self) -> float:
        """What the exchange behind the store may take, stores behind this one included."""
        return self._policy.request_timeout + self._setup.behind * self._policy.store_wait

    # What is told
    # ------------

    def loaded(self, now: float, found: Found) -> Action:
        """The store gave its record.

        After a pause of ours in mid-call, nobody knows by how much its token is older than it says: if that makes it
        useless, the store is asked once more.
        """
        began = self._passed(now)
        self._tries = 0
        self._find(began, now, found)
        if self._saving:
            return self._keep(now)
        again = now - began > self._timeout and not self._asked_twice
        if again and self._record.grant is not None and self._usable(now) is None and not self._is_late(now):
            self._asked_twice = True
            return self._load(self._phase)
        return self._look(now)

    def swapped(self, now: float, swapped: Swapped) -> Action:
        """The store swapped, or did not since another value stood there."""
        began = self._passed(now)
        if swapped.done:
            self._raw = swapped.found.value
            self._stands(self._pending, began, now, swapped.found.now)
        else:
            self._find(began, now, swapped.found)
        if self._phase == "acquire":
            if not swapped.done:
                return self._look(now)
            self._lease = self._record.lease
            return self._go(now)
        if swapped.done or self._writes > _MOST_SWAPS:
            return self._finish(now, unsaved=not swapped.done)
        return self._give_back(now) if self._outcome is None else self._keep(now)

    def store_failed(self, now: float, why: str) -> Action:
        """The store did not answer, or nobody knows whether it did what it was asked to."""
        self._passed(now)
        self._note(why)
        self._tries += 1
        self._untaken += self._phase == "acquire"
        if self._saving:
            return self.save(now)
        match self._phase:
            case "last":
                return self._load("last") if self._tries < 2 else self._send(now, lone=True)
            case "acquire" if self._downs:  # After the last look: it can be read, and not written.
                return self._send(now, lone=True)
            case "keep" | "release":
                return self._finish(now, unsaved=True)
            case _ if max(self._tries, self._untaken) < 2:
                return self._load()  # It may have acted: if it did, our nonce is in the record.
            case _:
                self.memory = self.memory._replace(down_until=now + self._policy.store_wait * (2 + 2 * self._draw()))
                return self._without_store(now)

    def woken(self, now: float) -> Action:
        """The sleep is over, or the store has told of a change: early is as good as late."""
        self._passed(now)
        if self._phase == "pause":
            # Only the whole pause keeps a fleet from asking at once; no store tells of anything while it is down.
            return self.action if isinstance(self.action, Sleep) and now < self.action.until else self._load("last")
        return self._load()

    def answered(self, now: float, response: HttpResponse) -> Action:
        """The inner exchange gave a response."""
        self._passed(now)
        self._response, self._drawn = response, self._draw()
        read = None if response.seen is None else response.seen.read
        secrets = self._request.secrets
        outcome = read or read_answer(self._grant, response, max_body=self._policy.max_body, secrets=secrets)
        self._outcome = outcome
        if not self._lone:
            return self._keep(now)
        if isinstance(outcome, Granted):
            interval = _lone_interval(self._policy, _record.life_of(self._policy, outcome))
            self.memory = self.memory._replace(lone_at=cast("float", self._sent) + interval)
        return self._finish(now)

    def failed(self, now: float) -> Action:
        """The inner exchange raised, whatever it was: nobody knows whether the endpoint was asked."""
        self._passed(now)
        self._drawn, self._final = self._draw(), Fail()
        if self._lone:
            return self._finish(now)
        self._outcome = no_answer(self._grant, "the exchange of the process that asked has failed", ())
        return self._keep(now)

    def postponed(self, now: float, until: float, problem: Problem | None = None) -> Action:
        """The inner exchange raised, and had asked nobody (``NotNow``)."""
        self._passed(now)
        self._sent = None
        self._final = Postpone(until, problem or ASKED_ELSEWHERE)
        return self._give_back(now)

    def given_up(self, now: float) -> Action:
        """Whoever carried the request is cancelled or closing: gives the lease back.

        Says :class:`Release` once if there is a lease to give back, then :class:`Over`. What was sent stays charged.
        """
        self._passed(now)
        self._final, self._outcome = Over(), None
        return self._give_back(now)

    def save(self, now: float) -> Action:
        """Go on after an :class:`Answer` that is ``unsaved``, until the lease is over."""
        self._passed(now)
        self._saving = True
        self._final = Over()
        end = self._lease_end()
        if now >= end:
            return self._do("over", Over())
        return self._do("sleep", Sleep(min(end, now + self._timeout * (1 + self._draw()))))

    # One look
    # --------

    def _look(self, now: float) -> Action:
        """What the record says to somebody who wants a token."""
        record, block, lease = self._record, self._record.block, self._record.lease
        ours = lease is not None and lease.nonce.startswith(f"{self._nonce}-")
        self._lease = lease if ours else None
        token = self._usable(now)
        if token is not None and record.grant is not None:
            return self._end(now, Answer(_as_response(record.grant.granted, Seen(token.started, asked=False))))
        if block is not None and self._store_now < (block.ends if block.look is None else block.look):
            blocked = Blocked(block.kind, block.problem)
            return self._end(now, Answer(self._blocked(now, blocked, block.asked, block.ends)))
        due_later = self._due_later(now)
        if due_later is not None:
            return self._end(now, Postpone(due_later, ASKED_ELSEWHERE))
        return self._go(now) if ours else self._try(now)

    def _due_later(self, now: float) -> float | None:
        """When to look again if the token in hand is not due yet and the store has nothing newer; None: it is due.

        From its moment on everybody looks in a drawn order, and who is first asks for all.
        """
        held = self._request.held
        if held is None or self._request.demanded:
            return None
        due = held.expires_at - _schedule.refresh_before(self._policy, held.lifetime)
        return due + self._draw() * (held.fresh_until - due) / 2 if now < due else None

    def _try(self, now: float) -> Action:
        """There is nothing for us in the store: ask, if nobody else does and somebody may."""
        record, t, lease = self._record, self._store_now, self._record.lease
        if lease is not None:
            return self._wait(now, self._local(lease.until))
        bar = next((bar for bar in record.bars if bar.host == self._setup.host and t < bar.until), None)
        if bar is not None:
            blocked = Blocked(BlockKind.UNCLEAR, bar.problem)
            return self._end(now, Answer(self._blocked(now, blocked, t, bar.until, soon=True)))
        free_at = _record.free_at(self._policy, record, t)
        if self._is_late(now):
            return self._do("over", Postpone(now + self._short(), ASKED_ELSEWHERE))
        if free_at > t:
            return self._wait(now, self._local(free_at), is_gate=True)
        return self._acquire(now)

    def _is_late(self, now: float) -> bool:
        """Whether there is so little time left that an exchange would be asked for nothing."""
        return now >= self._request.deadline - self._exchange_time / 2

    def _usable(self, now: float) -> AccessToken | None:
        """The token in the record, if it is fresh by our own policy and lives longer than the one in hand."""
        request = self._request
        if self._doubted:
            return None
        token, is_apart = token_in(
            self._policy, self._record, now, began=self._began, store_now=self._store_now, wall=self._wall
        )
        if is_apart:
            self._note(
                "The wall clocks of this host and of the host that asked for the shared token are more than a minute"
                " apart, or the store's clock was set: set them right (NTP). The store's clock was believed."
            )
        if token is None or now >= token.fresh_until or digest(token.value) in request.shunned:
            return None
        held = request.held
        is_news = held is None or (token.value != held.value and token.fresh_until > held.fresh_until)
        return token if is_news else None

    def _blocked(self, now: float, blocked: Blocked, asked: float, ends: float, *, soon: bool = False) -> HttpResponse:
        """The answer that a block stands; ``asked`` and ``ends`` are the store's."""
        end = self._local(ends)
        pause = self._short() if soon else _schedule.look_pause(self._policy, self._draw())
        block = self._record.block
        look_at = now + pause
        if block is not None and block.look is not None and not soon:
            look_at = self._local(block.look)
        seen = Seen(self._earliest(asked), asked=False, look_at=min(end, look_at), ends=end, read=blocked)
        return _refusal(blocked, seen)

    def _end(self, now: float, final: Action) -> Action:
        """The request is over; a lease that was taken for it after all is given back first."""
        self._final = final
        return self._give_back(now)

    def _give_back(self, now: float) -> Action:
        lease = self._lease
        if lease is None:
            return self._finish(now)
        t = self._store_time(now)
        after = _record.released(self._policy, self._record, t, lease, unused=self._sent is None)
        if after is self._record:
            return self._finish(now)
        return self._swap("release", Release, after)

    def _wait(self, now: float, until: float, *, is_gate: bool = False) -> Action:
        """Somebody else asks, or nobody may before ``until`` (``is_gate``): look again soon, or another time."""
        pause = self._policy.store_wait * (0.025 + 0.075 * self._draw())
        if now < self._wait_end and not (is_gate and until > self._wait_end):
            return self._do("sleep", Sleep(min(self._wait_end, now + pause, max(until, now + self._timeout / 100))))
        account = self._record.account
        problem = account.problem if account.failures and account.problem is not None else ASKED_ELSEWHERE
        again = min(until + pause, now + _schedule.longest_look(self._policy)) if is_gate else now + self._short()
        return self._do("over", Postpone(again, problem))

    def _short(self) -> float:
        """1 to 5 s: until the store is looked at again for what another process is asking for."""
        return self._policy.store_wait * (0.1 + 0.4 * self._draw())

    def _draw(self) -> float:
        return self._setup.draw()

    # The exchange
    # ------------

    def _acquire(self, now: float) -> Action:
        policy = self._policy
        seconds = self._exchange_time + policy.request_timeout / 2
        nonce = f"{self._nonce}-{self._writes + 1}"
        after = _record.acquired(policy, self._record, self._store_time(now), nonce=nonce, seconds=seconds)
        return self._swap("acquire", Acquire, after, nonce)

    def _lease_end(self) -> float:
        """When our lease is over for everybody, at the earliest."""
        return LONG_AGO if self._lease is None else self._earliest(self._lease.until)

    def _go(self, now: float) -> Action:
        """We have the lease: ask, if there is time enough for the whole exchange."""
        if self._lease_end() - now < self._exchange_time:
            self._final = None
            return self._give_back(now)
        return self._send(now)

    def _send(self, now: float, *, lone: bool = False) -> Action:
        self._lone, self._sent = lone, now
        if lone:
            self.memory = self.memory._replace(lone_at=now + _lone_interval(self._policy, math.inf))
        deadline = min(self._request.deadline, now + self._exchange_time)
        return self._do("send", Send(replace(self._request, deadline=deadline)))

    def _keep(self, now: float) -> Action:
        """Write down what came of it, which gives the lease back."""
        after = self._changed(self._record, self._store_time(now))
        self._pending = after
        if after is self._record:
            return self._finish(now)
        told = isinstance(self._outcome, Granted) or self._is_block()
        return self._swap("keep", Keep, after) if told else self._swap("release", Release, after)

    def _is_block(self) -> bool:
        return isinstance(self._outcome, Blocked) and self._outcome.kind is not BlockKind.UNCLEAR

    def _changed(self, record: Record, t: float) -> Record:
        """``record`` with what came of the exchange. Charges are made by the tier that asks."""
        lease, outcome, policy, draw = cast("Lease", self._lease), self._outcome, self._policy, self._drawn
        seen = None if self._response is None else self._response.seen
        asked = lease.since
        if seen is not None:
            asked = self._store_now + (seen.asked_at - self._heard)
            if not seen.asked:
                record = _record.released(policy, record, t, lease)
        match outcome:
            case Granted():
                wall = self._wall + self._asked_at()
                return _record.kept(policy, record, t, lease, Grant(outcome, asked, wall, lease.n))
            case Blocked(kind=BlockKind.UNCLEAR):
                return _record.barred(policy, record, t, lease, outcome, host=self._setup.host, draw=draw)
            case Blocked():
                moments = None
                if seen is not None and seen.ends is not None:
                    look_at = seen.ends if seen.look_at is None else seen.look_at
                    moments = (self._store_time(look_at), self._store_time(seen.ends))
                return _record.refused(policy, record, t, lease, outcome, asked=asked, draw=draw, moments=moments)
            case Failed() | Malformed():
                return _record.failed(policy, record, t, lease, outcome, draw=draw)
            case _:
                return _record.released(policy, record, t, lease, unused=False)

    # What is told
    # ------------

    def _asked_at(self) -> float:
        """When the endpoint was asked, on our clock."""
        seen = None if self._response is None else self._response.seen
        if seen is not None:
            return seen.asked_at
        return self._now if self._sent is None else self._sent

    def _finish(self, now: float, *, unsaved: bool = False) -> Action:
        response = self._response
        if self._saving:
            return self._do("over", Over())
        if self._final is not None:
            return self._do("over", self._final)
        if response is None:  # The lease was too short, and was given back.
            return self._wait(now, now + self._policy.store_wait)
        if self._lone:
            answer = HttpResponse(response.status, response.headers, response.body, self._seen_alone(response))
            return self._do("over", Answer(answer))
        seen = self._seen(now, response)
        answer = HttpResponse(response.status, response.headers, response.body, seen)
        told = isinstance(self._outcome, Granted) or self._is_block()
        return self._do("over", Answer(answer, unsaved=unsaved and told))

    def _seen_alone(self, response: HttpResponse) -> Seen | None:
        """Of an answer that no store has been told: the machine's own waits count, unless a store behind has others."""
        if response.seen is not None or self._is_unshared():
            return response.seen
        return Seen(self._asked_at(), store_down=True)

    def _is_unshared(self) -> bool:
        return is_unshared(self._grant, self._setup.cipher)

    def _seen(self, now: float, response: HttpResponse) -> Seen:
        """What our machine is told of an answer that we were given, beside what a store behind this one says."""
        behind = response.seen
        asked, read = (True, None) if behind is None else (behind.asked, behind.read)
        seen = Seen(self._asked_at(), asked=asked, read=read)
        record, outcome, lease = self._pending, self._outcome, self._lease
        if isinstance(outcome, Failed | Malformed):
            return replace(seen, look_at=max(now, self._local(record.account.retry_at)))
        if not isinstance(outcome, Blocked):
            return seen
        look_at = now + self._short()
        if outcome.kind is BlockKind.UNCLEAR:
            ends = next(self._local(bar.until) for bar in record.bars if bar.host == self._setup.host)
            return replace(seen, look_at=min(look_at, ends), ends=ends)
        block = record.block
        if block is None or lease is None or block.n != lease.n:  # Something newer is known: look at that.
            return replace(seen, look_at=look_at, ends=look_at)
        ends = self._local(block.ends)
        look_at = now + _schedule.look_pause(self._policy, self._drawn)
        if block.look is not None:
            look_at = self._local(block.look)
        return replace(seen, look_at=min(look_at, ends), ends=ends)

    # Without the store
    # -----------------

    def _without_store(self, now: float) -> Action:
        """The store is down: what is known stays in force, else each asks for itself, once and at a drawn moment."""
        memory, longest = self.memory, now + _schedule.longest_look(self._policy)
        self._downs += 1
        self._tries = 0
        if memory.blocked is not None and now < memory.blocked[2]:
            blocked, asked_at, ends = memory.blocked
            look_at = min(ends, now + _schedule.look_pause(self._policy, self._draw()))
            seen = Seen(asked_at, asked=False, look_at=look_at, ends=ends, read=blocked)
            return self._do("over", Answer(_refusal(blocked, seen)))
        gate = max(memory.retry_at, memory.lone_at)
        if now < gate:
            return self._do("over", Postpone(min(gate, longest), _DOWN))
        if self._setup.required:  # Who cannot wait until the store is called again is to know at once.
            return self._do("over", Postpone(max(memory.down_until, now + self._short()), _REQUIRED))
        if self._downs > 1 or self._is_late(now):
            return self._do("over", Postpone(now + self._short(), _DOWN))
        if self._request.held is not None or now >= self._wait_end:  # It came at a drawn moment.
            return self._load("last")
        return self._do("pause", Sleep(now + self._draw() * (self._wait_end - now)))


class Edit(_Call):
    """A change of the record that is no request: an operator's word, or an API's.

    Do what :attr:`action` says as for an :class:`Ask`; it ends with :class:`Over`, or with :class:`Fail` if the store
    failed twice: raise then what it raised.
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
        """The store gave its record."""
        self._find(self._passed(now), now, found)
        return self._swap("keep", Keep, self._change(self._record, self._store_time(now)))

    def swapped(self, now: float, swapped: Swapped) -> Action:
        """The store swapped, or did not since another value stood there."""
        if not swapped.done:
            return self.loaded(now, swapped.found)
        self._stands(self._pending, self._passed(now), now, swapped.found.now)
        return self._do("over", Over())

    def store_failed(self, now: float, why: str) -> Action:
        """The store did not answer, or nobody knows whether it did what it was asked to: then it is done again."""
        self._passed(now)
        self._note(why)
        self._tries += 1
        return self._load() if self._tries < 2 else self._do("over", Fail())


class Sharing:
    """What one process knows of its store between two requests. One for each exchange with a store.

    Args:
        host: a name for this host, the same for all of its processes: what one of them is turned away for by an
            allowlist is no news to the others.
        draw: returns a number in [0, 1): ``random.random``, or a seeded generator in a simulation.
        behind: how many more stores stand between this one and the endpoint.
        required: ask the endpoint never without the store; while it is down, every request is postponed.
        cipher: encrypts the records, if they are to be.

    Safe to use from several threads: what it keeps are whole values, replaced by whole values.
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
        """Begin with ``request``, whose clock shows ``now``.

        ``nonce`` must be new each time and come from the operating system (``secrets.token_hex(16)``): what a cloned
        machine or a forked process would draw again must not name two leases. ``unix_time`` is what this host's wall
        clock shows.

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
        """Begin to lift the block that the store holds for ``grant``: the operator's word, for every process."""
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
        """Begin to tell the store of a block that an API has reported, as ``TokenMachine.endpoint_blocked`` does."""
        draw = self._setup.draw()

        def change(record: Record, t: float) -> Record:
            return _record.reported(policy, record, t, kind, seconds, draw=draw)

        return Edit(self._setup, grant, policy, self._memories, now=now, nonce=nonce, change=change)


def _lone_interval(policy: Policy, life: float) -> float:
    """How far apart the requests of a process are that its store knows nothing of."""
    return _schedule.retuned(policy, Budget(0, NEVER, 0.0), 0.0, life).interval


def _as_response(granted: Granted, seen: Seen) -> HttpResponse:
    """A token answer as the endpoint would give it (RFC 6749 section 5.1)."""
    content: JsonObject = {"access_token": granted.access_token, "token_type": "bearer"}
    if granted.expires_in is not None:
        content["expires_in"] = granted.expires_in
    if granted.scope is not None:
        content["scope"] = granted.scope
    return _json_response(200, content, seen)


_STATUS = {BlockKind.LOCKED: 400, BlockKind.REFUSED: 401, BlockKind.UNCLEAR: 403, BlockKind.RATE_LIMITED: 429}


def _refusal(blocked: Blocked, seen: Seen) -> HttpResponse:
    """A refusal that was met before. What it means stands in ``seen``; none of its old header fields is repeated."""
    problem = blocked.problem
    content: JsonObject = {"error": problem.error or blocked.kind.value}
    if problem.detail is not None:
        content["error_description"] = problem.detail
    return _json_response(problem.status or _STATUS[blocked.kind], content, seen)


def _json_response(status: int, content: JsonObject, seen: Seen) -> HttpResponse:
    headers = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))
    return HttpResponse(status, headers, json.dumps(content).encode("ascii"), seen)
