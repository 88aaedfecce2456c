"""What always holds of a TokenMachine, whatever happens to it: the invariant of the state machine, and its witness."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, cast

from evertoken import (
    ClientCredentials,
    HttpResponse,
    Policy,
    Snapshot,
    State,
    TokenMachine,
    TokenRequest,
    Wait,
)
from evertoken.happenings import Happening
from evertoken.testing import broken_by, broken_in, liveness_bound
from evertoken.testing.functional import Input

DEMANDS = (0.0, 1.0, 2.5)
"""The ``min_ttl`` of callers, in seconds."""
JSON = (("Content-Type", "application/json"),)
TICK = 2.0**-10
"""The machine's tick, in seconds: its durations are whole multiples of it."""
_ANOTHER_CLOCK = 2.0**20
"""Seconds by which the clock of a restored machine is ahead of the old one's."""
_LEAST_SECRET = 4
"""Characters of the shortest secret that is searched for: a shorter one turns up in any text by chance."""
_GOOD_TOKEN = b'{"access_token": "after-the-faults", "token_type": "bearer", "expires_in": 1200}'


class LawBroken(AssertionError):
    """A law does not hold. The text names it; the steps that led there are in Hypothesis' report."""

    __module__ = "evertoken_transports.testing.hypothesis"


class _Step(NamedTuple):
    before: State
    happened: Input
    after: State
    told: tuple[Happening, ...]


class _Watched(TokenMachine):
    """A mixin for the class of the machine, which keeps every step until the witness has looked at it."""

    def __init__(
        self, grant: ClientCredentials, *, policy: Policy | None = None, draw: Callable[[], float], tiers: int = 0
    ) -> None:
        self.steps: list[_Step] = []
        super().__init__(grant, policy=policy, draw=draw, tiers=tiers)

    def stepped(self, happened: Input, after: State, happenings: tuple[Happening, ...]) -> None:
        """Keep the step."""
        self.steps.append(_Step(self.state_value, happened, after, happenings))
        super().stepped(happened, after, happenings)


def _watched(kind: type[TokenMachine]) -> type[_Watched]:
    return cast("type[_Watched]", type(f"Watched{kind.__name__}", (_Watched, kind), {"__module__": __name__}))


