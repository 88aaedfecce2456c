"""Every fault of the authorization server, by its status, its bytes and its way over the wire."""

from __future__ import annotations

import json
import math
import zlib

import pytest

from evertoken.testing import (
    ApiFault,
    Delivery,
    Script,
    ServerAnswer,
    TokenBehaviour,
    TokenFault,
    TokenTruth,
)
from tests.kits import canary
from tests.kits.asking import (
    LOCKED,
    api_failing,
    ask,
    basic,
    body_of,
    call,
    failing,
    json_of,
    last,
    lines,
    server_of,
    status,
    token_of,
    warm,
)

ISSUING = {
    *(TokenFault.NONE, TokenFault.DROPPED_AFTER, TokenFault.DRIP, TokenFault.CUT_BODY, TokenFault.NO_EXPIRES_IN),
    *(TokenFault.SAME_TOKEN, TokenFault.DEAD_ON_ARRIVAL),
}
SILENT = {TokenFault.DROPPED_BEFORE, TokenFault.DROPPED_AFTER, TokenFault.HANG}
RATE_LIMIT = "Rate limit exceeded. Please contact support for more assistance"


# Faults of the token endpoint.


@pytest.mark.parametrize("fault", TokenFault)
def test_a_token_is_issued_exactly_where_the_fault_says_so(fault: TokenFault) -> None:
    server = failing(fault)
    answer = ask(server)
    assert (len(server.tokens) == 1) == (fault in ISSUING)
    assert (last(server).token_number == 1) == (fault in ISSUING)
    assert (answer.response is None) == (fault in SILENT)
    assert last(server).fault is fault
    assert last(server).status == (None if fault in SILENT else status(answer))


@pytest.mark.parametrize("fault", [fault for fault in TokenFault if fault not in ISSUING])
def test_faults_that_issue_nothing_do_not_care_about_the_credentials(fault: TokenFault) -> None:
    assert ask(failing(fault), 0, basic("x")) == ask(failing(fault))


@pytest.mark.parametrize("fault", [fault for fault in TokenFault if fault in ISSUING])
def test_faults_that_issue_a_token_refuse_wrong_credentials_first(fault: TokenFault) -> None:
    answer = ask(failing(fault), 0, basic("x"))
    assert (status(answer), answer.delivery) == (401, Delivery.WHOLE)


def test_server_error_has_its_status_a_page_and_states_a_wait_if_told() -> None:
    answer = ask(failing(TokenFault.SERVER_ERROR))
    assert status(answer) == 500
    assert lines(answer, "retry-after") == []
    assert lines(answer, "x-ratelimit") == []
    server = failing(TokenFault.SERVER_ERROR, status=503, retry_after=7)
    answer = ask(server)
    assert status(answer) == 503
    assert lines(answer, "retry-after") == ["7"]
    assert last(server).retry_after == 7


def test_dropped_before_and_after_differ_in_the_truth_only() -> None:
    for fault, issued in ((TokenFault.DROPPED_BEFORE, 0), (TokenFault.DROPPED_AFTER, 1)):
        server = failing(fault, latency_before=1, latency_after=2)
        assert ask(server, 10) == ServerAnswer(3, None, Delivery.CLOSE)
        assert len(server.tokens) == issued
        assert last(server).answered_at == 13


def test_hang_is_never_answered() -> None:
    server = failing(TokenFault.HANG)
    answer = ask(server)
    assert (answer.response, answer.delivery) == (None, Delivery.HANG)
    assert answer.duration() == math.inf
    assert last(server).answered_at is None


def test_drip_takes_its_time_for_the_head_too() -> None:
    answer = ask(failing(TokenFault.DRIP, bytes_per_second=2, latency_after=1))
    assert answer.response is not None
    assert (answer.delivery, answer.bytes_per_second) == (Delivery.DRIP, 2)
    head = sum(len(name) + len(value) + 4 for name, value in answer.response.headers) + len("HTTP/1.1 200 \r\n\r\n")
    assert answer.duration() == 1 + (head + len(answer.response.body)) / 2


def test_cut_body_declares_more_than_it_sends() -> None:
    answer = ask(failing(TokenFault.CUT_BODY, cut_after=3))
    assert (answer.delivery, answer.cut_after) == (Delivery.CUT, 3)
    assert lines(answer, "content-length") == [str(len(body_of(answer)))]
    assert answer.duration() == 0


