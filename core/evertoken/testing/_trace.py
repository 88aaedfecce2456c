"""What happened, line by line and without a secret: an append-only record that can be folded again.

A trace of one seed is the same in every interpreter and under every hash seed; its digest is that of its lines. Tokens
are called ``token#1``, ``token#2`` and so on, in the order in which they appear. Since all randomness and all meaning
is in the inputs, :func:`replay` needs nothing but the policies and the inputs to come to the same lines.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from evertoken._checks import check_whole
from evertoken._grammar import (
    AnswerReceived,
    BlockReported,
    CredentialsReplaced,
    Input,
    RequestClaimed,
    SendReason,
    SendRequest,
    TokenRejected,
    TokenWorked,
    WaitReason,
)
from evertoken._look import decide
from evertoken._policy import Policy
from evertoken._secrecy import replace
from evertoken._states import Attempt, State, first_state
from evertoken._step import step
from evertoken.outcomes import Blocked, Granted, Outcome
from evertoken.testing._restart import Restart, restarted

_MOST_PENDING = 50_000
"""How many lines may wait to be put together; until then so many take some 50 MB."""
_REASONS: dict[SendReason | WaitReason, str] = {reason: reason.value for reason in (*SendReason, *WaitReason)}


class Entry(NamedTuple):
    """One step of one machine. ``happened`` is None where a process began anew, with an empty machine."""

    seq: int
    client: int
    happened: Input | Restart | None
    line: str

    def __repr__(self) -> str:
        return self.line


class Trace:
    """The record of one run, to which lines are only ever added. ``policies`` are those of the clients, by number.

    Lines are put together when somebody reads them, or once many have piled up: nobody reads the trace of most runs.

    Args:
        policies: one for each client.
        keep: whether the entries are kept; without them there is the digest, and nothing to replay.
    """

    __slots__ = ("_digest", "_entries", "_keep", "_names", "_pending", "_states", "_written", "policies")

    def __init__(self, policies: Sequence[Policy], *, keep: bool = True) -> None:
        self.policies = tuple(policies)
        self._entries: list[Entry] = []
        self._pending: list[tuple[int, Input | Restart | None, State]] = []
        self._written = 0
        self._keep = keep
        self._names: dict[str, str] = {}
        self._states = [first_state(policy) for policy in self.policies]
        self._digest = hashlib.sha256()

    def append(self, client: int, happened: Input | Restart | None, after: State) -> None:
        """Take down that ``happened`` brought ``client`` to ``after``."""
        self._pending.append((client, happened, after))
        if len(self._pending) >= _MOST_PENDING:
            self._write()

    def _write(self) -> None:
        """Put the pending lines together."""
        for client, happened, after in self._pending:
            masked = None if happened is None else self._masked(happened)
            changes = self._changes(self._states[client], after)
            line = f"{self._written} {client} {_told(masked)} ->{changes} : {_next(after)}"
            self._states[client] = after
            self._digest.update(f"{line}\n".encode())
            if self._keep:
                self._entries.append(Entry(self._written, client, masked, line))
            self._written += 1
        self._pending.clear()

    @property
    def length(self) -> int:
        """How many lines there are."""
        return self._written + len(self._pending)

    @property
    def entries(self) -> list[Entry]:
        """The entries so far; none if the trace does not keep them."""
        self._write()
        return self._entries

    @property
    def digest(self) -> str:
        """SHA-256 of all lines, in hexadecimal."""
        self._write()
        return self._digest.hexdigest()

    def name(self, token: str) -> str:
        """What ``token`` is called in this trace."""
        name = self._names.get(token)
        if name is None:
            # In a replay the tokens are these names already, and come in the same order, so each is given its own name.
            name = self._names[token] = f"token#{len(self._names) + 1}"
        return name

    def lines(self, client: int | None = None) -> Iterator[str]:
        """The lines that were kept, of all clients or of one."""
        return (entry.line for entry in self.entries if client in (None, entry.client))

    def _masked(self, happened: Input | Restart) -> Input | Restart:
        match happened:
            case AnswerReceived(answer=Granted() as granted):
                return replace(happened, answer=replace(granted, access_token=self.name(granted.access_token)))
            case TokenRejected() | TokenWorked():
                return replace(happened, authorization=f"Bearer {self.name(happened.authorization[7:])}")
            case _:
                return happened

    def _changes(self, before: State, after: State) -> str:
        """What has changed since the last line of this client. The time is left out, since the input shows it."""
        changes = ""
        if after.token != before.token:
            token = after.token
            held = "none" if token is None else f"{self.name(token.value)}<{token.refresh_at!r}<{token.fresh_until!r}"
            changes += f" token={held}"
        if after.attempt != before.attempt:
            changes += f" attempt={_attempt(after.attempt)}"
        if after.lost != before.lost:
            changes += f" lost={_attempt(after.lost)}"
        if after.backoff != before.backoff:
            changes += f" backoff={after.backoff[:]}"
        if after.blocks != before.blocks:
            changes += f" blocks=[{','.join(f'{b.kind.value}<{b.until!r} no. {b.times}' for b in after.blocks)}]"
        if after.budget != before.budget:
            changes += f" budget={after.budget[:]}"
        if after.rejections != before.rejections:
            changes += f" rejections={after.rejections[:4]}+{len(after.rejections.dropped)}"
        if after.credentials != before.credentials:
            changes += f" credentials={after.credentials[:]}"
        return changes


def _attempt(attempt: Attempt | None) -> str:
    return "none" if attempt is None else f"{attempt.id}<{attempt.deadline!r}"


def _next(state: State) -> str:
    action = decide(state)
    if isinstance(action, SendRequest):
        return _REASONS[action.reason]
    return f"{_REASONS[action.reason]}<{action.until!r}"


def _told(happened: Input | Restart | None) -> str:
    match happened:
        case None:
            return "crash"
        case Restart():
            token = "with" if happened.secrets else "without"
            secret = ", with another secret" if happened.replaced else ""
            return f"{happened.now!r} restart after {happened.elapsed!r} {token} token{secret}"
        case RequestClaimed():
            tiers = f" tiers={happened.tiers!r}" if happened.tiers else ""
            asks = " asks" if happened.asks else ""
            return f"{happened.now!r} claim draw={happened.draw!r} min_ttl={happened.min_ttl!r}{tiers}{asks}"
        case AnswerReceived():
            seen = "" if happened.seen is None else f" {happened.seen!r}"
            return f"{happened.now!r} answer #{happened.id} {_outcome(happened.answer)}{seen}"
        case TokenRejected():
            return f"{happened.now!r} rejected {happened.authorization} {happened.challenge.value}"
        case TokenWorked():
            return f"{happened.now!r} worked {happened.authorization}"
        case BlockReported():
            tiers = f" tiers={happened.tiers!r}" if happened.tiers else ""
            return f"{happened.now!r} blocked {happened.kind.value} {happened.seconds!r} draw={happened.draw!r}{tiers}"
        case CredentialsReplaced():
            return f"{happened.now!r} credentials" + (f" of #{happened.attempt}" if happened.attempt else "")
        case _:
            return f"{happened.now!r} lift"


def _outcome(answer: Outcome) -> str:
    name = answer.kind.value if isinstance(answer, Blocked) else type(answer).__name__.lower()
    if isinstance(answer, Granted):
        return f"{name} {answer.access_token} {answer.expires_in!r}"
    wait: float | None = getattr(answer, "retry_after", None)
    return name if wait is None else f"{name} retry_after={wait!r}"


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay came to. ``differs_at`` is the number of the first line that came out otherwise, or None."""

    digest: str
    differs_at: int | None


def replay(trace: Trace) -> Replayed:
    """Fold the inputs of ``trace`` with ``step``, from nothing, and write the trace again.

    Raises:
        ValueError: an entry is missing or was added, or is that of a client for which the trace has no policy.
    """
    if len(trace.entries) != trace.length:
        kept = f"{len(trace.entries)} of {trace.length} entries are there"
        raise ValueError(f"{kept}: a replay needs all, from a trace that keeps them (keep_trace=True)")
    again = Trace(trace.policies)
    states = [first_state(policy) for policy in trace.policies]
    differs_at = None
    for entry in trace.entries:
        check_whole("client", entry.client, 0, len(states) - 1)
        policy = trace.policies[entry.client]
        states[entry.client] = _folded(policy, states[entry.client], entry.happened)
        again.append(entry.client, entry.happened, states[entry.client])
        if differs_at is None and again.entries[-1].line != entry.line:
            differs_at = entry.seq
    return Replayed(again.digest, differs_at)


def _folded(policy: Policy, state: State, happened: Input | Restart | None) -> State:
    if happened is None:
        return first_state(policy)
    return restarted(policy, state, happened) if isinstance(happened, Restart) else step(policy, state, happened)[0]
