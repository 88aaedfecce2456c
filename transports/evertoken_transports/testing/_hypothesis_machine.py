"""A Hypothesis state machine around a real TokenMachine: everything that may happen to it, and every law after each.

The rules are the public grammar, in virtual time. They know nothing of how the machine works; what must hold is in
``_hypothesis_laws``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import cast

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from evertoken import (
    BlockKind,
    Challenge,
    HttpResponse,
    LocalProtocolError,
    Rejection,
    SendRequest,
    SharedRecord,
    Snapshot,
    TokenRequest,
    Wait,
)
from evertoken_transports.testing._hypothesis_laws import DEMANDS, JSON, LawfulMachine
from evertoken_transports.testing._hypothesis_messages import (
    access_tokens,
    challenges,
    error_responses,
    granted_responses,
    responses,
)

__all__ = ("TokenMachineStateMachine",)

_TICK = 2.0**-10
_MOST_REQUESTS = 3

_numbers = st.sampled_from([0.0, 0.25, 0.5, 1 - _TICK])
_demands = st.sampled_from([0.0, *DEMANDS])
_which = st.integers(0, _MOST_REQUESTS - 1)
_took = st.sampled_from([0.0, 0.25, 1.0, 3.0])
_early = st.sampled_from([0.0, _TICK])
_moments = st.sampled_from(["refresh_at", "fresh_until", "expires_at"])
_kinds = st.sampled_from([BlockKind.LOCKED, BlockKind.REFUSED, BlockKind.RATE_LIMITED])


class TokenMachineStateMachine(LawfulMachine):
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
        echo = HttpResponse(status, JSON, body)
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
        if secrets:
            same = new.snapshot(self.now, secrets=True) == old.snapshot(self.now, secrets=True)
            self._hold(same, "what was known before a restart is known after it")
        else:
            self._hold(new.token(self.now) is None, "a snapshot without secrets brings no token back")
        self.requests.clear()
        self._use(new)

    # Behind the rules
    # ----------------

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