class Witness:
    """Makes one machine after another, and holds each of them to every law."""

    number: float
    """The number that the machine draws: a test sets it."""
    machine: _Watched

    def __init__(
        self, kind: type[TokenMachine], grant: ClientCredentials, policy: Policy, clock: Callable[[], float]
    ) -> None:
        self.number = 0.0
        self._policy = policy
        self._clock = clock
        self._requests: Sequence[TokenRequest] = ()
        self._secrets: set[str] = set()
        self._copied: State | None = None
        self._kind = _watched(kind)
        self.guard(grant.secrets())
        self._use(self._kind(grant, policy=policy, draw=self._draw))

    def restored(self, saved: str, now: float, elapsed: float) -> TokenMachine:
        """A machine from ``saved``, the text of a snapshot; it is the one that is watched from now on."""
        snapshot = Snapshot.from_json(saved)
        old = self.machine
        self._use(self._kind.restore(old.grant, snapshot, now, elapsed, policy=self._policy, draw=self._draw))
        return self.machine

    def _use(self, machine: _Watched) -> None:
        self.machine = machine
        self._seen = machine.state_value

    def _draw(self) -> float:
        return self.number

    @property
    def _now(self) -> float:
        return self._clock()

    # What always holds
    # -----------------

    def look(self, requests: Sequence[TokenRequest]) -> None:
        """Hold the machine to the laws of states and steps, and to what callers, copies and readers of logs rely on.

        Raises:
            LawBroken: one of them does not hold.
        """
        self._requests = requests
        token = self.machine.state_value.token
        if token is not None:
            self.guard((token.value,))
        self._laws_hold()
        answers = self._asking_changes_nothing()
        self._callers_get_what_is_in_hand()
        self._copies_are_the_same()
        self._a_token_is_within_reach()
        self._no_secret_is_shown(answers)

    def _laws_hold(self) -> None:
        """The laws of states and steps hold, which the explorer and the simulated world check as well."""
        steps, self.machine.steps = self.machine.steps, []
        for step in steps:
            self.hold(step.before is self._seen, "nothing but an input changes the state")
            self._seen = step.after
            self.show(step.happened)
            for law in broken_by(self._policy, *step):
                self.hold(False, law)  # noqa: FBT003 - it is known to be broken
        self.hold(self.machine.state_value is self._seen, "nothing but an input changes the state")
        for law in broken_in(self._policy, self.machine.state_value, self._now):
            self.hold(False, law)  # noqa: FBT003 - it is known to be broken

    def _asking_changes_nothing(self) -> tuple[object, ...]:
        """Queries are pure, whoever asks and however often. Returns what they say."""
        state, published = self.machine.state_value, self.machine.published
        first, again = (self._answers(self.machine, self._now) for _ in range(2))
        self.hold(first == again, "asked twice, the machine says the same")
        same = self.machine.state_value == state and self.machine.published == published
        self.hold(same, "extra polls change nothing")
        return first

    def _callers_get_what_is_in_hand(self) -> None:
        """A token is handed out exactly while it has the life left that is asked for."""
        token = self.machine.state_value.token
        for min_ttl in DEMANDS:
            fresh = token is not None and not self._now >= token.fresh_until - min_ttl
            header = self.machine.authorization(self._now, min_ttl)
            self.hold((header is not None) == fresh, "a token is handed out exactly until fresh_until - min_ttl")
            self.hold(header is None or token is None or header == token.authorization, "readers see one whole token")

    def _copies_are_the_same(self) -> None:
        """A snapshot goes through JSON and to another clock, and the machine that it gives is the same one."""
        if self.machine.state_value == self._copied:
            return
        state = self._copied = self.machine.state_value
        snapshot = self.machine.snapshot(self._now, secrets=True)
        self.show(snapshot)
        self.show(self.machine.snapshot(self._now).to_json())
        read = Snapshot.from_json(snapshot.to_json())
        self.hold((read, hash(read)) == (snapshot, hash(snapshot)), "a snapshot is read back equal")
        now = self._now + _ANOTHER_CLOCK
        twin = TokenMachine.restore(self.machine.grant, read, now, policy=self._policy, draw=self._draw)
        self.hold(twin.snapshot(now, secrets=True) == snapshot, "a machine that is restored at once is the same")
        twin = self.machine.fork()
        same = twin.state_value == state and hash(twin.state_value) == hash(state)
        self.hold(same and twin.published == self.machine.published, "a fork is the same machine")

    def _a_token_is_within_reach(self) -> None:
        """In a fork, in which nothing goes wrong from here on, a token is there in the time that the policy allows."""
        state, fork, now = self.machine.state_value, self.machine.fork(lambda: 0.5), self._now
        end = now + liveness_bound(self._policy)
        while fork.authorization(now) is None and now <= end:
            action = fork.poll(now)
            if isinstance(action, Wait):
                now = self.end_of(action, now)
            else:
                fork.receive_response(now, fork.start_request(now), HttpResponse(200, JSON, _GOOD_TOKEN))
        self.hold(now <= end, "a token is there within the bound, once faults have ended")
        self.hold(self.machine.state_value is state, "what happens to a fork happens to nobody else")

    def _no_secret_is_shown(self, answers: tuple[object, ...]) -> None:
        """No secret is in the text of the machine, its state, its requests and its answers."""
        for thing in (self.machine, self.machine.state_value, *self._requests, *answers):
            self.show(thing)

    # For the rules
    # -------------

    def hold(self, holds: bool, law: str) -> None:  # noqa: FBT001 - like assert
        """Raise :class:`LawBroken` with ``law``, unless it ``holds``."""
        if not holds:
            raise LawBroken(f"{law}, at {self._now}")

    def end_of(self, wait: Wait, now: float) -> float:
        """The moment at which ``wait`` is over."""
        self.hold(wait.until > now, "Wait.until lies ahead")
        return wait.until

    def guard(self, secrets: Iterable[str]) -> None:
        """Note that none of ``secrets`` may be shown from now on."""
        self._secrets.update(secret.casefold() for secret in secrets if len(secret) >= _LEAST_SECRET)

    def show(self, thing: object) -> None:
        """Hold ``thing``, which may be printed and logged, to showing no secret."""
        # Most things have one text for repr and str. It is made once, since that takes most of the checks' time.
        shown = (repr(thing) if type(thing).__str__ is object.__str__ else f"{thing!r} {thing}").casefold()
        leaks = [secret for secret in self._secrets if secret in shown]
        self.hold(not leaks, f"no secret and no token is shown, as in the text of a {type(thing).__name__}")

    def _answers(self, machine: TokenMachine, now: float) -> tuple[object, ...]:
        """What ``machine`` answers at ``now`` to everything that can be asked."""
        asked = (machine.state, machine.freshness, machine.request_state, machine.problem, machine.explain)
        polls = (machine.poll(now, min_ttl) for min_ttl in DEMANDS)
        return (*(ask(now) for ask in asked), *polls, machine.token(now))
