"""Readiness: the answer to "may calls be sent here?", for health endpoints."""

from __future__ import annotations

from dataclasses import dataclass

from evertoken import Explanation, Problem, RequestState, SendRequest, Wait


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a call that needs a token can be served, or why not. Redacted: it may be shown to whoever may ask.

    It has no truth value: ask ``ready``. ``str()`` is one line, such as "ready: token good for 812 s".
    """

    ready: bool
    reason: str
    """In a few words, for people."""
    seconds_left: float
    """Seconds for which the token in hand is handed out; 0.0 if there is none."""
    retry_after: float
    """Seconds until a token request can start; 0.0 where one can, or is under way, or none is needed."""
    problem: Problem | None
    """Why there is no token, or why the last request failed; also while the token in hand still serves."""

    @property
    def status_code(self) -> int:
        """200 or 503 (RFC 9110 section 15.6.4), as probes and load balancers want it."""
        return 200 if self.ready else 503

    def __bool__(self) -> bool:
        raise TypeError("ask readiness().ready: a Readiness is true whatever it says")

    def __str__(self) -> str:
        return f"{'ready' if self.ready else 'not ready'}: {self.reason}"


def readiness_of(seen: Explanation, seconds_left: float, *, farewell: str, warm: bool) -> Readiness:
    """The readiness that ``seen`` means for a source.

    ``farewell`` says why the source is closed, and is empty if it is open. ``warm`` says that it keeps its token warm,
    so that it will have one without a call.
    """
    # While a block stands, what is due may be a look whether it still stands in a shared store, which is no request.
    may_ask = isinstance(seen.next, SendRequest) and not seen.blocks
    retry_after = 0.0
    if seconds_left <= 0.0 and seen.request_state in (RequestState.BLOCKED, RequestState.BACKING_OFF):
        ends = [until for _, until in seen.blocks]
        ends += [seen.next.until] if isinstance(seen.next, Wait) else []
        retry_after = max(0.0, max(ends, default=0.0) - seen.now)
    if farewell:
        ready, reason = False, farewell
    elif seconds_left > 0.0:
        ready, reason = True, f"token good for {seconds_left:.0f} s"
    elif may_ask and not warm:
        ready, reason = True, "no token in hand; the next call asks for one"
    elif seen.problem is not None:
        when = f" (next request in {retry_after:.0f} s)" if retry_after else ""
        ready, reason = False, f"no token: {seen.problem.kind.value}{when}. {seen.problem}"
    else:
        ready, reason = not warm, "no token yet; the first one is being asked for"
    return Readiness(ready, reason, seconds_left, retry_after, seen.problem)
