"""A simulated client: a real TokenMachine under a clock of its own, its callers, and what their calls come to."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol, cast

from evertoken._challenge import Challenge, read_challenge
from evertoken._grammar import Input, Rejection, SendReason, SendRequest, Wait, WaitReason
from evertoken._grant import ClientCredentials
from evertoken._http import HttpResponse, TokenRequest
from evertoken._machine import TokenMachine
from evertoken._patience import GiveUp, Ready, next_move
from evertoken._problems import ProblemKind
from evertoken._snapshot import Snapshot
from evertoken._states import AccessToken, BlockKind, State
from evertoken.happenings import Happening
from evertoken.outcomes import Failed, Granted, Outcome
from evertoken.testing._restart import Restart
from evertoken.testing.world._checks import DEAD, REPLAYED, TOO_SHORT, UNSERVED, WHILE_BLOCKED
from evertoken.testing.world._scenario import ClientPlan
from evertoken.testing.world._watched import Want, WatchedMachine

SECOND = 1_000_000_000
_WAITING = {reason: f"wait: {reason.value}" for reason in WaitReason}
_SENDING = {reason: f"send: {reason.value}" for reason in SendReason}
_HONEST_GRACE = 1e-6
"""The seconds that rounding of floats may cost where the clocks of client and server differ."""


class Call:
    """One call of one caller, who first needs a token."""

    __slots__ = ("number", "replayed", "want")

    def __init__(self, number: int, want: Want) -> None:
        self.number = number
        self.want = want
        self.replayed = False


class Surroundings(Protocol):
    """What a client asks of the world that it is in."""

    time: int

    def note(self, client: Client, before: State, happened: Input, after: State, told: tuple[Happening, ...]) -> None:
        """A machine has made a step."""
        ...

    def fail(self, client: Client, law: str) -> None:
        """What ``client`` does, or its machine, has broken ``law``."""
        ...

    def saw(self, situation: str) -> None:
        """A situation has come about, and is to be counted."""
        ...

    def gave_up(self, client: Client, why: str) -> None:
        """A caller has given up, in a situation that has ``why`` for a name."""
        ...

    def send_token_request(self, client: Client, request: TokenRequest) -> None:
        """Carry a token request."""
        ...

    def send_call(self, client: Client, call: Call, authorization: str, grace: float) -> None:
        """Carry an API call."""
        ...

    def wake_at(self, client: Client, time: int) -> None:
        """See to it that the client's waiting callers ask again at ``time``."""
        ...


def _starts_of(state: State) -> dict[int, float]:
    """When the requests were started that the machine may still speak of, by id; that of the token in hand is 0."""
    attempts = {attempt.id: attempt.started for attempt in (state.attempt, state.lost) if attempt is not None}
    return attempts if state.token is None else attempts | {0: state.token.started}


