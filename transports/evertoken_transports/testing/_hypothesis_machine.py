"""A Hypothesis state machine around a real TokenMachine: everything that may happen to it, and every law after each.

The rules are the public grammar, in virtual time. They know nothing of how the machine works; what must hold is in
``_hypothesis_laws``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from inspect import isfunction
from typing import cast

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
    TokenMachine,
    TokenRequest,
    Wait,
    mangopay,
)
from evertoken.testing import SMALL_POLICY
from evertoken_transports.testing._hypothesis_laws import DEMANDS, JSON, TICK, Witness
from evertoken_transports.testing._hypothesis_messages import (
    challenges,
    error_responses,
    granted_responses,
    responses,
)

_MOST_REQUESTS = 3

_NOT_TO_BE_SET = {
    "machine": "machine is made by this class, which watches every step of it. To test a class of your own, set"
    " machine_class on the class; to put the machine into an object of your own, override adopt(machine)",
    "policy": "policy is that of the machine, which was made with it: set it on the class, or call begin(policy)",
}

_numbers = st.sampled_from([0.0, 0.25, 0.5, 1 - TICK])
_demands = st.sampled_from([0.0, *DEMANDS])
_which = st.integers(0, _MOST_REQUESTS - 1)
_took = st.sampled_from([0.0, 0.25, 1.0, 3.0])
_early = st.sampled_from([0.0, TICK])
_moments = st.sampled_from(["refresh_at", "fresh_until", "expires_at"])
_kinds = st.sampled_from([BlockKind.LOCKED, BlockKind.REFUSED, BlockKind.RATE_LIMITED])


class TokenMachineStateMachine(RuleBasedStateMachine):
    """Drives a real TokenMachine through its whole grammar, and holds it to every law after every rule.

    It is a test as it is, and a base for one with rules and invariants of one's own, under one's own policy::

        class MySdk(TokenMachineStateMachine):
            policy = Policy(leeway=0, budget_burst=2)

            @invariant()
            def the_sdk_agrees(self) -> None: ...

        TestMySdk = MySdk.TestCase
        TestMySdk.settings = settings(max_examples=30, stateful_step_count=30)

    Rules and invariants find the machine in ``machine``, the moment in ``now``, and the newest requests, answered or
    not, in ``requests``. The rules and the invariant of this class are called ``machine_...``; any other name is yours,
    but for those of the attributes and methods here.

    On the class, set ``policy``, ``grant`` and ``machine_class``. A policy that is drawn goes to :meth:`begin`. Time
    passes by :meth:`pass_time`. An object of your own that holds the machine gets it in :meth:`adopt`, and the time
    from a clock such as ``lambda: self.now``::

            def adopt(self, machine: TokenMachine) -> None:
                self.sdk = Sdk(machine, clock=lambda: self.now)
    """

    policy: Policy = SMALL_POLICY
    """The policy of the machine. Any will do, since time also leaps to the machine's own deadlines."""
    grant: ClientCredentials = mangopay.sandbox("your-client-id", "made-up-key-0")
    """The client and its endpoint. The secrets that replace its own are made up."""
    machine_class: type[TokenMachine] = TokenMachine
    """A subclass of TokenMachine with the same constructor, to be tested in its place."""

    machine: TokenMachine
    now: float
    requests: list[TokenRequest]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name in ("policy", "grant", "machine_class", "machine", "now", "requests"):
            if isfunction(vars(cls).get(name)):
                raise TypeError(
                    f"{cls.__name__}.{name} is a rule or method, and hides the {name} of every"
                    " TokenMachineStateMachine: give it another name"
                )

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.begin(self.policy)

    def __setattr__(self, name: str, value: object) -> None:
        if name in _NOT_TO_BE_SET:
            raise AttributeError(_NOT_TO_BE_SET[name])
        super().__setattr__(name, value)

    # For those who derive from it
    # ----------------------------

    def begin(self, policy: Policy) -> None:
        """Start with a new machine under ``policy``: for an ``@initialize`` rule that draws one.

        The constructor calls it with the ``policy`` of the class.
        """
        vars(self)["policy"] = policy
        self.requests = []
        self.__witness = Witness(self.machine_class, self.grant, policy, lambda: self.now)
        self.__take(self.__witness.machine)

    def adopt(self, machine: TokenMachine) -> None:
        """Called with a ``machine`` that is another one from now on: override it to hand that to an object of your own.

        The first call comes from the constructor of this class, and another after each restart and ``begin``.
        """

    def pass_time(self, seconds: float) -> None:
        """Let ``seconds`` pass, rounded up to a multiple of 2**-10, so that ``now`` stays such a multiple.

        The machine rounds every moment down to such a multiple. So after ``self.now += 0.1`` what it says belongs to a
        moment just before ``now``. The laws hold there too.
        """
        self.now += math.ceil(seconds / TICK) * TICK

    # Time
    # ----

    @rule(seconds=st.sampled_from([1.0, TICK, 0.25, 0.5, 2.0, 5.0, 30.0, 1_000.0]))
    def machine_time_passes(self, seconds: float) -> None:
        """Some time passes, whatever it leads to."""
        self.pass_time(seconds)

    @precondition(lambda self: isinstance(self.machine.poll(self.now), Wait))
    @rule(early=_early)
    def machine_wait_ends(self, early: float) -> None:
        """Time passes to the moment that ``poll`` names, or to just before it."""
        action = self.machine.poll(self.now)
        if isinstance(action, Wait):
            self.now = max(self.now, self.__end_of(action) - early)

    @precondition(lambda self: self.machine.state_value.token is not None)
    @rule(moment=_moments, early=_early)
    def machine_token_ages(self, moment: str, early: float) -> None:
        """Time passes to a moment of the token in hand, or to just before it."""
        reached = cast("float", getattr(self.machine.state_value.token, moment))
        self.now = max(self.now, reached - early)

    # One attempt
    # -----------

    @precondition(lambda self: isinstance(self.machine.poll(self.now), SendRequest))
    @rule(number=_numbers)
    def machine_start_request(self, number: float) -> None:
        """A request is sent."""
        self.__witness.number = number
        self.__keep(self.machine.start_request(self.now))

    @precondition(lambda self: isinstance(self.machine.poll(self.now), SendRequest))
    @rule(number=_numbers, took=_took, response=granted_responses())
    def machine_refresh(self, number: float, took: float, response: HttpResponse) -> None:
        """A request is sent, and brings a token."""
        self.machine_start_request(number)
        self.pass_time(took)
        self.machine_receive_response(0, response)

    @precondition(lambda self: isinstance(self.machine.poll(self.now), SendRequest))
    @rule(number=_numbers, took=_took, response=error_responses())
    def machine_fail(self, number: float, took: float, response: HttpResponse) -> None:
        """A request is sent, and brings no token."""
        self.machine_start_request(number)
        self.pass_time(took)
        self.machine_receive_response(0, response)

    @precondition(lambda self: isinstance(self.machine.poll(self.now), SendRequest))
    @rule(number=_numbers)
    def machine_lose(self, number: float) -> None:
        """A request is sent, and nobody says what became of it, until another may be sent."""
        self.machine_start_request(number)
        while isinstance(action := self.machine.poll(self.now), Wait):
            self.now = self.__end_of(action)

    @rule(min_ttl=_demands, number=_numbers)
    def machine_ask_for_more(self, min_ttl: float, number: float) -> None:
        """Somebody starts a request for a token with ``min_ttl`` left, which is refused out of turn."""
        self.__witness.number = number
        before, allowed = self.machine.state_value, self.machine.poll(self.now, min_ttl)
        try:
            self.__keep(self.machine.start_request(self.now, min_ttl))
        except LocalProtocolError:
            self.__hold(isinstance(allowed, Wait), "a claim that poll allows is granted")
            self.__hold(self.machine.state_value == before, "a claim that is refused changes nothing")

    @precondition(lambda self: self.requests)
    @rule(which=_which, response=granted_responses())
    def machine_receive_token(self, which: int, response: HttpResponse) -> None:
        """The endpoint grants a token: in time, late or twice."""
        self.machine_receive_response(which, response)

    @precondition(lambda self: self.requests)
    @rule(which=_which, response=responses())
    def machine_receive_response(self, which: int, response: HttpResponse) -> None:
        """The endpoint answers anything at all."""
        self.__answer(which, lambda request: self.machine.receive_response(self.now, request, response))

    @precondition(lambda self: self.requests)
    @rule(which=_which, status=st.sampled_from([400, 401, 404, 429, 503]))
    def machine_receive_an_echo(self, which: int, status: int) -> None:
        """The endpoint answers with all that it was sent, and with the token in hand: none of it may be shown."""
        sent = self.__request(which)
        told = f"{self.machine.published[1]} {sent.headers[::-1]} {sent.body.decode('latin-1')}"
        body = json.dumps({"error": "invalid_request", "error_description": told}).encode()
        echo = HttpResponse(status, JSON, body)
        self.__answer(which, lambda request: self.machine.receive_response(self.now, request, echo))

    @precondition(lambda self: self.requests)
    @rule(which=_which)
    def machine_send_failed(self, which: int) -> None:
        """A request did not reach the endpoint, or its answer did not come back."""
        self.__answer(which, lambda request: self.machine.send_failed(self.now, request, "connection reset"))

    @precondition(lambda self: self.requests)
    @rule(which=_which)
    def machine_request_abandoned(self, which: int) -> None:
        """Whoever carried a request has given it up."""
        self.__show(self.machine.request_abandoned(self.now, self.__request(which)))

    # News from elsewhere
    # -------------------

    @precondition(lambda self: self.machine.state_value.token is not None)
    @rule(challenge=challenges(), of_another=st.booleans())
    def machine_token_rejected(self, challenge: Challenge, of_another: bool) -> None:  # noqa: FBT001 - drawn by keyword
        """An API rejects the token in hand, or one that nobody knows."""
        header = self.machine.authorization(self.now)
        rejected = "Bearer of-long-ago" if of_another or header is None else header
        verdict = self.machine.token_rejected(self.now, rejected, challenge)
        kept = self.machine.authorization(self.now) == header
        self.__hold(kept == (verdict is not Rejection.DROPPED), "a token is gone exactly when it was DROPPED")

    @precondition(lambda self: self.machine.state_value.token is not None)
    @rule(of_another=st.booleans())
    def machine_token_worked(self, of_another: bool) -> None:  # noqa: FBT001 - drawn by keyword
        """An API serves a call with the token in hand, or with one that nobody knows."""
        header = self.machine.published[1]
        self.machine.token_worked(self.now, "Bearer of-long-ago" if of_another or header is None else header)

    @rule(kind=_kinds, seconds=st.sampled_from([None, 0.0, 1.0, 100.0]), number=_numbers)
    def machine_endpoint_blocked(self, kind: BlockKind, seconds: float | None, number: float) -> None:
        """An API says that the endpoint is blocked."""
        self.__witness.number = number
        self.machine.endpoint_blocked(self.now, kind, seconds)

    @rule(key=st.integers(0, 2))
    def machine_replace_credentials(self, key: int) -> None:
        """The operator sets a secret, or the same once more."""
        made = self.grant if key == 0 else self.grant.with_secret(f"made-up-key-{key}")
        self.__witness.guard(made.secrets())
        self.machine.replace_credentials(self.now, made)

    @precondition(lambda self: self.machine.state_value.standing)
    @rule()
    def machine_lift_block(self) -> None:
        """The operator has mended the cause, or thinks so."""
        self.machine.lift_block(self.now)

    @rule(seconds=st.sampled_from([0.0, 1.0, 5.0, 100.0]), secrets=st.booleans())
    def machine_restart(self, seconds: float, secrets: bool) -> None:  # noqa: FBT001 - drawn by keyword
        """The process ends, and another goes on from the snapshot ``seconds`` later."""
        old, saved = self.machine, self.machine.snapshot(self.now, secrets).to_json()
        self.pass_time(seconds)
        new = self.__witness.restored(saved, self.now, seconds)
        same = new.request_state(self.now) is old.request_state(self.now)
        self.__hold(same, "a restart ends no block and no back-off, and fills no budget")
        if secrets:
            same = new.snapshot(self.now, secrets=True) == old.snapshot(self.now, secrets=True)
            self.__hold(same, "what was known before a restart is known after it")
        else:
            self.__hold(new.token(self.now) is None, "a snapshot without secrets brings no token back")
        self.requests.clear()
        self.__take(new)

    @invariant()
    def machine_breaks_no_law(self) -> None:
        """Every law holds, after every rule."""
        self.__witness.look(self.requests)

    # Behind the rules. Two underscores, so that a name of a subclass is never one of these.
    # --------------------------------------------------------------------------------------

    def __take(self, machine: TokenMachine) -> None:
        vars(self)["machine"] = machine
        self.adopt(machine)

    def __hold(self, holds: bool, law: str) -> None:  # noqa: FBT001 - like assert
        self.__witness.hold(holds, law)

    def __show(self, thing: object) -> None:
        self.__witness.show(thing)

    def __end_of(self, wait: Wait) -> float:
        return self.__witness.end_of(wait, self.now)

    def __keep(self, request: TokenRequest) -> None:
        self.__witness.guard(request.secrets)
        self.requests = [request, *self.requests][:_MOST_REQUESTS]

    def __request(self, which: int) -> TokenRequest:
        """The request with this number, counted from the newest; the oldest that is remembered if there are fewer."""
        return self.requests[min(which, len(self.requests) - 1)]

    def __answer(self, which: int, answer: Callable[[TokenRequest], object]) -> None:
        self.__show(answer(self.__request(which)))
