"""The authorization server: a pure model of Mangopay's token endpoint and of the API that its tokens open.

It has no clock and no entropy of its own. ``now`` is an input, seconds on any clock that does not run backwards, int or
float; tokens follow from a seed. The same requests at the same moments give the same answers, bytes and log.

What it holds to be true is apart from what it answers: a token whose answer was lost on the way is valid all the same,
and so is a token that a faulty API rejects. Checks ask for the truth (``is_valid``, ``tokens``), clients see answers
only, and the log of arrivals is the evidence for both.
"""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache

from evertoken import mangopay
from evertoken._grant import ClientCredentials
from evertoken._http import HttpResponse
from evertoken._secrecy import Unpicklable
from evertoken.testing.server._answers import (
    API_FINE,
    JSON,
    TOKEN_FINE,
    WHOLE,
    Draft,
    Lines,
    ServerAnswer,
    ServerRequest,
    api_fault,
    delivered,
    forbidden,
    grant_refusal,
    granted,
    locked,
    not_a_post,
    not_found,
    oauth_error,
    over_the_limit,
    sca,
    token_fault,
    token_invalid,
)
from evertoken.testing.server._arrivals import API, BASIC, BEARER, TOKEN, VALID, Arrival, TokenRecord, TokenTruth
from evertoken.testing.server._faults import ApiFault, TokenFault
from evertoken.testing.server._head import Head, WallClock
from evertoken.testing.server._logbook import Censor, Logbook, Reply, Visit, identity
from evertoken.testing.server._meters import OveruseMeter, RateMeter, WorkMeter
from evertoken.testing.server._register import ApiKeys, Proof, TokenRegister
from evertoken.testing.server._routes import Place, Router
from evertoken.testing.server._script import ApiBehaviour, Script, Segment, TokenBehaviour

_FAIR = Script()
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS", "TRACE")

_REMEMBERED = 128
"""How many different requests, and how many texts for the log, are remembered once they have been worked out."""
_OLD_KEYS = 32
"""How many of the API keys that are gone are still kept out of the log."""