def test_endless_body_has_no_length() -> None:
    answer = ask(failing(TokenFault.ENDLESS_BODY))
    assert (answer.delivery, answer.duration()) == (Delivery.ENDLESS, math.inf)
    assert lines(answer, "content-length") == []
    assert lines(answer, "transfer-encoding") == ["chunked"]
    assert body_of(answer) == b" " * 4_096


def test_gzip_bomb_is_48_kb_that_are_50_mb() -> None:
    answer = ask(failing(TokenFault.GZIP_BOMB))
    assert lines(answer, "content-encoding") == ["gzip"]
    assert 40_000 < len(body_of(answer)) < 60_000
    reader = zlib.decompressobj(31)
    size = len(reader.decompress(body_of(answer)))
    assert (size, reader.eof) == (50_000_000, True)


def test_rate_limited_says_nothing_about_how_long() -> None:
    answer = ask(failing(TokenFault.RATE_LIMITED))
    assert status(answer) == 429
    assert json_of(answer) == {"Message": RATE_LIMIT, "Type": "rate_limit", "Date": 1_700_000_000}
    assert lines(answer, "retry-after") == lines(answer, "x-ratelimit-reset") == lines(answer, "x-ratelimit") == []


def test_rate_limited_with_retry_after_states_seconds() -> None:
    server = failing(TokenFault.RATE_LIMITED_RETRY_AFTER, retry_after=5)
    answer = ask(server)
    assert (status(answer), lines(answer, "retry-after")) == (429, ["5"])
    assert last(server).retry_after == 5
    assert lines(ask(failing(TokenFault.RATE_LIMITED_RETRY_AFTER)), "retry-after") == ["30"]


def test_rate_limited_with_a_date_brings_the_date_to_compare_with() -> None:
    server = failing(TokenFault.RATE_LIMITED_RETRY_DATE, retry_after=65)
    answer = ask(server, 3.5)
    assert lines(answer, "date") == ["Tue, 14 Nov 2023 22:13:23 GMT"]
    assert lines(answer, "retry-after") == ["Tue, 14 Nov 2023 22:14:28 GMT"]
    assert last(server).retry_after == 65


def test_rate_limited_with_a_reset_shows_the_first_window_used_up() -> None:
    answer = ask(failing(TokenFault.RATE_LIMITED_RESET, retry_after=40), 2)
    assert status(answer) == 429
    assert lines(answer, "x-ratelimit") == ["2300, 1, 1, 1"]
    assert lines(answer, "x-ratelimit-remaining") == ["0, 4499, 8799, 105599"]
    assert lines(answer, "x-ratelimit-reset") == ["1700000042, 1700001800, 1700003600, 1700086400"]
    assert lines(answer, "date") == ["Tue, 14 Nov 2023 22:13:22 GMT"]
    assert lines(answer, "retry-after") == []


def test_rate_limited_with_a_reset_needs_no_rate_limits_in_the_script() -> None:
    fault = TokenBehaviour(fault=TokenFault.RATE_LIMITED_RESET, retry_after=40)
    answer = ask(server_of(Script(token=fault, rate_limits=())), 2)
    assert lines(answer, "x-ratelimit-remaining") == ["0, 4500, 8800, 105600"]
    assert lines(answer, "x-ratelimit-reset") == ["1700000042, 1700001800, 1700003600, 1700086400"]


@pytest.mark.parametrize(
    ("fault", "code", "body"),
    [
        (TokenFault.LOCKED, 400, json.dumps(LOCKED, separators=(",", ":")).encode()),
        (TokenFault.INVALID_CLIENT, 401, b'{"error":"invalid_client"}'),
        (TokenFault.EMPTY_BODY, 200, b""),
        (TokenFault.BAD_JSON, 200, b'{"access_token":'),
        (TokenFault.NOT_AN_OBJECT, 200, b'["access_token","token_type","expires_in"]'),
        (TokenFault.NO_ACCESS_TOKEN, 200, b'{"token_type":"Bearer","expires_in":1200}'),
        (TokenFault.WRONG_TOKEN_TYPE, 200, b'{"access_token":"never-issued","token_type":"mac","expires_in":1200}'),
        (TokenFault.BAD_EXPIRES_IN, 200, b'{"access_token":"never-issued","token_type":"Bearer","expires_in":"soon"}'),
        (TokenFault.REDIRECT, 307, b""),
    ],
)
def test_answers_that_are_always_the_same(fault: TokenFault, code: int, body: bytes) -> None:
    answer = ask(failing(fault))
    assert (status(answer), body_of(answer)) == (code, body)


