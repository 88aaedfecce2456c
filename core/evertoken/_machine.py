"""TokenMachine: the shell that embedders hold. It keeps one State, checks the grammar, and builds the requests.

It has no clock, no lock and no thread: every method that reads time takes ``now``, and calls must not overlap. The
adapters in ``evertoken_transports`` put a lock around it and do the waiting; a simulator needs neither.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self, cast

from evertoken import _look, _schedule
from evertoken._answer import no_answer, no_secret, read_answer
from evertoken._challenge import Challenge
from evertoken._checks import (
    WrongArgument,
    check_seconds,
    check_type,
    check_whole,
    fault_of_authorization,
    fault_of_text,
    is_moment,
    min_ttl_on_the_grid,
    on_the_grid,
)
from evertoken._grammar import (
    AnswerReceived,
    BlockLifted,
    BlockReported,
    CredentialsReplaced,
    Input,
    Rejection,
    RequestClaimed,
    SendRequest,
    TokenRejected,
    TokenWorked,
    Wait,
)
from evertoken._grant import ClientCredentials, Signing
from evertoken._http import HttpResponse, Seen, TokenRequest, build_request
from evertoken._policy import Policy
from evertoken._problems import LocalProtocolError, Problem
from evertoken._secrecy import Hidden, replace
from evertoken._shared_problems import ASKED_ELSEWHERE, REPORTED
from evertoken._snapshot import Snapshot, read_snapshot, take_snapshot
from evertoken._states import (
    MOST_TIERS,
    AccessToken,
    Attempt,
    BlockKind,
    Freshness,
    RequestState,
    State,
    TokenState,
    first_state,
)
from evertoken._step import settle, step
from evertoken.happenings import Happening, RejectionJudged, RequestEnded
from evertoken.outcomes import Abandoned, Granted, Outcome, Postponed

_MOST_REPLACED = 8
"""Secrets that are no longer in use, and still kept out of what is shown."""
_MOST_ISSUED = 3
"""Tokens that are kept out of it, the latest first. Older ones have expired; and a token may be kilobytes long."""


class TokenMachine:
    """Keeps one valid bearer token for one client, and says when its token endpoint may be asked.

    Args:
        grant: who asks, where, and how.
        policy: every tunable.
        draw: returns a number in [0, 1); the only source of randomness. It is called once in each claim and once in
            each ``endpoint_blocked``. ``random.random`` in a program, a seeded generator in a simulation.
        tiers: how many shared stores (:mod:`evertoken.sharing`) stand between this machine and the endpoint. Each gives
            an attempt ``Policy.store_wait`` more. With any, the waits of the fleet stand in the store: while it is kept
            waiting the machine looks there once a minute at least, and it looks early for a newer token.

    ``now`` is seconds, int or float, from any clock that never runs backwards, with any origin. Inputs may arrive a
    little out of order: the machine keeps the largest ``now`` of any input and treats an earlier one as equal to it.

    Every method rounds ``now`` down to the tick of 2**-10 s that all deadlines lie on, and ``min_ttl`` up; that changes
    no answer. Each raises ValueError if ``now`` is not a finite number below 2**40 in magnitude. Queries change
    nothing, whatever the number of calls; their answers may change after any input, and as time passes.
    """

    __slots__ = (
        "_draw",
        "_grant",
        "_issued",
        "_policy",
        "_replaced",
        "_state",
        "happenings",
        "owner",
        "published",
        "tiers",
    )

    published: _look.Published
    """``(quiet_until, header)``: while ``now < quiet_until``, ``header`` is the Authorization value and nothing else is
    to be done. Replaced whole after each input, so that a reader needs no lock. It speaks for ``min_ttl`` 0; past
    ``quiet_until`` ask :meth:`authorization` and :meth:`poll`."""
    owner: object
    """What this machine's requests are known by (:attr:`TokenRequest.owner`). Its forks have the same one."""
    happenings: tuple[Happening, ...]
    """What came of the latest input, in order; see :mod:`evertoken.happenings`. Replaced by the next input."""

    tiers: int
    """How many shared stores stand between this machine and the endpoint."""

    def __init__(
        self, grant: ClientCredentials, *, policy: Policy | None = None, draw: Callable[[], float], tiers: int = 0
    ) -> None:
        check_type("grant", grant, ClientCredentials)
        self._grant = grant
        self._policy = Policy() if policy is None else policy
        check_type("policy", self._policy, Policy)
        check_whole("tiers", tiers, 0, MOST_TIERS)
        if not callable(draw):
            raise WrongArgument(f"draw must be a function that returns a number in [0, 1), not {type(draw).__name__}")
        self._draw = draw
        self.tiers = tiers
        self.owner = object()
        self.happenings = ()
        self._replaced: tuple[str, ...] = ()
        self._issued: tuple[str, ...] = ()
        self._become(first_state(self._policy))

    def __repr__(self) -> str:
        return f"<TokenMachine for {self._grant.client_id} at {self._grant.endpoint.url}>"

    @property
    def grant(self) -> ClientCredentials:
        """What is asked of whom. Changes with :meth:`replace_credentials`."""
        return self._grant

    @property
    def policy(self) -> Policy:
        """The tunables. Never changes."""
        return self._policy

    @property
    def state_value(self) -> State:
        """The whole state as one frozen, hashable value, for simulators and explorers. It holds the token."""
        return self._state

    # Queries
    # -------

    def settled(self, now: float) -> State:
        """The whole state as it stands at ``now``: what time alone does is done in it, and every query reads it.

        Queries that belong together cost less when they are asked of one such state.
        """
        return settle(self._policy, self._state, on_the_grid(now))

    def authorization(self, now: float, min_ttl: float = 0.0) -> str | None:
        """The value for an ``Authorization`` header, or None if there is no token with ``min_ttl`` seconds left.

        "Left" is counted to the moment from which the token is no longer handed out. A live token is handed out
        whatever the endpoint's state. RFC 6750 section 2.1.
        """
        token = self.token(now, min_ttl)
        return None if token is None else token.authorization

    def token(self, now: float, min_ttl: float = 0.0) -> AccessToken | None:
        """The same token with all its moments, or None where :meth:`authorization` says None."""
        state, min_ttl = self.settled(now), min_ttl_on_the_grid(min_ttl)
        token = state.token
        return token if token is not None and state.now < token.fresh_until - min_ttl else None

    def freshness(self, now: float) -> Freshness:
        """How good the token in hand is."""
        return _look.freshness(self.settled(now))

    def request_state(self, now: float) -> RequestState:
        """Whether the token endpoint may be asked, is being asked, or must be left alone."""
        return _look.request_state(self.settled(now))

    def state(self, now: float) -> TokenState:
        """The one word that people read: the freshness, or BLOCKED while the endpoint is not to be asked."""
        state = self.settled(now)
        return _look.one_word(_look.freshness(state), _look.request_state(state))

    def poll(self, now: float, min_ttl: float = 0.0) -> SendRequest | Wait:
        """What to do next: a permission to start a request, or a wait whose ``until`` always lies ahead.

        ``min_ttl`` is in seconds, and counts up to half of a token's usable life; above that it is treated as 0.
        Level-triggered: asking twice changes nothing, and no answer is lost by not acting on it.
        """
        return _look.decide(self.settled(now), min_ttl_on_the_grid(min_ttl))

    def problem(self, now: float) -> Problem | None:
        """Why there is no token, or why the last attempt failed; None when nothing is wrong.

        While blocks stand, that of the gravest: a lock, a refusal or an unclear answer before a rate limit.
        """
        return _look.problem_of(self.settled(now))

    def explain(self, now: float) -> _look.Explanation:
        """All of it: state, deadlines, budget left, the last problem. Redacted and printable."""
        return _look.explain(self._grant, self._policy, self.settled(now))

    # Inputs: one attempt
    # -------------------

    def start_request(self, now: float, min_ttl: float = 0.0, *, signing: Signing | None = None) -> TokenRequest:
        """Claim the one slot and get the request to send. Its clock starts and the budget is charged now.

        Report what came of it with exactly one of :meth:`receive_response`, :meth:`send_failed`,
        :meth:`request_postponed` and :meth:`request_abandoned`; unreported, it is lost at its deadline.

        Where the client's secret is a callable, the request ``asks``: call ``grant.secret_source``, then
        :meth:`secret_told` or :meth:`secret_failed`. It has a ``Policy.request_timeout`` more for that.

        ``signing`` is for a client authentication that signs, and for no other.

        Raises:
            LocalProtocolError: :meth:`poll` with the same arguments does not say SendRequest, or ``signing`` is
                missing. Nothing has changed.
        """
        now, min_ttl = on_the_grid(now), min_ttl_on_the_grid(min_ttl)
        action = self.poll(now, min_ttl)
        if isinstance(action, Wait):
            raise LocalProtocolError(f"no token request may be started now: wait ({action.reason.value})")
        asks = self._grant.secret_source is not None
        happened = RequestClaimed(now, self._drawn(), min_ttl, self.tiers, asks)
        state, happenings = step(self._policy, self._state, happened)
        request = self._request(self._grant, cast("Attempt", state.attempt), signing, asks=asks)
        self.stepped(happened, state, happenings)
        return request

    def secret_told(
        self, now: float, request: TokenRequest, secret: str, *, signing: Signing | None = None
    ) -> TokenRequest | None:
        """The client's secret is ``secret``, as ``grant.secret_source`` says, that ``request`` asks for.

        Returns the request to send, with ``Policy.request_timeout`` to its deadline. Told twice for one attempt, the
        later secret counts. A change counts as :meth:`replace_credentials`.

        None if nothing is to be sent: the attempt is over, or the endpoint still refuses this very secret. That is
        looked at once a minute (six times ``Policy.store_wait``); it costs nothing and counts as no failure. Where the
        callable was replaced meanwhile, what it said is no longer of use: the new credentials are used.

        Raises:
            ValueError: ``secret`` can be none. Nothing has changed: tell it by :meth:`secret_failed`.
            LocalProtocolError: the request is another machine's, or ``signing`` is missing.
        """
        fault = fault_of_text("the secret", secret)
        hidden = Hidden("" if fault is not None else secret)
        del secret  # Error trackers show the local variables of every frame.
        now = on_the_grid(now)
        self._check_owner(request)
        if fault is not None:
            raise ValueError(fault)
        attempt = self.settled(now).attempt
        if attempt is None or attempt.id != request.id:
            return None
        if request.grant is not None and self._grant.secret_source != request.grant.secret_source:
            hidden = Hidden(self._grant.client_secret)
            if self._grant.secret_source is not None:  # Another callable, which the next request asks.
                self._answer(now, request, Abandoned())
                return None
        is_known = self._grant.client_secret == hidden.reveal()
        told = self._grant if is_known else self._grant.with_secret(hidden.reveal())
        deadline = min(attempt.deadline, now + _schedule.attempt_seconds(self._policy, self.tiers, asks=False))
        signed = replace(self._request(told, attempt._replace(deadline=deadline), signing), asked_at=now)
        self.happenings = ()
        if not is_known:
            is_first = not self._grant.client_secret
            self._replaced = (*self._grant.secrets(), *self._replaced)[:_MOST_REPLACED]
            self._grant = told
            if not is_first:  # That replaces none.
                self._step(CredentialsReplaced(now, request.id))
        if self.tiers or self._state.unblock_at <= self._state.now:
            return signed
        before, until = self.happenings, min(self._state.unblock_at, now + _schedule.longest_look(self._policy))
        self._answer(now, request, Postponed(on_the_grid(until), self.problem(now) or ASKED_ELSEWHERE))
        self.happenings = before + self.happenings
        return None

    def secret_failed(self, now: float, request: TokenRequest, reason: str | Outcome) -> Outcome:
        """The client's secret could not be had; ``reason`` is for people. A failure, of which nothing is charged.

        Raises as :meth:`receive_response`.
        """
        read = reason if isinstance(reason, Outcome) else self.read_no_secret(request, reason)
        del reason
        return self._answer(on_the_grid(now), request, read)

    def read_response(self, request: TokenRequest, response: HttpResponse) -> Outcome:
        """What ``response`` says, without consequences: hand it to :meth:`receive_response` instead of the response.

        For who keeps a lock around the machine. To read a long answer takes long, and this needs no lock: it looks at
        nothing that is ever changed in place.
        """
        if not isinstance(response, HttpResponse):
            wrong = _wrong_response(response)
            del response  # Perhaps with a token in it; error trackers show the local variables of every frame.
            raise wrong
        seen = response.seen
        if seen is not None and seen.read is not None:
            return seen.read
        return read_answer(self._grant, response, max_body=self._policy.max_body, secrets=self._secrets(request))

    def read_failure(self, request: TokenRequest, reason: str, *, is_bug: bool = False) -> Outcome:
        """The same for :meth:`send_failed`. ``is_bug``: the fault is in code, and the network has no part in it."""
        return no_answer(self._grant, str(reason), self._secrets(request), is_bug=is_bug)

    def read_no_secret(self, request: TokenRequest, reason: str, *, is_bug: bool = False) -> Outcome:
        """The same for :meth:`secret_failed`."""
        return no_secret(self._grant, str(reason), self._secrets(request), is_bug=is_bug)

    def receive_response(
        self, now: float, request: TokenRequest, response: HttpResponse | Outcome, seen: Seen | None = None
    ) -> Outcome:
        """The endpoint answered. Any bytes give exactly one outcome, and never an exception.

        Late and duplicate answers are recognised by the request's id; most of them are ``Ignored``. ``seen`` is the
        response's own; it is an argument for who has had the response read already.

        Raises:
            LocalProtocolError: the request is another machine's, or one of the machine that a snapshot was taken of.
                Nothing has changed.
        """
        now = on_the_grid(now)
        if isinstance(response, HttpResponse):
            seen, response = response.seen, self.read_response(request, response)
        elif not isinstance(response, Outcome):
            wrong = _wrong_response(response)
            del response
            raise wrong
        return self._answer(now, request, response, seen)

    def send_failed(self, now: float, request: TokenRequest, reason: str | Outcome) -> Outcome:
        """The request did not get there, or its answer did not get back; ``reason`` is for people.

        Raises as :meth:`receive_response`.
        """
        read = reason if isinstance(reason, Outcome) else self.read_failure(request, reason)
        del reason  # It may quote a secret, and error trackers show local variables.
        return self._answer(on_the_grid(now), request, read)

    def request_abandoned(self, now: float, request: TokenRequest) -> Outcome:
        """Whoever carried the request gave up; nobody knows whether the server acted.

        It costs nothing but its budget.
        Raises as :meth:`receive_response`.
        """
        return self._answer(on_the_grid(now), request, Abandoned())

    def request_postponed(
        self, now: float, request: TokenRequest, until: float, problem: Problem | None = None
    ) -> Outcome:
        """Nothing was sent: a shared store says that another process is asking, or that nobody may ask now.

        The slot is free, the charge is given back, and no counter moves. It is looked at again at ``until``, which is
        brought into the next minute (six times ``Policy.store_wait``) unless there is a good token till then.
        ``problem`` is what callers are told who cannot wait. Raises as :meth:`receive_response`.
        """
        now, until = on_the_grid(now), on_the_grid(until)
        return self._answer(now, request, Postponed(until, problem or ASKED_ELSEWHERE))

    # Inputs: news from elsewhere
    # ---------------------------

    def token_rejected(self, now: float, authorization: str, challenge: Challenge) -> Rejection:
        """An API refused a call that carried ``authorization``; ``challenge`` is what ``read_challenge`` made of it.

        Only TOKEN and UNKNOWN speak of the token; anything else is ``KEPT`` and changes nothing. After DROPPED and
        SUPERSEDED the call may be repeated once, with whatever token there is then.

        Raises:
            LocalProtocolError: ``authorization`` is not the value of a header, with its scheme.
        """
        hidden, fault = Hidden(authorization), fault_of_authorization(authorization)
        del authorization  # Error trackers show local variables; this one is the token.
        if fault is not None:
            raise LocalProtocolError(fault)
        happened = TokenRejected(on_the_grid(now), hidden.reveal(), challenge)
        check_type("challenge", challenge, Challenge)
        if challenge not in (Challenge.TOKEN, Challenge.UNKNOWN):
            self.happenings = (RejectionJudged(Rejection.KEPT),)
            return Rejection.KEPT
        return cast("RejectionJudged", self._step(happened)[-1]).verdict

    def token_worked(self, now: float, authorization: str) -> None:
        """An API served a call that carried ``authorization``. Once for each token is enough; more cost nothing.

        A token that has worked is dropped at once when an API rejects it, up to ``Policy.rejection_burst`` times in a
        row, and tokens that work are what ends such a row. Raises as :meth:`token_rejected`.
        """
        hidden, fault = Hidden(authorization), fault_of_authorization(authorization)
        del authorization
        if fault is not None:
            raise LocalProtocolError(fault)
        self._step(TokenWorked(on_the_grid(now), hidden.reveal()))

    def endpoint_blocked(self, now: float, kind: BlockKind, seconds: float | None = None) -> None:
        """An API says that the account is LOCKED; or somebody who shares it knows of a refusal or a rate limit.

        ``seconds`` is how much longer, where that is known; it is capped and spread like any stated wait. A report of a
        block that stands already never doubles it.

        Raises:
            LocalProtocolError: ``kind`` is UNCLEAR, which is true of one host only and never shared.
        """
        now = on_the_grid(now)
        if kind not in REPORTED:
            raise LocalProtocolError(f"endpoint_blocked: kind must be LOCKED, REFUSED or RATE_LIMITED, not {kind}")
        if seconds is not None:
            check_seconds("seconds", seconds)
        self._step(BlockReported(now, kind, seconds, self._drawn(), self.tiers))

    def replace_credentials(self, now: float, credentials: ClientCredentials) -> None:
        """Use another secret from now on. The live token is kept; the same secret again changes nothing.

        Refused and unclear blocks end, together at most three times between grants; a lock once, a rate limit never.
        More is :meth:`lift_block`.

        Raises:
            LocalProtocolError: ``credentials`` are another client's, or for another endpoint, scope or audience: that
                is another machine.
        """
        now = on_the_grid(now)
        check_type("credentials", credentials, ClientCredentials)
        if not self._grant.same_client(credentials):
            raise LocalProtocolError(
                "replace_credentials: endpoint, client id and parameters must stay; another client is another machine"
            )
        self.happenings = ()
        if not self._grant.same_proof(credentials):
            self._replaced = (*self._grant.secrets(), *self._replaced)[:_MOST_REPLACED]
            self._grant = credentials
            self._step(CredentialsReplaced(now))

    def lift_block(self, now: float) -> None:
        """The operator's word, after mending the cause: all blocks are over. Our own back-off and the budget stay.

        A wait that a failed answer stated (Retry-After) ends too, down to our own back-off.
        """
        self._step(BlockLifted(on_the_grid(now)))

    # Keeping and copying
    # -------------------

    def snapshot(self, now: float, secrets: bool = False) -> Snapshot:  # noqa: FBT001, FBT002 - the design's spelling
        """The state as it stands at ``now``, fit to be kept as JSON. With ``secrets``, the token is in it.

        Save one after :meth:`start_request`, before the request is sent, and one after each outcome or report. Then
        no crash loop asks more often than the budget allows; an older one gives back what was spent since, every time.

        An attempt in flight is in it too. Restored, it holds its slot until it is lost at its deadline: its answer
        comes to a process that has gone. The first snapshot of a grant takes some 20 ms, for the key that
        seals it.
        """
        return take_snapshot(self._grant, self._policy, self.settled(now), secrets=secrets)

    @classmethod
    def restore(
        cls,
        grant: ClientCredentials,
        snapshot: Snapshot,
        now: float,
        elapsed: float = 0.0,
        *,
        policy: Policy | None = None,
        draw: Callable[[], float],
        tiers: int = 0,
    ) -> Self:
        """A machine that goes on where ``snapshot`` was taken, ``elapsed`` seconds ago.

        The clock of ``now`` may be another one than the snapshot's. ``elapsed`` is what a wall clock says, and 0 where
        that was set back. Too small, it keeps blocks and a token in hand for longer than is right; too large, it
        ends blocks and fills the budget early. No wait is longer than this ``policy`` could have made it.

        A snapshot without secrets holds all but the token; ``poll`` calls that REJECTED. A snapshot that was not sealed
        under the secret and the parameters of ``grant``, or was changed since, is believed about the budget alone, and
        ``explain`` says so. Without a client secret no token is kept. Raises ValueError if it is another client's.
        """
        if (kind := type(snapshot)) is not Snapshot:
            del snapshot  # It may be the text, with the token in it.
            raise TypeError(f"snapshot must be a Snapshot, not {kind.__name__}: Snapshot.from_json reads one")
        machine = cls(grant, policy=policy, draw=draw, tiers=tiers)
        now = on_the_grid(now)
        check_seconds("elapsed", elapsed)
        machine._become(read_snapshot(grant, machine.policy, snapshot, now, elapsed))
        return machine

    def fork(self, draw: Callable[[], float] | None = None) -> TokenMachine:
        """A machine of its own in the same state, with ``draw`` or the same one.

        It is a plain TokenMachine: a :meth:`stepped` that was overridden is not called there. The request in flight may
        be answered in both.
        """
        draw = self._draw if draw is None else draw
        twin = TokenMachine(self._grant, policy=self._policy, draw=draw, tiers=self.tiers)
        twin._replaced, twin._issued = self._replaced, self._issued
        twin.owner = self.owner
        twin._become(self._state)
        return twin

    def stepped(self, happened: Input, after: State, happenings: tuple[Happening, ...]) -> None:  # noqa: ARG002
        """Every input passes here, once: ``happened`` leads from ``state_value`` to ``after``, and to ``happenings``.

        For simulators that look on: override it, check the step or write it down, and call this one.
        """
        self.happenings = happenings
        self._become(after)

    # Behind the grammar
    # ------------------

    def _request(
        self, grant: ClientCredentials, attempt: Attempt, signing: Signing | None, *, asks: bool = False
    ) -> TokenRequest:
        token, started = self._state.token, attempt.started
        held = token if token is not None and started < token.fresh_until else None
        return replace(
            build_request(grant, attempt.id, attempt.deadline, signing, asks=asks),
            max_body=self._policy.max_body,
            shunned=tuple([entry.digest for entry in self._state.rejections.dropped]),
            owner=self.owner,
            policy=self._policy,
            held=held,
            demanded=held is not None and started < held.refresh_at,
        )

    def _secrets(self, request: TokenRequest) -> tuple[str, ...]:
        """What no text about ``request`` may show: what it carried, what the next will, and what was in use lately."""
        check_type("request", request, TokenRequest)
        return tuple(dict.fromkeys((*request.secrets, *self._grant.secrets(), *self._replaced, *self._issued)))

    def _keep_from_view(self, token: str) -> None:
        """Keep ``token`` out of every text that is shown from now on: a server may repeat it, also in a late answer."""
        self._issued = tuple(dict.fromkeys((token, *self._issued)))[:_MOST_ISSUED]

    def _answer(self, now: float, request: TokenRequest, answer: Outcome, seen: Seen | None = None) -> Outcome:
        self._check_owner(request)
        if seen is None and request.asked_at is not None:
            seen = Seen(request.asked_at)
        if isinstance(answer, Granted):  # Also one that is not taken may be valid.
            self._keep_from_view(answer.access_token)
        return cast("RequestEnded", self._step(AnswerReceived(now, request.id, answer, seen))[-1]).outcome

    def _check_owner(self, request: TokenRequest) -> None:
        check_type("request", request, TokenRequest)
        if request.owner is not self.owner:
            raise LocalProtocolError(
                "this token request was made by another machine, or by the one that this one was restored from: its"
                " answer must not be told here"
            )

    def _drawn(self) -> float:
        number = self._draw()
        if not is_moment(number) or not 0.0 <= number < 1.0:  # A Fraction could be drawn, and not be written down.
            raise LocalProtocolError("draw() must return an int or float in [0, 1)")
        return float(number)

    def _step(self, happened: Input) -> tuple[Happening, ...]:
        after, happenings = step(self._policy, self._state, happened)
        self.stepped(happened, after, happenings)
        return happenings

    def _become(self, state: State) -> None:
        if state.token is not None and state.token.value not in self._issued:
            self._keep_from_view(state.token.value)
        self._state = state
        self.published = _look.publish(self._policy, state)


def _wrong_response(response: object) -> WrongArgument:
    return WrongArgument(f"response must be an HttpResponse, not {type(response).__name__}")
