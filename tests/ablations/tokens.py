"""Doubles without one of the safeguards about tokens: their moments, which is taken, and when one is dropped."""

from __future__ import annotations

from evertoken import AccessToken, Challenge, Policy, Rejection, State
from evertoken._grammar import AnswerReceived, Input, TokenRejected
from evertoken._secrecy import replace
from evertoken._step import digest, settle
from evertoken.outcomes import Granted
from tests.ablations.double import step, steps, tokens, verdict

__all__ = ()


def _before(policy: Policy, life: float) -> float:
    return min(policy.refresh_before, policy.refresh_before_share * life)


# Moments
# -------


@tokens("life from the start of the request")
def counts_life_from_receipt(policy: Policy, state: State, received: AnswerReceived, token: AccessToken) -> AccessToken:
    """A token's life counts from the receipt of the answer."""
    took = received.now - token.started
    return replace(
        token,
        refresh_at=token.refresh_at + took,
        fresh_until=token.fresh_until + took,
        expires_at=token.expires_at + took,
    )


@tokens("leeway")
def has_no_leeway(policy: Policy, state: State, received: AnswerReceived, token: AccessToken) -> AccessToken:
    """A token is handed out until it expires."""
    return replace(token, fresh_until=token.expires_at)


@tokens("margins are shares at most")
def takes_the_whole_leeway(policy: Policy, state: State, received: AnswerReceived, token: AccessToken) -> AccessToken:
    """The leeway is taken from the shortest life."""
    return replace(token, fresh_until=max(received.now, token.expires_at - policy.leeway))


@tokens("margins are shares at most")
def refreshes_long_before(policy: Policy, state: State, received: AnswerReceived, token: AccessToken) -> AccessToken:
    """refresh_before is taken from the shortest life."""
    return replace(token, refresh_at=max(token.started, token.expires_at - policy.refresh_before))


@tokens("halfway rule")
def refreshes_at_once(policy: Policy, state: State, received: AnswerReceived, token: AccessToken) -> AccessToken:
    """The next token is due refresh_before the expiry, however late this one came."""
    due = token.expires_at - _before(policy, token.expires_at - token.started)
    return replace(token, refresh_at=min(token.refresh_at, due))


@tokens("renewal ahead of expiry")
def refreshes_at_expiry(policy: Policy, state: State, received: AnswerReceived, token: AccessToken) -> AccessToken:
    """The next token is due when this one is not handed out any more."""
    return replace(token, refresh_at=token.fresh_until)


@tokens("refresh jitter")
def refreshes_without_jitter(policy: Policy, state: State, received: AnswerReceived, token: AccessToken) -> AccessToken:
    """The next token is due refresh_before the expiry to the second, for the whole fleet."""
    life = token.expires_at - token.started
    return replace(token, refresh_at=max(token.expires_at - _before(policy, life), token.refresh_at))


@tokens("longest lifetime")
def believes_every_lifetime(policy: Policy, state: State, received: AnswerReceived, token: AccessToken) -> AccessToken:
    """max_lifetime is not looked at."""
    stated = received.answer.expires_in if isinstance(received.answer, Granted) else None
    return token if stated is None else replace(token, expires_at=token.started + stated)


@tokens("default lifetime")
def believes_in_eternity(policy: Policy, state: State, received: AnswerReceived, token: AccessToken) -> AccessToken:
    """A token whose answer names no lifetime is good for a day."""
    if isinstance(received.answer, Granted) and received.answer.expires_in is None:
        return replace(token, fresh_until=token.started + 86_000, expires_at=token.started + 86_400)
    return token


@tokens("repeated tokens are spaced")
def is_due_again_at_once(policy: Policy, state: State, received: AnswerReceived, token: AccessToken) -> AccessToken:
    """A token that the endpoint repeats is due again as if it were new."""
    if state.token is None or state.token.value != token.value:
        return token
    other = step(policy, state._replace(token=replace(state.token, value="other")), received).token
    return token if other is None else replace(token, refresh_at=other.refresh_at)


# Which token is taken
# --------------------


@steps("stillborn tokens")
def takes_stillborn_tokens(policy: Policy, state: State, happened: Input) -> State:
    """A token that was dead on arrival is taken, as if its life began then."""
    after = step(policy, state, happened)
    flying = state.attempt
    if not isinstance(happened, AnswerReceived) or not isinstance(happened.answer, Granted):
        return after
    dead = flying is not None and flying.id == happened.id and after.backoff.failures > state.backoff.failures
    if not dead or flying is None or state.rejections.dropped:
        return after
    now, life = happened.now, happened.answer.expires_in or 1.0
    text = happened.answer.access_token
    token = AccessToken(text, f"Bearer {text}", flying.started, now + life / 2, now + life, now + life)
    return after._replace(token=token, backoff=state.backoff, problem=None)


@steps("dropped tokens stay dropped")
def takes_dropped_tokens_back(policy: Policy, state: State, happened: Input) -> State:
    """A token that was dropped is taken as soon as the endpoint repeats it."""
    if not isinstance(happened, AnswerReceived) or not isinstance(happened.answer, Granted):
        return step(policy, state, happened)
    rejections, name = state.rejections, digest(happened.answer.access_token)
    dropped = tuple(entry for entry in rejections.dropped if entry.digest != name)
    return step(policy, state._replace(rejections=rejections._replace(dropped=dropped)), happened)


