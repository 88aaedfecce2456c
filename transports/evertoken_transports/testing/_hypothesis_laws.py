"""What always holds of a TokenMachine, whatever happens to it: the invariant of the state machine, and its witness."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, cast

from hypothesis.stateful import RuleBasedStateMachine, invariant

from evertoken import (
    ClientCredentials,
    HttpResponse,
    Policy,
    Snapshot,
    State,
    TokenMachine,
    TokenRequest,
    Wait,
    mangopay,
)
from evertoken.testing import SMALL_POLICY, broken_by, broken_in, liveness_bound
from evertoken.testing.functional import Input

__all__ = ("DEMANDS", "JSON", "LawBroken", "LawfulMachine")

DEMANDS = (0.0, 1.0, 2.5)
"""The ``min_ttl`` of callers, in seconds."""
JSON = (("Content-Type", "application/json"),)
_ANOTHER_CLOCK = 2.0**20
_LEAST_SECRET = 4
"""Shorter ones turn up in any text by chance."""
_GOOD_TOKEN = b'{"access_token": "after-the-faults", "token_type": "bearer", "expires_in": 1200}'


class LawBroken(AssertionError):
    """A law does not hold. The text names it; the steps that led there are in Hypothesis' report."""


class _Step(NamedTuple):
    before: State
    happened: Input
    after: State


class _Watched(TokenMachine):
    """Mixed into the class of the machine: it keeps every step until somebody has looked at it."""

    def __init__(self, grant: ClientCredentials, *, policy: Policy | None = None, draw: Callable[[], float]) -> None:
        self.steps: list[_Step] = []
        super().__init__(grant, policy=policy, draw=draw)

    def stepped(self, happened: Input, after: State) -> None:
        """Keep the step."""
        self.steps.append(_Step(self.state_value, happened, after))
        super().stepped(happened, after)


def _watched(kind: type[TokenMachine]) -> type[_Watched]:
    return cast("type[_Watched]", type(f"Watched{kind.__name__}", (_Watched, kind), {"__module__": __name__}))


