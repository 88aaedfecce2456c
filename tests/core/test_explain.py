"""``explain``: everything a person may want to know, printable, and without a secret in it."""

from __future__ import annotations

from evertoken import (
    BlockKind,
    Challenge,
    Freshness,
    ProblemKind,
    RequestState,
    SendReason,
    SendRequest,
    TokenState,
    Wait,
    mangopay,
)
from evertoken import WaitReason as Why
from evertoken._http import build_request
from evertoken._secrecy import replace
from tests.kits import canary
from tests.kits.driving import FAILED, LOCKED, attempt, bearer, machine, serve


def test_before_the_first_token() -> None:
    shown = machine().explain(5)
    assert shown.now == 5
    assert shown.client_id == "canary"
    assert shown.token_endpoint == f"{mangopay.SANDBOX}/v2.01/oauth/token"
    assert (shown.state, shown.freshness, shown.request_state) == (
        TokenState.NONE,
        Freshness.NONE,
        RequestState.IDLE,
    )
    assert shown.next == SendRequest(SendReason.NO_TOKEN)
    assert (shown.refresh_at, shown.fresh_until, shown.expires_at, shown.attempt_deadline) == (None,) * 4
    assert (shown.failures, shown.blocks, shown.rejections, shown.next_rejection_at) == (0, (), 0, None)
    assert (shown.budget_left, shown.budget_burst, shown.budget_refill_at) == (10, 10, None)
    assert shown.credentials_generation == 0
    assert shown.problem is None
    assert str(shown).splitlines() == [
        "NONE: token none, request idle; a token request may be made (no token)",
        f"  client canary at {mangopay.SANDBOX}/v2.01/oauth/token, credentials no. 1",
        "  budget: 10 of 10 left, full",
    ]


def test_a_valid_token() -> None:
    m = machine()
    serve(m, 0)
    shown = m.explain(100)
    assert (shown.refresh_at, shown.fresh_until, shown.expires_at) == (270, 295, 300)
    assert shown.next == Wait(270, Why.REFRESH)
    assert str(shown).splitlines()[0] == "VALID: token valid, request idle; no token request for 170.0 s (refresh)"
    assert "next one due 170.0 s from now, this one handed out until 195.0 s from now" in str(shown)


def test_an_attempt_in_flight() -> None:
    m = machine()
    m.start_request(0)
    shown = m.explain(1)
    assert shown.attempt_deadline == 10
    assert "given up 9.0 s from now" in str(shown)
    assert "next refill 59.0 s from now" in str(shown)


def test_beside_a_store_a_look_is_not_called_a_request() -> None:
    shown = replace(machine().explain(5), store="it cannot be reached")
    assert "the store may be looked into, and a token asked for (no token)" in str(shown)
    served = machine()
    serve(served, 0, 1)
    assert "no look into the store for 170.0 s (refresh)" in str(replace(served.explain(100), store="well"))
    assert str(shown).splitlines()[-1] == "  shared store: it cannot be reached"


def test_trouble_of_every_kind_at_once() -> None:
    m = machine()
    serve(m, 0)
    m.token_rejected(100, bearer(), Challenge.TOKEN)
    attempt(m, 100, FAILED)
    attempt(m, 101, LOCKED)
    m.replace_credentials(102, canary.grant(api_key=canary.secret(1)))
    m.endpoint_blocked(102, BlockKind.RATE_LIMITED, 50)
    shown = m.explain(110)
    assert shown.state is TokenState.BLOCKED
    assert shown.failures == 1
    assert shown.blocks == ((BlockKind.RATE_LIMITED, 152),)
    assert (shown.rejections, shown.next_rejection_at) == (1, 160)
    assert shown.credentials_generation == 1
    assert shown.problem is not None
    assert shown.problem.kind is ProblemKind.RATE_LIMITED
    text = str(shown)
    for part in ("BLOCKED", "rate limited until", "42.0 s", "1 failures in a row", "50.0 s from now", "no. 2"):
        assert part in text
    assert "problem: " in text


def test_a_token_that_is_gone_is_told_as_gone() -> None:
    m = machine()
    serve(m, 0)
    assert "5.0 s ago" in str(m.explain(300))


def test_it_speaks_of_the_present_and_changes_nothing() -> None:
    m = machine()
    m.start_request(0)
    before = m.state_value
    later = m.explain(1000)
    assert later.budget_left == 10
    assert later.failures == 1
    assert later.blocks == ()
    assert m.state_value is before


def test_it_shows_no_secret_and_no_token() -> None:
    m = machine()
    serve(m, 0)
    request = m.start_request(270)
    m.send_failed(271, request, f"reset by {canary.secret()} {bearer()} {dict(request.headers)['Authorization']}")
    canary.assert_clean(m.explain(271), m, m.state_value, request, build_request(m.grant, 1, 2))
    assert mangopay.SANDBOX in repr(m)
