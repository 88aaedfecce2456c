"""Doubles of the machine's methods, which leave out some of what they are told, or asked for."""

from __future__ import annotations

import pytest

from evertoken import AccessToken, BlockKind, Challenge, Rejection, SendRequest, TokenMachine, TokenRequest, Wait
from evertoken.outcomes import Outcome
from tests.ablations.double import whole_machine

__all__ = ()

_token = TokenMachine.token
_poll = TokenMachine.poll
_endpoint_blocked = TokenMachine.endpoint_blocked
_token_rejected = TokenMachine.token_rejected


@whole_machine("min_ttl")
def hands_out_what_there_is(patch: pytest.MonkeyPatch) -> None:
    """A caller gets the token in hand, however little life is left in it."""

    def token(self: TokenMachine, now: float, min_ttl: float = 0.0) -> AccessToken | None:
        return _token(self, now, min(min_ttl, 0.0))

    patch.setattr(TokenMachine, "token", token)


@whole_machine("min_ttl")
def polls_for_nobody(patch: pytest.MonkeyPatch) -> None:
    """A caller who needs more life than the token in hand has left is told to wait until it falls due."""

    def poll(self: TokenMachine, now: float, min_ttl: float = 0.0) -> SendRequest | Wait:
        return _poll(self, now, min(min_ttl, 0.0))

    patch.setattr(TokenMachine, "poll", poll)


@whole_machine("reports of blocks")
def knows_better_than_reports(patch: pytest.MonkeyPatch) -> None:
    """How long a block stands is not listened to where somebody says it."""

    def endpoint_blocked(self: TokenMachine, now: float, kind: BlockKind, seconds: float | None = None) -> None:
        _endpoint_blocked(self, now, kind, None if seconds else seconds)

    patch.setattr(TokenMachine, "endpoint_blocked", endpoint_blocked)


@whole_machine("401 without a cause")
def believes_clear_words_only(patch: pytest.MonkeyPatch) -> None:
    """A 401 that names no cause never counts against the token."""

    def token_rejected(self: TokenMachine, now: float, authorization: str, challenge: Challenge) -> Rejection:
        if challenge is Challenge.UNKNOWN:
            return Rejection.KEPT
        return _token_rejected(self, now, authorization, challenge)

    patch.setattr(TokenMachine, "token_rejected", token_rejected)


@whole_machine("failed is not abandoned")
def forgives_failed_requests(patch: pytest.MonkeyPatch) -> None:
    """A request that got no answer counts as given up, and the first of those costs nothing."""

    def send_failed(self: TokenMachine, now: float, request: TokenRequest, reason: str) -> Outcome:
        return TokenMachine.request_abandoned(self, now, request)

    patch.setattr(TokenMachine, "send_failed", send_failed)
