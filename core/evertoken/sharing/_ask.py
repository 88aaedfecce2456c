"""One token request that goes by a store: it is told what the store and the endpoint said, and says what to do next.

The way of a request::

    Load -> look -> Answer          the store has a token that is fresh by our policy and outlives the one in hand
                 -> Answer          a block stands: the answer says when it ends, and when to look again
                 -> Postpone        our token is not due yet, and the store has no newer one
                 -> Acquire -> Send -> Keep     -> Answer      nobody is asking, and somebody may: a token, or a block
                                    -> Release  -> Answer      the same, and the exchange came to nothing
                 -> Sleep -> Load ...           somebody else is asking; when our time for that is over, Postpone

A call of the store that fails is repeated once. Then the store is not called for a drawn while, and what was loaded
last stays in force to its own end. This process asks by itself meanwhile: once, after one last look at the store, and
at a drawn moment, because a whole fleet would ask in the same second otherwise. The token that it is granted then
serves its life, and is not shared.
"""

from __future__ import annotations

import math
from typing import cast

from evertoken import _schedule
from evertoken._answer import no_answer, read_answer
from evertoken._grant import ClientCredentials
from evertoken._http import HttpResponse, Seen, TokenRequest
from evertoken._policy import Policy
from evertoken._problems import Problem, ProblemKind
from evertoken._secrecy import replace
from evertoken._shared_problems import ASKED_ELSEWHERE
from evertoken._states import LONG_AGO, NEVER, AccessToken, BlockKind, Budget
from evertoken._step import digest
from evertoken.outcomes import Blocked, Failed, Granted, Malformed, Outcome
from evertoken.sharing import _record
from evertoken.sharing._actions import (
    Acquire,
    Action,
    Answer,
    Fail,
    Keep,
    Over,
    Postpone,
    Release,
    Send,
    Sleep,
)
from evertoken.sharing._call import Call, Memory, Setup
from evertoken.sharing._codec import is_unshared
from evertoken.sharing._glance import token_in
from evertoken.sharing._record import Grant, Lease, Record
from evertoken.sharing._replies import as_response, refusal
from evertoken.sharing._store import Found, Swapped

_MOST_SWAPS = 8
"""How often a swap is made again at once because another value was found each time."""

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