@pytest.mark.parametrize(("fault", "code"), [(TokenFault.HTML, 502), (TokenFault.FORBIDDEN, 403)])
def test_pages_of_proxies_are_html_without_headers_of_the_api(fault: TokenFault, code: int) -> None:
    answer = ask(failing(fault))
    assert status(answer) == code
    assert body_of(answer).startswith(b"<!DOCTYPE html>\n<html>")
    assert lines(answer, "content-type") == ["text/html; charset=utf-8"]
    assert lines(answer, "x-ratelimit") == []


def test_html_may_come_with_any_status_and_a_redirect_may_go_anywhere() -> None:
    assert status(ask(failing(TokenFault.HTML, status=200))) == 200
    answer = ask(failing(TokenFault.REDIRECT, status=302, location="https://else.example/"))
    assert (status(answer), lines(answer, "location")) == (302, ["https://else.example/"])


def test_no_expires_in_leaves_the_lifetime_out() -> None:
    server = failing(TokenFault.NO_EXPIRES_IN)
    answer = ask(server)
    assert json_of(answer) == {"access_token": token_of(answer), "token_type": "Bearer"}
    assert server.tokens[0].expires_at == 1_200


def test_the_same_token_is_repeated_with_what_is_left_of_its_life() -> None:
    server = failing(TokenFault.SAME_TOKEN, lifetime=10)
    first, second = ask(server), ask(server, 3.5)
    assert token_of(first) == token_of(second)
    assert json_of(second)["expires_in"] == 6
    assert last(server).token_number == 1
    assert last(server).detail == "the same token again"
    assert len(server.tokens) == 1


def test_a_token_with_less_than_a_second_left_or_revoked_is_not_repeated() -> None:
    server = failing(TokenFault.SAME_TOKEN, lifetime=10)
    first = token_of(ask(server))
    second = token_of(ask(server, 9.5))
    assert second != first
    server.revoke(10, second)
    assert token_of(ask(server, 11)) not in (first, second)


def test_a_token_dead_on_arrival_has_expired_when_its_answer_leaves() -> None:
    server = failing(TokenFault.DEAD_ON_ARRIVAL, latency_before=0.25)
    answer = ask(server, 5)
    assert json_of(answer)["expires_in"] == 1
    assert not server.is_valid(5 + answer.delay, token_of(answer))
    assert answer.delay == 1.25
    assert ask(failing(TokenFault.DEAD_ON_ARRIVAL, latency_after=4)).delay == 4


# Faults of the API.


@pytest.mark.parametrize("fault", ApiFault)
def test_a_call_is_carried_out_exactly_where_the_fault_says_so(fault: ApiFault) -> None:
    server = api_failing(fault)
    call(server, 1, warm(server), method="POST", body=b"1")
    carried_out = fault in {ApiFault.NONE, ApiFault.DROPPED_AFTER, ApiFault.DRIP, ApiFault.CUT_BODY}
    assert last(server).applied is carried_out
    assert server.applied("POST", "/v2.01/client/users", b"1") == carried_out
    assert server.applied("POST", "/v2.01/client/users", b"2") == 0
    assert last(server).token_truth is TokenTruth.VALID


@pytest.mark.parametrize("token", [None, "unknown"])
def test_a_call_without_a_valid_token_gets_mangopays_401(token: str | None) -> None:
    server = server_of()
    answer = call(server, 4, token)
    assert status(answer) == 401
    assert json_of(answer) == {
        "Message": "The authorization credentials are not valid",
        "Type": "invalid_credentials",
        "Date": 1_700_000_004,
    }
    assert lines(answer, "www-authenticate") == []
    assert last(server).token_number is None
    assert last(server).token_truth is (None if token is None else TokenTruth.UNKNOWN)


