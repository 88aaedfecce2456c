"""A Hypothesis state machine around a real TokenMachine: everything that may happen to it, and every law after each.

The rules are the public grammar, in virtual time. Nothing here knows how the machine works; what must hold is in
``broken_in`` and ``broken_by``, and in the few sentences of the invariants below.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import NamedTuple, cast

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from evertoken import (
    BlockKind,
    Challenge,
    ClientCredentials,
    HttpResponse,
    LocalProtocolError,
    Policy,
    Rejection,
    SendRequest,
    SharedRecord,
    Snapshot,
    State,
    TokenMachine,
    TokenRequest,
    Wait,
    mangopay,
)
from evertoken.testing import SMALL_POLICY, broken_by, broken_in, liveness_bound
from evertoken.testing.functional import Input
from evertoken_transports.testing._hypothesis_messages import (
    access_tokens,
    challenges,
    error_responses,
    granted_responses,
    responses,
)

__all__ = ("LawBroken", "TokenMachineStateMachine")

_TICK = 2.0**-10
_ANOTHER_CLOCK = 2.0**20
_MOST_REQUESTS = 3
_LEAST_SECRET = 4
"""Shorter ones turn up in any text by chance."""
_DEMANDS = (0.0, 1.0, 2.5)
_JSON = (("Content-Type", "application/json"),)
_GOOD_TOKEN = b'{"access_token": "after-the-faults", "token_type": "bearer", "expires_in": 1200}'

_numbers = st.sampled_from([0.0, 0.25, 0.5, 1 - _TICK])
_demands = st.sampled_from([0.0, *_DEMANDS])
_which = st.integers(0, _MOST_REQUESTS - 1)
_took = st.sampled_from([0.0, 0.25, 1.0, 3.0])
_early = st.sampled_from([0.0, _TICK])
_moments = st.sampled_from(["refresh_at", "fresh_until", "expires_at"])
_kinds = st.sampled_from([BlockKind.LOCKED, BlockKind.REFUSED, BlockKind.RATE_LIMITED])


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

    def _enter(self, happened: Input, state: State) -> None:
        self.steps.append(_Step(self.state_value, happened, state))
        super()._enter(happened, state)


def _watched(kind: type[TokenMachine]) -> type[_Watched]:
    return cast("type[_Watched]", type(f"Watched{kind.__name__}", (_Watched, kind), {"__module__": __name__}))


class TokenMachineStateMachine(RuleBasedStateMachine):
    """Drives a real TokenMachine through its whole grammar, and holds it to every law after every rule.

    It is a test as it is, and a base for one with rules and invariants of one's own, under one's own policy::

        class MySdk(TokenMachineStateMachine):
            policy = Policy(leeway=0, budget_burst=2)

            @invariant()
            def the_sdk_agrees(self) -> None: ...

        TestMySdk = MySdk.TestCase

    Rules and invariants find the machine in ``machine``, the moment in ``now``, and in ``requests`` the newest of them,
    answered or not.
    """

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

    # Time
    # ----

    @rule(seconds=st.sampled_from([1.0, _TICK, 0.25, 0.5, 2.0, 5.0, 30.0, 1_000.0]))
    def time_passes(self, seconds: float) -> None:
        """Any moment will do."""
        self.now += seconds

    @precondition(lambda self: isinstance(self.machine.poll(self.now), Wait))
    @rule(early=_early)
    def the_wait_ends(self, early: float) -> None:
        """The moment that ``poll`` names, or just before it."""
        action = self.machine.poll(self.now)
        if isinstance(action, Wait):
            self.now = max(self.now, self._end_of(action, self.now) - early)

    @precondition(lambda self: self.machine.state_value.token is not None)
    @rule(moment=_moments, early=_early)
    def the_token_ages(self, moment: str, early: float) -> None:
        """A moment of the token in hand, or just before it."""
        reached = cast("float", getattr(self.machine.state_value.token, moment))
        self.now = max(self.now, reached - early)

    # One attempt
    # -----------

    @precondition(lambda self: isinstance(self.machine.poll(self.now), SendRequest))
    @rule(number=_numbers)
    def start_request(self, number: float) -> None:
        """A request is sent."""
        self._number = number
        self._keep(self.machine.start_request(self.now))

    @precondition(lambda self: isinstance(self.machine.poll(self.now), SendRequest))
    @rule(number=_numbers, took=_took, response=granted_responses())
    def refresh(self, number: float, took: float, response: HttpResponse) -> None:
        """A request is sent, and brings a token."""
        self.start_request(number)
        self.now += took
        self.receive_response(0, response)

    @precondition(lambda self: isinstance(self.machine.poll(self.now), SendRequest))
    @rule(number=_numbers, took=_took, response=error_responses())
    def fail(self, number: float, took: float, response: HttpResponse) -> None:
        """A request is sent, and brings none."""
        self.start_request(number)
        self.now += took
        self.receive_response(0, response)

    @precondition(lambda self: isinstance(self.machine.poll(self.now), SendRequest))
    @rule(number=_numbers)
    def lose(self, number: float) -> None:
        """A request is sent, and nobody says what became of it, until another may be sent."""
        self.start_request(number)
        while isinstance(action := self.machine.poll(self.now), Wait):
            self.now = self._end_of(action, self.now)

    @rule(min_ttl=_demands, number=_numbers, shared=st.booleans())
    def ask_for_more(self, min_ttl: float, number: float, shared: bool) -> None:  # noqa: FBT001 - drawn by keyword
        """Somebody wants a token with life left in it, or asks a store first; out of turn, that is refused."""
        self._number = number
        claim = self.machine.share_request if shared else self.machine.start_request
        before, allowed = self.machine.state_value, self.machine.poll(self.now, min_ttl)
        try:
            self._keep(claim(self.now, min_ttl))
        except LocalProtocolError:
            self._hold(isinstance(allowed, Wait), "a claim that poll allows is granted")
            self._hold(self.machine.state_value == before, "a claim that is refused changes nothing")

    @precondition(lambda self: self.requests)
    @rule(which=_which)
    def exchange_started(self, which: int) -> None:
        """The store had nothing: a claim becomes an exchange, if it still stands and the door is still open."""
        request = self._request(which)
        claimed = self._is_claim(request)
        try:
            self._keep(self.machine.exchange_started(self.now, request))
        except LocalProtocolError:
            freed = self.machine.state_value.attempt is None
            self._hold(freed or not claimed, "a claim becomes an exchange, or is freed")

    @precondition(lambda self: self.requests)
    @rule(which=_which, response=granted_responses())
    def receive_token(self, which: int, response: HttpResponse) -> None:
        """The endpoint grants a token: in time, late or twice."""
        self.receive_response(which, response)

    @precondition(lambda self: self.requests)
    @rule(which=_which, response=responses())
    def receive_response(self, which: int, response: HttpResponse) -> None:
        """The endpoint answers anything at all."""
        self._answer(which, lambda request: self.machine.receive_response(self.now, request, response))

    @precondition(lambda self: self.requests)
    @rule(which=_which, status=st.sampled_from([400, 401, 404, 429, 503]))
    def receive_an_echo(self, which: int, status: int) -> None:
        """The endpoint answers with all that it was sent, and with the token in hand: none of it may be shown."""
        sent = self._request(which)
        told = f"{self.machine.published[1]} {sent.headers[::-1]} {sent.body.decode('latin-1')}"
        body = json.dumps({"error": "invalid_request", "error_description": told}).encode()
        echo = HttpResponse(status, _JSON, body)
        self._answer(which, lambda request: self.machine.receive_response(self.now, request, echo))

    @precondition(lambda self: self.requests)
    @rule(which=_which)
    def send_failed(self, which: int) -> None:
        """It did not get there, or not back."""
        self._answer(which, lambda request: self.machine.send_failed(self.now, request, "connection reset"))

    @precondition(lambda self: self.requests)
    @rule(which=_which)
    def request_abandoned(self, which: int) -> None:
        """Whoever carried it gave up."""
        self._show(self.machine.request_abandoned(self.now, self._request(which)))

    @precondition(lambda self: self.requests)
    @rule(which=_which, token=access_tokens(), age=st.sampled_from([0.0, 0.5, 2.0, 7.0]), lives=st.integers(1, 24))
    def receive_shared(self, which: int, token: str, age: float, lives: int) -> None:
        """The store had a token."""
        record = SharedRecord(token, self.now - age, lives)
        self._show(self.machine.receive_shared(self.now, self._request(which), record))

    # News from elsewhere
    # -------------------

    @precondition(lambda self: self.machine.state_value.token is not None)
    @rule(challenge=challenges(), of_another=st.booleans())
    def token_rejected(self, challenge: Challenge, of_another: bool) -> None:  # noqa: FBT001 - drawn by keyword
        """An API rejects the token in hand, or one that nobody knows."""
        header = self.machine.authorization(self.now)
        rejected = "Bearer of-long-ago" if of_another or header is None else header
        verdict = self.machine.token_rejected(self.now, rejected, challenge)
        kept = self.machine.authorization(self.now) == header
        self._hold(kept == (verdict is not Rejection.DROPPED), "a token is gone exactly when it was DROPPED")

    @rule(kind=_kinds, seconds=st.sampled_from([None, 0.0, 1.0, 100.0]), number=_numbers)
    def door_closed(self, kind: BlockKind, seconds: float | None, number: float) -> None:
        """An API or a store says that the door is closed."""
        self._number = number
        self.machine.door_closed(self.now, kind, seconds)

    @rule(key=st.integers(0, 2))
    def replace_credentials(self, key: int) -> None:
        """The operator sets a secret, or the same once more."""
        made = self.grant if key == 0 else self.grant.with_secret(f"made-up-key-{key}")
        self._guard(made.secrets())
        self.machine.replace_credentials(self.now, made)

    @precondition(lambda self: self.machine.state_value.blocks)
    @rule()
    def lift_block(self) -> None:
        """The operator has mended the cause, or thinks so."""
        self.machine.lift_block(self.now)

    @rule(seconds=st.sampled_from([0.0, 1.0, 5.0, 100.0]), secrets=st.booleans())
    def restart(self, seconds: float, secrets: bool) -> None:  # noqa: FBT001 - drawn by keyword
        """The process ends, and another goes on from the snapshot ``seconds`` later."""
        old, saved = self.machine, self.machine.snapshot(self.now, secrets).to_json()
        self.now += seconds
        new = self._watched_class.restore(
            old.grant, Snapshot.from_json(saved), self.now, seconds, policy=self.policy, draw=self._draw
        )
        same = new.request_state(self.now) is old.request_state(self.now)
        self._hold(same, "a restart opens no door, ends no back-off and fills no budget")
        same = new.authorization(self.now) == (old.authorization(self.now) if secrets else None)
        self._hold(same, "a restart keeps the token that was in the snapshot, for as long as it lives")
        self.requests.clear()
        self._use(new)

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
        for min_ttl in _DEMANDS:
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
                fork.receive_response(now, fork.start_request(now), HttpResponse(200, _JSON, _GOOD_TOKEN))
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

    # Behind the rules
    # ----------------

    def _hold(self, holds: bool, law: str) -> None:  # noqa: FBT001 - like assert
        if not holds:
            raise LawBroken(f"{law}, at {self.now}")

    def _end_of(self, wait: Wait, now: float) -> float:
        self._hold(wait.until > now, "Wait.until lies ahead")
        return wait.until

    def _keep(self, request: TokenRequest) -> None:
        self._guard(request.secrets)
        self.requests = [request, *self.requests][:_MOST_REQUESTS]

    def _request(self, which: int) -> TokenRequest:
        """The newest for 0; the oldest that is remembered, if there are fewer."""
        return self.requests[min(which, len(self.requests) - 1)]

    def _is_claim(self, request: TokenRequest) -> bool:
        attempt = self.machine.state_value.attempt
        if attempt is None or not attempt.claimed:
            return False
        return attempt.id == request.id and self.now < attempt.deadline

    def _answer(self, which: int, answer: Callable[[TokenRequest], object]) -> None:
        request, before = self._request(which), self.machine.state_value
        try:
            self._show(answer(request))
        except LocalProtocolError:
            self._hold(self._is_claim(request), "any answer to a request that was sent is taken")
            self._hold(self.machine.state_value == before, "an answer to a claim is refused and changes nothing")

    def _answers(self, machine: TokenMachine, now: float) -> tuple[object, ...]:
        """All that can be asked."""
        asked = (machine.state, machine.freshness, machine.request_state, machine.problem, machine.explain)
        polls = (machine.poll(now, min_ttl) for min_ttl in _DEMANDS)
        return (*(ask(now) for ask in asked), *polls, machine.token(now))

    def _guard(self, secrets: Iterable[str]) -> None:
        """None of these may be shown from now on."""
        self._secrets.update(secret.casefold() for secret in secrets if len(secret) >= _LEAST_SECRET)

    def _show(self, thing: object) -> None:
        shown = f"{thing!r} {thing}".casefold()
        leaks = [secret for secret in self._secrets if secret in shown]
        self._hold(not leaks, f"no secret and no token is shown, as in the text of a {type(thing).__name__}")