class AuthorizationServer(Unpicklable):
    """The model. Copying it (``copy.copy``, ``copy.deepcopy``) forks it: both go on from here, each by itself.

    Args:
        client_id: whose account it is.
        api_key: the first API key of that account. Kept out of every repr.
        script: what the server does, and when.
        seed: the number from which, with its own number, the text of each token follows.
        token_prefix: how every token, and every other secret that it sends, begins, so that a leak can be found.
        start: the moment, on the clock of ``now``, from which the times of the script count.
        epoch: the Unix time at ``now`` 0, for Date and X-RateLimit-Reset; None for answers without these headers, but
            for the few that make no sense without a Date: those carry a made-up one.
        keep_arrivals: how many of the newest arrivals the log keeps at least; None for all.

    It is not to be used from several threads at once. It refuses to be pickled, since it holds keys and tokens.

    Raises:
        ValueError: an argument cannot be used; the text names it and shows no secret.
    """

    def __init__(
        self,
        client_id: str,
        api_key: str,
        *,
        script: Script = _FAIR,
        seed: int = 0,
        token_prefix: str = "tok",
        start: float = 0,
        epoch: float | None = None,
        keep_arrivals: int | None = None,
    ) -> None:
        self._log = Logbook(math.inf if keep_arrivals is None else keep_arrivals)
        self._secrets: tuple[str, ...] = (api_key,)
        del api_key  # Error trackers show the local variables of every frame.
        if not client_id:
            raise ValueError("client_id must not be empty")
        if keep_arrivals is not None and keep_arrivals < 1:
            raise ValueError(f"keep_arrivals must be at least 1, or None for all, not {keep_arrivals}")
        self._register = TokenRegister(seed, token_prefix)
        self._client_id = client_id
        self._use_keys(self._secrets)
        self._work = WorkMeter()
        self._overuse = OveruseMeter(script.overuse)
        self._start = start
        self._clock = WallClock(start, epoch)
        self._token_queue = deque(script.first_token_requests)
        self._api_queue = deque(script.first_api_calls)
        self.replace_script(script)

    # What happens to it.

    def handle(self, now: float, request: ServerRequest) -> ServerAnswer:
        """The answer to ``request``, which arrives whole at ``now``. No request makes it raise."""
        place, proof, request_id = self._understood(request.path, tuple(request.headers))
        within = self._rates.count(now) or not self._script.enforce_rate_limits
        visit = Visit(now, request, place, proof, request_id, within)
        if place.route is API:
            reply = self._api_call(visit)
        elif place.route is TOKEN:
            reply = self._token_request(visit)
        else:
            reply = Reply(not_found(self._clock.at(now)))
        self._log.write(visit, reply, self._shown)
        return self._answer(now, reply)

    def next_token_requests(self, *behaviours: TokenBehaviour) -> None:
        """The next token requests to arrive are treated like this, one each, whatever the phase."""
        self._token_queue.extend(behaviours)

    def next_api_calls(self, *behaviours: ApiBehaviour) -> None:
        """The next API calls to arrive are treated like this, one each, whatever the phase."""
        self._api_queue.extend(behaviours)

    def replace_script(self, script: Script) -> None:
        """From now on ``script`` says what happens; its times count from ``start`` like those of the first one.

        Tokens, log, lock and the one-shots that are left stay. One-shots of the new script are not taken over, and its
        revocations are for tokens issued from now on.
        """
        self._script = script
        self._segment = Segment(math.inf, math.inf, script.token, script.api)
        self._overuse = self._overuse.copy(script.overuse)
        self._rates = RateMeter(script.rate_limits, self._start)

    def set_api_key(self, api_key: str) -> None:
        """Rotate: ``api_key`` is the only one from now on. Tokens issued before stay valid."""
        self._use_keys((api_key,))

    def add_api_key(self, api_key: str) -> None:
        """From now on ``api_key`` is accepted too."""
        self._use_keys((*self._keys.keys, api_key))

    def revoke_api_key(self, api_key: str) -> None:
        """From now on ``api_key`` is refused. Tokens issued before stay valid.

        Raises:
            ValueError: it is the last one.
        """
        left = tuple(key for key in self._keys.keys if key != api_key)
        del api_key
        self._use_keys(left)

    def revoke(self, now: float, token: str | int) -> bool:
        """Revoke one token, given by its text or its number; False if it is not valid at ``now`` anyway."""
        return self._register.revoke(now, self._register.number(token) if isinstance(token, str) else token)

    def revoke_all(self, now: float) -> int:
        """Revoke every token that is valid at ``now``, and say how many."""
        return self._register.revoke_all(now)

    # What it knows. Changed by the methods above only.

    @property
    def arrivals(self) -> Sequence[Arrival]:
        """The log, oldest first. A live view: take a copy to keep it, and do not change it."""
        return self._log.arrivals

    @property
    def tokens(self) -> Sequence[TokenRecord]:
        """Every token ever issued; number ``n`` stands at ``n - 1``. A live view: do not change it."""
        return self._register.records

    @property
    def script(self) -> Script:
        """The script in force."""
        return self._script

    @property
    def start(self) -> float:
        """The moment from which the times of the script count."""
        return self._start

    @property
    def lock_count(self) -> int:
        """How often the overuse rule has locked the account."""
        return self._overuse.locks

    @property
    def locked_until(self) -> float:
        """The moment at which the latest lock by the overuse rule ends or ended; ``-math.inf`` if there was none."""
        return self._overuse.locked_until

    def is_valid(self, now: float, token: str) -> bool:
        """Whether ``token`` is good at ``now``: issued, not expired, not revoked."""
        return self.truth(now, token) is VALID

    def unix_time(self, now: float) -> float:
        """The server's own idea of the time at ``now``, as its ``Date`` lines say it."""
        return self._clock.at(now)

    def truth(self, now: float, token: str) -> TokenTruth:
        """What ``token`` is at ``now``."""
        return self._register.truth(now, self._register.number(token))

    def token_number(self, token: str) -> int | None:
        """The number of ``token``; None if it was never issued."""
        return self._register.number(token)

    def applied(self, method: str, path: str, body: bytes = b"") -> int:
        """How often a call with this method (other than a safe one), path (without query) and body was carried out."""
        return self._work.done(method, path, body)

    def grant(self, base_url: str) -> ClientCredentials:
        """The grant of a client of this account, with its newest API key, that reaches the server at ``base_url``."""
        return mangopay.sandbox(self._client_id, self._keys.keys[-1], base_url=base_url)

    def __repr__(self) -> str:
        return f"<AuthorizationServer: {self._log.seq} arrivals>"

    def __copy__(self) -> AuthorizationServer:
        twin = object.__new__(type(self))
        vars(twin).update(vars(self))
        twin._register = copy.copy(self._register)
        twin._log = self._log.copy()
        twin._work = self._work.copy()
        twin._rates = self._rates.copy()
        twin._overuse = self._overuse.copy(self._script.overuse)
        twin._token_queue = self._token_queue.copy()
        twin._api_queue = self._api_queue.copy()
        return twin

    def __deepcopy__(self, memo: object) -> AuthorizationServer:
        # Everything that the copies still share is immutable, or remembers what is the same for all of them.
        return copy.copy(self)

    # The token endpoint.

    def _token_request(self, visit: Visit) -> Reply:
        now = visit.now
        behaviour = self._token_queue.popleft() if self._token_queue else self._at(now).token
        is_locked = self._overuse.request(now)
        draft, detail = None, ""
        if behaviour.fault is not TOKEN_FINE:
            draft = token_fault(behaviour, self._clock.at(now))
            if behaviour.fault is TokenFault.INVALID_CLIENT:
                self._overuse.refusal(now)
        if draft is None:
            draft, detail = self._refusal(visit, is_locked=is_locked)
        if draft is None:
            return self._issue(now, behaviour)
        return Reply(draft, behaviour.latency_before + behaviour.latency_after, behaviour, detail=detail)

    def _refusal(self, visit: Visit, *, is_locked: bool) -> tuple[Draft | None, str]:
        if is_locked:
            return locked(), "locked"
        if not visit.within:
            return over_the_limit(self._clock.at(visit.now)), "over the rate limit"
        if visit.request.method != "POST":
            return not_a_post(self._clock.at(visit.now)), "not a POST"
        if visit.proof.kind is not BASIC:
            if self._overuse.refusal(visit.now):
                return locked(), "locked"
            return oauth_error(401, "invalid_client"), "wrong credentials"
        return grant_refusal(visit.request.body)

    def _issue(self, now: float, behaviour: TokenBehaviour) -> Reply:
        fault, pause = behaviour.fault, behaviour.latency_after
        issued_at = now + behaviour.latency_before
        lifetime = behaviour.lifetime or self._script.lifetime
        expires_in: int | None = lifetime
        if fault is not TOKEN_FINE:
            if fault is TokenFault.SAME_TOKEN and (newest := self._register.newest(issued_at)) is not None:
                return self._repeat(issued_at, behaviour, newest)
            if fault is TokenFault.DEAD_ON_ARRIVAL:
                lifetime, expires_in, pause = 1, 1, max(1.0, pause)
            elif fault is TokenFault.NO_EXPIRES_IN:
                expires_in = None
        number, text = self._register.issue(issued_at, lifetime, self._revocation_after(issued_at))
        draft = delivered(granted(text, expires_in), fault)
        return Reply(draft, behaviour.latency_before + pause, behaviour, number)

    def _repeat(self, issued_at: float, behaviour: TokenBehaviour, token: TokenRecord) -> Reply:
        draft = granted(self._register.text(token.number), int(token.expires_at - issued_at))
        delay = behaviour.latency_before + behaviour.latency_after
        return Reply(draft, delay, behaviour, token.number, detail="the same token again")

    def _revocation_after(self, issued_at: float) -> float | None:
        if not self._script.revocations:
            return None
        revoked_at = self._script.revocation_after(issued_at - self._start)
        return None if revoked_at is None else self._start + revoked_at

    # The API.

    def _api_call(self, visit: Visit) -> Reply:
        now, proof, number, truth = visit.now, visit.proof, None, None
        behaviour = self._api_queue.popleft() if self._api_queue else self._at(now).api
        if proof.kind is BEARER:
            number = self._register.number(proof.token)
            truth = self._register.truth(now, number)
        fair = truth is VALID and behaviour.fault is API_FINE and visit.within and visit.place.is_own
        draft, detail = (None, "") if fair else self._denial(visit, truth, behaviour)
        if draft is not None:
            return Reply(draft, behaviour.latency, behaviour, number, truth, detail)
        draft = self._carry_out(visit, number, behaviour.fault)
        return Reply(draft, behaviour.latency, behaviour, number, truth, "", applied=True)

    def _denial(self, visit: Visit, truth: TokenTruth | None, behaviour: ApiBehaviour) -> tuple[Draft | None, str]:
        wall = self._clock.at(visit.now)
        draft = api_fault(behaviour, wall)
        if draft is not None:
            return draft, ""
        if not visit.within:
            return over_the_limit(wall), "over the rate limit"
        if not visit.place.is_own:
            return token_invalid(wall), "another client id in the path"
        if truth is not VALID:
            return token_invalid(wall), "no valid token"
        if behaviour.fault is ApiFault.SCA:
            return sca(self._register.secret(f"sca/{self._log.seq}")), "strong customer authentication"
        if behaviour.fault is ApiFault.FORBIDDEN:
            return forbidden(wall), "forbidden"
        return None, ""

    def _carry_out(self, visit: Visit, number: int | None, fault: ApiFault) -> Draft:
        request = visit.request
        if request.method not in _SAFE_METHODS:
            self._work.count(request.method, visit.place.path, request.body)
        draft = Draft(200, JSON, f'{{"Call":{self._log.seq},"TokenNumber":{number}}}'.encode())
        return draft if fault is API_FINE else delivered(draft, fault)

    # What both have in common.

    def _at(self, now: float) -> Segment:
        elapsed = now - self._start
        if not self._segment.since <= elapsed < self._segment.until:
            self._segment = self._script.segment(elapsed)
        return self._segment

    def _use_keys(self, keys: tuple[str, ...]) -> None:
        if not keys or not all(keys):
            del keys
            raise ValueError("api_key must not be empty, and the last one cannot be revoked: set another one instead")
        # Keys that are gone are kept out of the log as well, but only the latest: each costs time at every entry.
        old = [key for key in self._secrets if key not in keys]
        self._secrets = (*old[-_OLD_KEYS:], *keys)
        self._keys = ApiKeys(self._client_id, keys)
        self._shown = lru_cache(_REMEMBERED)(Censor((self._register.mark, *self._secrets)).shown)
        self._understood = lru_cache(_REMEMBERED)(_reader(self._keys, Router(self._client_id, self._shown)))

    def _answer(self, now: float, reply: Reply) -> ServerAnswer:
        draft = reply.draft
        if draft.status is None:
            return ServerAnswer(reply.delay, None, draft.delivery)
        head = Head(draft, now, self._clock, self._rates.windows, self._rates.total)
        response = _response(draft.status, head, draft.body)
        if reply.behaviour is None or draft.delivery is WHOLE:
            return ServerAnswer(reply.delay, response)
        pace, cut_after = reply.behaviour.bytes_per_second, reply.behaviour.cut_after
        return ServerAnswer(reply.delay, response, draft.delivery, pace, cut_after)


def _reader(keys: ApiKeys, router: Router) -> Callable[[str, Lines], tuple[Place, Proof, str | None]]:
    """A function that reads where a request goes, who sends it, and which call it is.

    None of this depends on the moment, so the server remembers the results.
    """

    def understood(path: str, headers: Lines) -> tuple[Place, Proof, str | None]:
        authorization, request_id = identity(headers)
        return router.place(path), keys.proof(authorization), request_id

    return understood


def _response(status: int, head: Head, body: bytes) -> HttpResponse:
    """A response made without the checks of ``HttpResponse``, which would read, and so put together, every line."""
    response = object.__new__(HttpResponse)
    for name, part in (("status", status), ("headers", head), ("body", body), ("seen", None)):
        object.__setattr__(response, name, part)
    return response