def test_expired_and_revoked_tokens_are_told_apart_in_the_log_not_in_the_answer() -> None:
    server = server_of(Script(lifetime=10, rate_limits=()))
    old, revoked = warm(server), token_of(ask(server, 5))
    assert server.revoke(6, revoked)
    answers = [call(server, 12, old), call(server, 12, revoked)]
    assert answers[0] == answers[1]
    assert [arrival.token_truth for arrival in server.arrivals[-2:]] == [TokenTruth.EXPIRED, TokenTruth.REVOKED]


@pytest.mark.parametrize(
    ("fault", "challenge", "kind"),
    [
        (ApiFault.UNAUTHORIZED, [], b"invalid_credentials"),
        (ApiFault.UNAUTHORIZED_LEGACY, [], b"not_authorized"),
        (ApiFault.UNAUTHORIZED_BEARER, ['Bearer error="invalid_token"'], b""),
        (ApiFault.UNAUTHORIZED_BARE, [], b""),
    ],
)
def test_every_kind_of_401_rejects_a_valid_token(fault: ApiFault, challenge: list[str], kind: bytes) -> None:
    server = api_failing(fault)
    token = warm(server)
    answer = call(server, 1, token)
    assert (status(answer), lines(answer, "www-authenticate")) == (401, challenge)
    assert kind in body_of(answer)
    assert bool(body_of(answer)) == bool(kind)
    assert server.is_valid(1, token)


def test_sca_is_an_empty_401_that_is_not_about_the_token() -> None:
    server = api_failing(ApiFault.SCA)
    token = warm(server)
    answer = call(server, 1, token)
    (challenge,) = lines(answer, "www-authenticate")
    assert challenge.startswith(f"PendingUserAction RedirectUrl=https://sca.mangopay.com?token={canary.TOKEN_MARK}-")
    assert (status(answer), body_of(answer)) == (401, b"")
    call(server, 2, token)
    assert not last(server).rejected_before
    assert last(server).detail == "strong customer authentication"


@pytest.mark.parametrize("fault", [ApiFault.SCA, ApiFault.FORBIDDEN, ApiFault.DROPPED_AFTER, ApiFault.DRIP])
def test_faults_behind_authentication_reject_an_invalid_token_first(fault: ApiFault) -> None:
    answer = call(api_failing(fault), 0, "unknown")
    assert (status(answer), answer.delivery) == (401, Delivery.WHOLE)
    assert json_of(answer)["Type"] == "invalid_credentials"


def test_forbidden_is_a_403_in_mangopays_words() -> None:
    server = api_failing(ApiFault.FORBIDDEN)
    answer = call(server, 1, warm(server))
    assert (status(answer), json_of(answer)["Type"]) == (403, "forbidden_ressource")


def test_the_api_rate_limits_locks_and_fails_as_told() -> None:
    answer = call(api_failing(ApiFault.RATE_LIMITED, retry_after=9), 0, "x")
    assert (status(answer), lines(answer, "retry-after")) == (429, ["9"])
    assert lines(call(api_failing(ApiFault.RATE_LIMITED), 0, "x"), "retry-after") == []
    answer = call(api_failing(ApiFault.LOCKED), 0, "x")
    assert (status(answer), json_of(answer)) == (400, LOCKED)
    assert status(call(api_failing(ApiFault.SERVER_ERROR, status=599), 0, "x")) == 599
    assert call(api_failing(ApiFault.HANG), 0, "x").delivery is Delivery.HANG
    assert call(api_failing(ApiFault.DROPPED_BEFORE, latency=2), 0, "x") == ServerAnswer(2, None, Delivery.CLOSE)


def test_api_answers_are_lost_drip_and_are_cut_as_told() -> None:
    server = api_failing(ApiFault.DROPPED_AFTER, latency=2)
    assert call(server, 1, warm(server)) == ServerAnswer(2, None, Delivery.CLOSE)
    server = api_failing(ApiFault.DRIP, bytes_per_second=3)
    assert call(server, 1, warm(server))[2:] == (Delivery.DRIP, 3, 10)
    server = api_failing(ApiFault.CUT_BODY, cut_after=4)
    assert call(server, 1, warm(server))[2:] == (Delivery.CUT, 1, 4)