@steps("late tokens count")
def ignores_late_tokens(policy: Policy, state: State, happened: Input) -> State:
    """A token that comes after its attempt's deadline is thrown away."""
    settled = settle(policy, state, happened.now)
    if not isinstance(happened, AnswerReceived) or not isinstance(happened.answer, Granted):
        return step(policy, state, happened)
    late = settled.lost is not None and settled.lost.id == happened.id
    return settled._replace(lost=None) if late else step(policy, state, happened)


@steps("the newest token wins")
def lets_the_latest_answer_win(policy: Policy, state: State, happened: Input) -> State:
    """The token that comes last is taken, though an older request brought it."""
    after = step(policy, state, happened)
    if not isinstance(happened, AnswerReceived) or state.token is None or after.token is not state.token:
        return after
    aged = state._replace(token=replace(state.token, started=-1e12))
    taken = step(policy, aged, happened)
    return after if taken.token is aged.token else taken


# Rejected tokens
# ---------------


@steps("a rejection names its token")
def drops_whatever_is_in_hand(policy: Policy, state: State, happened: Input) -> State:
    """Any rejection is about the token in hand, whichever token the call carried."""
    if isinstance(happened, TokenRejected) and state.token is not None:
        happened = replace(happened, authorization=state.token.authorization)
    return step(policy, state, happened)


@steps("KEPT where no other token can be had")
def drops_without_a_replacement(policy: Policy, state: State, happened: Input) -> State:
    """A believed rejection drops the token, though a block is in the way of the next one."""
    state = settle(policy, state, happened.now)
    unblocked = state._replace(blocks=(), backoff=state.backoff._replace(retry_at=-1e12))
    unblocked = unblocked._replace(budget=state.budget._replace(level=max(1, state.budget.level)))
    if verdict(policy, unblocked, happened) is Rejection.DROPPED:
        dropped = step(policy, unblocked, happened)
        return dropped._replace(blocks=state.blocks, backoff=state.backoff, budget=state.budget)
    return step(policy, state, happened)


@steps("rejection interval")
def believes_every_rejection(policy: Policy, state: State, happened: Input) -> State:
    """Rejections are believed one after another."""
    eager = state._replace(rejections=state.rejections._replace(allowed_at=-1e12))
    if verdict(policy, eager, happened) is Rejection.DROPPED:
        state = eager
    return step(policy, state, happened)


@steps("rejection interval")
def never_lengthens_the_interval(policy: Policy, state: State, happened: Input) -> State:
    """The rejection interval does not double."""
    if isinstance(happened, TokenRejected):
        state = state._replace(rejections=state.rejections._replace(believed=0))
    return step(policy, state, happened)


@steps("thin evidence")
def believes_a_bare_401(policy: Policy, state: State, happened: Input) -> State:
    """A 401 that names no cause counts like one that names the token, and against the newest token."""
    if isinstance(happened, TokenRejected) and happened.challenge is Challenge.UNKNOWN:
        happened = replace(happened, challenge=Challenge.TOKEN)
    return step(policy, state, happened)


@steps("KEPT rejections are noted")
def forgives_too_soon(policy: Policy, state: State, happened: Input) -> State:
    """A rejection that was not believed leaves no trace: the row is forgiven ten intervals after the last that was."""
    after = step(policy, state, happened)
    if verdict(policy, state, happened) is Rejection.KEPT:
        return after._replace(rejections=settle(policy, state, happened.now).rejections)
    return after


@steps("a token proves itself first")
def trusts_every_rejection_at_once(policy: Policy, state: State, happened: Input) -> State:
    """Within the burst, rejections of a token that no API has served a call with are believed one after another."""
    if not isinstance(happened, TokenRejected):
        return step(policy, state, happened)
    after = step(policy, state._replace(rejections=state.rejections._replace(worked=True)), happened)
    kept = after.token is not None
    return after._replace(rejections=after.rejections._replace(worked=state.rejections.worked)) if kept else after


@steps("rejection burst")
def has_no_end_of_bursts(policy: Policy, state: State, happened: Input) -> State:
    """Rejections of tokens that have worked are believed at once, however many there are in a row."""
    if not isinstance(happened, TokenRejected) or not state.rejections.worked:
        return step(policy, state, happened)
    return step(policy, state._replace(rejections=state.rejections._replace(allowed_at=-1e12)), happened)


@steps("a due token is dropped for free")
def charges_for_a_due_token(policy: Policy, state: State, happened: Input) -> State:
    """A rejection of a token that is due for renewal anyway is held back by the interval too."""
    state = settle(policy, state, happened.now)
    if not isinstance(happened, TokenRejected) or state.now >= state.rejections.allowed_at:
        return step(policy, state, happened)
    if verdict(policy, state, happened) is not Rejection.DROPPED:
        return step(policy, state, happened)
    return state