class Ask(Call):
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

    Every method sets :attr:`action` and returns it. ``now`` is always the clock of ``request.deadline``, read after
    what is told has happened. Do at once what is to be done: a call of the store counts as begun when it is asked for.
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
        """How long the inner exchange may take, the stores behind this one included."""
        return self._policy.request_timeout + self._setup.behind * self._policy.store_wait

    # What has happened
    # -----------------

    def loaded(self, now: float, found: Found) -> Action:
        """The store returned what it has.

        Where this process was paused during the call, the token may be older than it says by as much, and is taken for
        that old. If this makes it useless, the store is called once more.
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
        """The store swapped, or did not because another value stood there."""
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
        """The store raised, so that nobody knows whether it did what it was asked to do."""
        self._passed(now)
        self._note(why)
        self._tries += 1
        self._untaken += self._phase == "acquire"
        if self._saving:
            return self.save(now)
        match self._phase:
            case "last":
                return self._load("last") if self._tries < 2 else self._send(now, lone=True)
            case "acquire" if self._downs:  # This was after the last look: the store can be read, and not written.
                return self._send(now, lone=True)
            case "keep" | "release":
                return self._finish(now, unsaved=True)
            case _ if max(self._tries, self._untaken) < 2:
                return self._load()  # If the swap was made after all, our nonce is in the record.
            case _:
                self.memory = self.memory._replace(down_until=now + self._policy.store_wait * (2 + 2 * self._draw()))
                return self._without_store(now)

    def woken(self, now: float) -> Action:
        """The sleep is over, or the store has told of a change before."""
        self._passed(now)
        if self._phase == "pause":
            # Its whole length keeps a fleet from asking at once. A store that is down tells of no change.
            return self.action if isinstance(self.action, Sleep) and now < self.action.until else self._load("last")
        return self._load()

    def answered(self, now: float, response: HttpResponse) -> Action:
        """The inner exchange returned ``response``."""
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
        """The inner exchange raised something, so that nobody knows whether the endpoint was asked."""
        self._passed(now)
        self._drawn, self._final = self._draw(), Fail()
        if self._lone:
            return self._finish(now)
        self._outcome = no_answer(self._grant, "the exchange of the process that asked has failed", ())
        return self._keep(now)

    def postponed(self, now: float, until: float, problem: Problem | None = None) -> Action:
        """The inner exchange raised ``NotNow``: it has asked nobody."""
        self._passed(now)
        self._sent = None
        self._final = Postpone(until, problem or ASKED_ELSEWHERE)
        return self._give_back(now)

    def given_up(self, now: float) -> Action:
        """Whoever carried the request is cancelled or closing, and gives the lease back.

        The next action is :class:`Release` if there is a lease, and then :class:`Over`. What was sent stays charged.
        """
        self._passed(now)
        self._final, self._outcome = Over(), None
        return self._give_back(now)

    def save(self, now: float) -> Action:
        """Go on after an :class:`Answer` that is ``unsaved``: try to keep it again and again while the lease lasts."""
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
        """Find in the record an answer, a reason to wait, or leave to ask."""
        record, block = self._record, self._record.block
        self._lease = record.lease if self._is_ours(record.lease) else None
        token = self._usable(now)
        if token is not None and record.grant is not None:
            return self._end(now, Answer(as_response(record.grant.granted, Seen(token.started, asked=False))))
        if block is not None and self._store_now < (block.ends if block.look is None else block.look):
            blocked = Blocked(block.kind, block.problem)
            return self._end(now, Answer(self._blocked(now, blocked, block.asked, block.ends)))
        due_later = self._due_later(now)
        if due_later is not None:
            return self._end(now, Postpone(due_later, ASKED_ELSEWHERE))
        return self._try(now) if self._lease is None else self._go(now)

    def _due_later(self, now: float) -> float | None:
        """When to look again if the token in hand is not due yet and the store has nothing newer; None if it is due.

        Once it is due, all processes look in a drawn order, and the first asks for all. A store behind this one is
        looked at before that as well: if it is down, this look, whose moment is drawn, is the time to ask without it.
        """
        held = self._request.held
        if held is None or self._request.demanded or self._setup.behind:
            return None
        due = held.expires_at - _schedule.refresh_before(self._policy, held.lifetime)
        return due + self._draw() * (held.fresh_until - due) / 2 if now < due else None

    def _try(self, now: float) -> Action:
        """The store has no answer for us: ask, unless another process does, or none may yet."""
        record, t, lease = self._record, self._store_now, self._record.lease
        if lease is not None:
            return self._wait(now, self._latest(lease.until))
        bar = next((bar for bar in record.bars if bar.host == self._setup.host and t < bar.until), None)
        if bar is not None:
            blocked = Blocked(BlockKind.UNCLEAR, bar.problem)
            return self._end(now, Answer(self._blocked(now, blocked, t, bar.until, soon=True)))
        free_at = _record.free_at(self._policy, record, t)
        if self._is_late(now):
            return self._do("over", Postpone(now + self._short(), ASKED_ELSEWHERE))
        if free_at > t:
            return self._wait(now, self._latest(free_at), is_gate=True)
        return self._acquire(now)

    def _is_late(self, now: float) -> bool:
        """Whether less than half of an exchange's time is left, so that its answer would hardly come in time."""
        return now >= self._request.deadline - self._exchange_time / 2

    def _usable(self, now: float) -> AccessToken | None:
        """The token in the record, if it is fresh by our own policy and outlives the one in hand."""
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
        """The answer that a block stands, met at ``asked`` and over at ``ends``, both on the store's clock.

        ``soon`` is for a block of this host alone: another host may be granted a token any moment, so that the store is
        looked at as often as while another process asks.
        """
        end = self._latest(ends)
        pause = self._short() if soon else _schedule.look_pause(self._policy, self._draw())
        block = self._record.block
        look_at = now + pause
        if block is not None and block.look is not None and not soon:
            look_at = self._latest(block.look)
        seen = Seen(self._earliest(asked), asked=False, look_at=min(end, look_at), ends=end, read=blocked)
        return refusal(blocked, seen)

    def _end(self, now: float, final: Action) -> Action:
        """End with ``final``. If a lease was taken for this request all the same, it is given back first."""
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
        """Look again soon, or with a later request: another process asks, or, if ``is_gate``, none may yet."""
        pause = self._policy.store_wait * (0.025 + 0.075 * self._draw())
        if now < self._wait_end and not (is_gate and until > self._wait_end):
            return self._do("sleep", Sleep(min(self._wait_end, now + pause, max(until, now + self._timeout / 100))))
        account = self._record.account
        problem = account.problem if account.failures and account.problem is not None else ASKED_ELSEWHERE
        again = min(until + pause, now + _schedule.longest_look(self._policy)) if is_gate else now + self._short()
        return self._do("over", Postpone(again, problem))

    def _short(self) -> float:
        """A drawn pause of 1 to 5 s, after which what another process is asking for may be in the store."""
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
        """The earliest moment at which others may take our lease to be over."""
        return LONG_AGO if self._lease is None else self._earliest(self._lease.until)

    def _go(self, now: float) -> Action:
        """We have the lease: ask, if it lasts for a whole exchange. Else it is given back, and taken anew."""
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
        """Write what came of the exchange into the record, which gives the lease back in the same step."""
        after = self._changed(self._record, self._store_time(now))
        self._pending = after
        if after is self._record:
            return self._finish(now)
        return self._swap("keep", Keep, after) if self._is_for_all else self._swap("release", Release, after)

    @property
    def _is_for_all(self) -> bool:
        """Whether the endpoint said what every process has to know: a token, or a block of more than this host."""
        outcome = self._outcome
        return isinstance(outcome, Granted) or (isinstance(outcome, Blocked) and outcome.kind is not BlockKind.UNCLEAR)

    def _changed(self, record: Record, t: float) -> Record:
        """``record`` with what came of the exchange.

        Only the tier that asks is charged: where the answer was found in a store behind this one, our charge is undone.
        """
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

    # What the machine is told
    # ------------------------

    def _asked_at(self) -> float:
        """When the endpoint was asked, on our clock."""
        seen = None if self._response is None else self._response.seen
        if seen is not None:
            return seen.asked_at
        return self._now if self._sent is None else self._sent

    def _finish(self, now: float, *, unsaved: bool = False) -> Action:
        """End with what the machine is to be told. ``unsaved``: the store has not taken it."""
        response = self._response
        if self._saving:
            return self._do("over", Over())
        if self._final is not None:
            return self._do("over", self._final)
        if response is None:  # The lease was too short, and was given back.
            return self._wait(now, now + self._policy.store_wait)
        seen = self._seen_alone(response) if self._lone else self._seen(now, response)
        answer = HttpResponse(response.status, response.headers, response.body, seen)
        return self._do("over", Answer(answer, unsaved=unsaved and self._is_for_all))

    def _seen_alone(self, response: HttpResponse) -> Seen | None:
        """What the machine is told of an answer that this store knows nothing of.

        Its own waits count then, unless there is a store behind this one, which has waits for all.
        """
        if response.seen is not None or self._is_unshared():
            return response.seen
        return Seen(self._asked_at(), store_down=True)

    def _is_unshared(self) -> bool:
        return is_unshared(self._grant, self._setup.cipher)

    def _seen(self, now: float, response: HttpResponse) -> Seen:
        """What the machine is told of an answer beside what a store behind this one says: the waits of the fleet."""
        behind = response.seen
        asked, read = (True, None) if behind is None else (behind.asked, behind.read)
        seen = Seen(self._asked_at(), asked=asked, read=read)
        record, outcome, lease = self._pending, self._outcome, self._lease
        if isinstance(outcome, Failed | Malformed):
            return replace(seen, look_at=max(now, self._latest(record.account.retry_at)))
        if not isinstance(outcome, Blocked):
            return seen
        look_at = now + self._short()
        if outcome.kind is BlockKind.UNCLEAR:
            ends = next(self._latest(bar.until) for bar in record.bars if bar.host == self._setup.host)
            return replace(seen, look_at=min(look_at, ends), ends=ends)
        block = record.block
        if block is None or lease is None or block.n != lease.n:  # Something newer is in the record: look at that.
            return replace(seen, look_at=look_at, ends=look_at)
        ends = self._latest(block.ends)
        look_at = now + _schedule.look_pause(self._policy, self._drawn)
        if block.look is not None:
            look_at = self._latest(block.look)
        return replace(seen, look_at=min(look_at, ends), ends=ends)

    # Without the store
    # -----------------

    def _without_store(self, now: float) -> Action:
        """The store is down: what it said last stays in force; else this process asks by itself, at a drawn moment."""
        memory, longest = self.memory, now + _schedule.longest_look(self._policy)
        self._downs += 1
        self._tries = 0
        if memory.blocked is not None and now < memory.blocked[2]:
            blocked, asked_at, ends = memory.blocked
            look_at = min(ends, now + _schedule.look_pause(self._policy, self._draw()))
            seen = Seen(asked_at, asked=False, look_at=look_at, ends=ends, read=blocked)
            return self._do("over", Answer(refusal(blocked, seen)))
        if self._setup.required:  # A caller who cannot wait until the store is called again is to know at once.
            return self._do("over", Postpone(max(memory.down_until, now + self._short()), _REQUIRED))
        gate = max(memory.retry_at, memory.lone_at)
        if now < gate:
            return self._do("over", Postpone(min(gate, longest), _DOWN))
        if self._downs > 1 or self._is_late(now):
            return self._do("over", Postpone(now + self._short(), _DOWN))
        if self._request.held is not None or now >= self._wait_end:  # A machine that has a token drew this moment.
            return self._load("last")
        return self._do("pause", Sleep(now + self._draw() * (self._wait_end - now)))


def _lone_interval(policy: Policy, life: float) -> float:
    """How many seconds lie between two requests of a process that its store knows nothing of."""
    return _schedule.retuned(policy, Budget(0, NEVER, 0.0), 0.0, life).interval