class Client:
    """The state of one client. What it does is done at ``world.time``, the world's clock in nanoseconds."""

    machine_class: type[WatchedMachine] = WatchedMachine

    def __init__(
        self, number: int, plan: ClientPlan, grant: ClientCredentials, draw: Callable[[], float], world: Surroundings
    ) -> None:
        self.number = number
        self.plan = plan
        self.grant = grant
        self.world = world
        self.asleep_until = 0
        self.epoch = 0
        self.timer_at = 0
        self.ready_at = -1
        self.served_at = -1
        self._draw = draw
        self._stopped = 0
        self._offset = round(plan.offset * SECOND)
        self._drift = round(plan.drift * SECOND)
        self._fuzz = 0.0 if plan.offset == plan.drift == 0.0 else _HONEST_GRACE
        self._calls = 0
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._saved = (self.world.time, self.nanoseconds())
        self.machine = self.machine_class(self.grant, self.plan.policy, self._draw, self)
        self.waiting: list[tuple[int, Call]] = []
        self._asked_of: State | None = None
        self._asked: tuple[float, Want] | None = None
        self._told: Ready | GiveUp | SendRequest | Wait = SendRequest(SendReason.NO_TOKEN)
        self.starts: dict[float, tuple[int, int]] = {}

    def crash(self) -> None:
        """The process ends, and another begins: nothing is left of the machine or of the calls."""
        self.epoch += 1
        self.timer_at = 0
        self._begin_anew()

    def restart(self, grant: ClientCredentials, *, secrets: bool, clock: float | None, last_save: bool) -> Restart:
        """The process ends, and goes on from a snapshot when the client is awake again. Its calls are gone.

        The snapshot is from its ``last_save``, which it makes after each input, or else from its end. ``grant`` is what
        the new process is told to use. ``clock`` is what its clock then shows, if that began anew; the machine is told
        how old the snapshot is.
        """
        before, starts = self.machine, self.starts
        saved, own = self._saved if last_save else (self.world.time, self.nanoseconds())
        kept = before.snapshot(own / SECOND, secrets).to_json()
        replaced, self.grant = not self.grant.same_proof(grant), grant
        self.crash()
        away = self.asleep_until - saved
        if clock is not None:
            self._offset += round(clock * SECOND) - self._nanoseconds_at(self.asleep_until)
        awake = self._nanoseconds_at(self.asleep_until)
        self._saved = (self.asleep_until, awake)
        restart = Restart(own / SECOND, awake / SECOND, away / SECOND, secrets, replaced)
        after = self._restored(kept, restart)
        moments = _starts_of(before.state_value)
        for name, started in _starts_of(after).items():
            world_start, own_start = starts[moments[name]]
            # The new machine rounds moments to the tick, which moves the start of the request as it knows it.
            self.starts[started] = (world_start, own_start + round((started - moments[name]) * SECOND))
        self._fuzz = _HONEST_GRACE
        return restart

    def _restored(self, kept: str, restart: Restart) -> State:
        policy, snapshot = self.plan.policy, Snapshot.from_json(kept)
        machine = TokenMachine.restore(
            self.grant, snapshot, restart.now, restart.elapsed, policy=policy, draw=self._draw
        )
        return self.machine.become(machine.state_value)

    # Its clock
    # ---------

    def nanoseconds(self) -> int:
        """What the client's clock shows, in nanoseconds."""
        return self._nanoseconds_at(self.world.time)

    def _nanoseconds_at(self, world_time: int) -> int:
        time = world_time - self._stopped
        gained = time * self._drift // SECOND if self._drift else 0
        return self._offset + time + gained

    def now(self) -> float:
        """What the client's clock shows in seconds, as it is handed to the machine."""
        return self.nanoseconds() / SECOND

    def stop_clock(self, nanoseconds: int) -> None:
        """The client's clock does not count the next ``nanoseconds`` of the world's."""
        self._stopped += nanoseconds

    def world_time_at(self, moment: float) -> int:
        """When, about, the client's clock will show ``moment``: a timer that is a little early is no harm."""
        ahead = round(moment * SECOND) - self.nanoseconds()
        return self.world.time + max(1, ahead - ahead * self._drift // SECOND + 1)

    # Its callers
    # -----------

    def call(self) -> None:
        """A caller comes, as impatient and demanding as they are here.

        One without any patience is like ``authorization_nowait``: it takes what there is, and starts what is due.
        """
        self._come(self.plan.patience, self.plan.min_ttl)

    def call_patiently(self) -> None:
        """A caller comes who takes any token, and waits long enough for an attempt."""
        self._come(3 * self.plan.policy.request_timeout, 0.0)

    def _come(self, patience: float, min_ttl: float) -> None:
        self._calls += 1
        showed = self.nanoseconds()
        since = showed / SECOND
        call = Call(self._calls, Want(since, since + patience, min_ttl))
        quiet_until, header = self.machine.published
        if since < quiet_until and header is not None and not min_ttl:
            self._use(call, header, showed)
        else:
            self._advance(call)

    def time_is_up(self, time: int) -> None:
        """Whoever has waited long enough asks again, unless an earlier timer has taken the place of this one."""
        if time == self.timer_at:
            self._wake(self.world.time)

    def wake(self) -> None:
        """Whoever waits asks again, since something has happened."""
        self._wake(math.inf)

    def _wake(self, until: float) -> None:
        waiting, now = self.waiting, self.now()
        self.waiting = [(due, call) for due, call in waiting if due > until]
        again: int | None = None
        for call in [call for due, call in waiting if due <= until]:
            told = self._told
            if again is not None and isinstance(told, Wait) and self._is_told(now, call.want):
                self.world.saw(_WAITING[told.reason])  # As the one before, who wants the same.
                self.waiting.append((again, call))
            else:
                self._advance(call)
                again = self.waiting[-1][0] if self.waiting and self.waiting[-1][1] is call else None
        if self.waiting:
            self.world.wake_at(self, min([due for due, _ in self.waiting]))

    def _advance(self, call: Call) -> None:
        showed = self.nanoseconds()
        now = showed / SECOND
        want = call.want
        move = self._next_move(now, want)
        match move:
            case Ready():
                self._use(call, move.authorization, showed)
                if now < self.machine.state_value.unblock_at:
                    self.world.saw(WHILE_BLOCKED)
                self._refresh_beside(now)
            case SendRequest():
                self._carry(now, want.min_ttl, move)
                self._wait(call, want.deadline)
            case Wait():
                self.world.saw(_WAITING[move.reason])
                self._wait(call, move.until)
            case _:
                self.world.gave_up(self, self._why(move, now))
                if want.deadline == want.since:
                    self._refresh_beside(now)

    def _next_move(self, now: float, want: Want) -> Ready | GiveUp | SendRequest | Wait:
        """What a caller is told to do, held to the laws: once for all who want the same of the same state."""
        if not self._is_told(now, want):
            machine = self.machine
            self._told = next_move(machine, now, since=want.since, deadline=want.deadline, min_ttl=want.min_ttl)
            machine.hold(self._told, now, want)
            self._asked_of, self._asked = machine.state_value, (now, want)
        return self._told

    def _is_told(self, now: float, want: Want) -> bool:
        return self.machine.state_value is self._asked_of and self._asked == (now, want)

    def _why(self, given_up: GiveUp, now: float) -> str:
        """The name of the situation in which a caller has ``given_up``."""
        if given_up.error.problem.kind is ProblemKind.LIFETIME_TOO_SHORT:
            return TOO_SHORT
        return UNSERVED[self.machine.request_state(now)]

    def _wait(self, call: Call, until: float) -> None:
        due = self.world_time_at(until)
        self.waiting.append((due, call))
        self.world.wake_at(self, due)

    def _refresh_beside(self, now: float) -> None:
        action = self.machine.poll(now)
        self.machine.hold(action, now, Want(now, math.inf, 0.0))
        if isinstance(action, SendRequest):
            self._carry(now, 0.0, action)
        else:
            self.world.saw(_WAITING[action.reason])

    # Its token requests
    # ------------------

    def _carry(self, now: float, min_ttl: float, why: SendRequest) -> None:
        self.world.saw(_SENDING[why.reason])
        request = self.machine.start_request(now, min_ttl)
        self.starts[self.machine.state_value.now] = (self.world.time, self.nanoseconds())
        self.world.send_token_request(self, request)

    def receive(self, request: TokenRequest, response: HttpResponse) -> None:
        """The answer to a token request is here."""
        self._came_of_it(self.machine.receive_response(self.now(), request, response))

    def send_failed(self, request: TokenRequest, reason: str) -> None:
        """The carrier of a token request reports that it came to nothing."""
        self._came_of_it(self.machine.send_failed(self.now(), request, reason))

    def abandon(self, request: TokenRequest) -> None:
        """The carrier of a token request gives up."""
        self._came_of_it(self.machine.request_abandoned(self.now(), request))

    def _came_of_it(self, outcome: Outcome) -> None:
        self.world.saw(f"outcome: {type(outcome).__name__}")
        if isinstance(outcome, Granted):
            self.starts = {started: self.starts[started] for started in _starts_of(self.machine.state_value).values()}
        elif isinstance(outcome, Failed) and outcome.problem.kind is ProblemKind.DEAD_ON_ARRIVAL:
            self.world.saw(DEAD)
        self.wake()

    # Its API calls
    # -------------

    def _use(self, call: Call, authorization: str, showed: int) -> None:
        self.ready_at = self.world.time
        self.world.send_call(self, call, authorization, self._grace(showed))

    def _grace(self, showed: int) -> float:
        """The seconds of the leeway that are left when what the clock has lost since the token's start is taken off."""
        token = cast("AccessToken", self.machine.state_value.token)
        world_start, own_start = self.starts[token.started]
        behind = (self.world.time - world_start) - (showed - own_start)
        return token.expires_at - token.fresh_until - max(0, behind) / SECOND - self._fuzz

    def answered(self, call: Call, authorization: str, response: HttpResponse) -> None:
        """The API has answered a call. A 401 makes the caller try once more, unless the token is kept."""
        if response.status == 200:
            self.served_at = self.world.time
            if not self.machine.state_value.rejections.worked:
                self.machine.token_worked(self.now(), authorization)
            if call.replayed:
                self.world.saw(REPLAYED)
            return
        profile = self.grant.endpoint.profile
        challenge = read_challenge(response.status, response.headers, response.body, profile)
        if challenge is Challenge.LOCKED:
            self.machine.endpoint_blocked(self.now(), BlockKind.LOCKED)
        elif challenge in (Challenge.TOKEN, Challenge.UNKNOWN):
            verdict = self.machine.token_rejected(self.now(), authorization, challenge)
            self.world.saw(f"rejection: {verdict.value}")
            if verdict is not Rejection.KEPT and not call.replayed:
                call.replayed = True
                self._advance(call)

    # News from elsewhere
    # -------------------

    def rotate(self, grant: ClientCredentials) -> None:
        """The operator sets another secret."""
        self.grant = grant
        self.machine.replace_credentials(self.now(), grant)
        self.wake()

    def lift(self) -> None:
        """The operator lifts the blocks."""
        self.machine.lift_block(self.now())
        self.wake()

    def report(self, kind: BlockKind, seconds: float | None) -> None:
        """Somebody says that the endpoint is blocked."""
        self.machine.endpoint_blocked(self.now(), kind, seconds)

    def note(self, before: State, happened: Input, after: State, told: tuple[Happening, ...]) -> None:
        """The machine has made a step."""
        self._saved = (self.world.time, self.nanoseconds())
        self.world.note(self, before, happened, after, told)

    def fail(self, law: str) -> None:
        """The machine has broken a law."""
        self.world.fail(self, law)