class LawfulMachine(RuleBasedStateMachine):
    """A machine, a moment, and one invariant: every law holds. What happens is in the rules of a subclass."""

    policy: Policy = SMALL_POLICY
    """The tunables. Any will do, since time also leaps to the machine's own deadlines."""
    grant: ClientCredentials = mangopay.sandbox("your-client-id", "made-up-key-0")
    """Who asks whom. Further secrets are made up for it."""
    machine_class: type[TokenMachine] = TokenMachine
    """A subclass of TokenMachine with the same constructor, to be tested in its place."""

    machine: TokenMachine
    now: float
    requests: list[TokenRequest]

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self._number = 0.0
        self.begin(self.policy)

    def begin(self, policy: Policy) -> None:
        """Start with a new machine under ``policy``: for an ``@initialize`` rule that draws one."""
        self.policy = policy
        self.requests = []
        self._secrets: set[str] = set()
        self._guard(self.grant.secrets())
        self._copied: State | None = None
        self._watched_class = _watched(self.machine_class)
        self._use(self._watched_class(self.grant, policy=policy, draw=self._draw))

    def _use(self, machine: _Watched) -> None:
        self.machine = self._watched = machine
        self._seen = machine.state_value

    def _draw(self) -> float:
        return self._number

    # What always holds
    # -----------------

    @invariant()
    def every_law_holds(self) -> None:
        """The laws of states and steps, and what callers, copies and readers of logs rely on."""
        self._laws_hold()
        self._asking_changes_nothing()
        self._callers_get_what_is_in_hand()
        self._copies_are_the_same()
        self._a_token_is_within_reach()
        self._no_secret_is_shown()

    def _laws_hold(self) -> None:
        """Those that the explorer and the simulated world ask for as well."""
        steps, self._watched.steps = self._watched.steps, []
        for step in steps:
            self._hold(step.before is self._seen, "nothing but an input changes the state")
            self._seen = step.after
            self._show(step.happened)
            for law in broken_by(self.policy, *step):
                self._hold(False, law)  # noqa: FBT003 - it says what is known
        self._hold(self.machine.state_value is self._seen, "nothing but an input changes the state")
        for law in broken_in(self.policy, self.machine.state_value, self.now):
            self._hold(False, law)  # noqa: FBT003 - it says what is known

    def _asking_changes_nothing(self) -> None:
        """Queries are pure: whoever asks, and however often."""
        state, published = self.machine.state_value, self.machine.published
        first, again = (self._answers(self.machine, self.now) for _ in range(2))
        self._hold(first == again, "asked twice, the machine says the same")
        same = self.machine.state_value == state and self.machine.published == published
        self._hold(same, "extra polls change nothing")

    def _callers_get_what_is_in_hand(self) -> None:
        """A token is handed out exactly while it has the life left that is asked for."""
        token = self.machine.state_value.token
        for min_ttl in DEMANDS:
            fresh = token is not None and not self.now >= token.fresh_until - min_ttl
            header = self.machine.authorization(self.now, min_ttl)
            self._hold((header is not None) == fresh, "a token is handed out exactly until fresh_until - min_ttl")
            self._hold(header is None or token is None or header == token.authorization, "readers see one whole token")

    def _copies_are_the_same(self) -> None:
        """A snapshot goes through JSON and to another clock, and the machine that it gives is the same one."""
        if self.machine.state_value == self._copied:
            return
        state = self._copied = self.machine.state_value
        snapshot = self.machine.snapshot(self.now, secrets=True)
        read = Snapshot.from_json(snapshot.to_json())
        self._hold((read, hash(read)) == (snapshot, hash(snapshot)), "a snapshot is read back equal")
        now = self.now + _ANOTHER_CLOCK
        twin = TokenMachine.restore(self.machine.grant, read, now, policy=self.policy, draw=self._draw)
        self._hold(twin.snapshot(now, secrets=True) == snapshot, "a machine that is restored at once is the same")
        twin = self.machine.fork()
        same = twin.state_value == state and hash(twin.state_value) == hash(state)
        self._hold(same and twin.published == self.machine.published, "a fork is the same machine")

    def _a_token_is_within_reach(self) -> None:
        """From here on nothing goes wrong, in a fork: there is a token in the time that the policy allows."""
        state, fork, now = self.machine.state_value, self.machine.fork(lambda: 0.5), self.now
        end = now + liveness_bound(self.policy)
        while fork.authorization(now) is None and now <= end:
            action = fork.poll(now)
            if isinstance(action, Wait):
                now = self._end_of(action, now)
            else:
                fork.receive_response(now, fork.start_request(now), HttpResponse(200, JSON, _GOOD_TOKEN))
        self._hold(now <= end, "a token is there within the bound, once faults have ended")
        self._hold(self.machine.state_value is state, "what happens to a fork happens to nobody else")

    def _no_secret_is_shown(self) -> None:
        """Neither by what the machine is, nor by what it says, nor by a snapshot without secrets."""
        token = self.machine.state_value.token
        if token is not None:
            self._guard((token.value,))
        for thing in (self.machine, self.machine.state_value, *self.requests, *self._answers(self.machine, self.now)):
            self._show(thing)
        self._show(self.machine.snapshot(self.now, secrets=True))
        self._show(self.machine.snapshot(self.now).to_json())

    # Witness
    # -------

    def _hold(self, holds: bool, law: str) -> None:  # noqa: FBT001 - like assert
        if not holds:
            raise LawBroken(f"{law}, at {self.now}")

    def _end_of(self, wait: Wait, now: float) -> float:
        self._hold(wait.until > now, "Wait.until lies ahead")
        return wait.until

    def _guard(self, secrets: Iterable[str]) -> None:
        """None of these may be shown from now on."""
        self._secrets.update(secret.casefold() for secret in secrets if len(secret) >= _LEAST_SECRET)

    def _show(self, thing: object) -> None:
        shown = f"{thing!r} {thing}".casefold()
        leaks = [secret for secret in self._secrets if secret in shown]
        self._hold(not leaks, f"no secret and no token is shown, as in the text of a {type(thing).__name__}")

    def _answers(self, machine: TokenMachine, now: float) -> tuple[object, ...]:
        """All that can be asked."""
        asked = (machine.state, machine.freshness, machine.request_state, machine.problem, machine.explain)
        polls = (machine.poll(now, min_ttl) for min_ttl in DEMANDS)
        return (*(ask(now) for ask in asked), *polls, machine.token(now))
