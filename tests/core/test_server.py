"""The authorization server's model: each fault by its bytes, its truth beside its answers, and what its log proves."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evertoken import mangopay
from evertoken.testing import (
    ApiBehaviour,
    ApiFault,
    AuthorizationKind,
    AuthorizationServer,
    Delivery,
    Overuse,
    Phase,
    RateLimit,
    Route,
    Script,
    ServerRequest,
    TokenBehaviour,
    TokenFault,
    TokenRecord,
    TokenTruth,
)
from evertoken.testing.server._answers import http_date
from evertoken.testing.server._logbook import Visit
from tests.kits import canary
from tests.kits.asking import (
    LOCKED,
    TOKEN_PATH,
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

# Fair weather.


def test_a_server_tells_the_time_as_its_date_lines_do() -> None:
    server = server_of(epoch=1_000_000)
    assert server.unix_time(7) == 1_000_007
    answer = ask(server, 7).response
    assert answer is not None
    assert dict(answer.headers)["Date"] == http_date(server.unix_time(7))


def test_a_grant_is_what_mangopay_documents() -> None:
    server = server_of(Script(lifetime=1199))
    answer = ask(server)
    assert answer.delay == 0
    assert answer.delivery is Delivery.WHOLE
    token = token_of(answer)
    assert body_of(answer) == f'{{"access_token":"{token}","token_type":"Bearer","expires_in":1199}}'.encode()
    assert status(answer) == 200
    assert lines(answer, "content-type") == ["application/json; charset=utf-8"]
    assert lines(answer, "cache-control") == ["no-store"]
    assert lines(answer, "content-length") == [str(len(body_of(answer)))]
    assert lines(answer, "date") == []
    assert server.tokens == [TokenRecord(1, 0, 1199)]


def test_tokens_are_marked_differ_and_follow_from_the_seed() -> None:
    texts = [[token_of(ask(server_of(seed=seed))) for _ in range(1)] for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    server = server_of()
    many = {token_of(ask(server)) for _ in range(20)}
    assert len(many) == 20
    for token in many:
        assert token.startswith(f"{canary.TOKEN_MARK}-")
        assert len(token.rpartition("-")[2]) == 32
        int(token.rpartition("-")[2], 16)


def test_a_life_counts_from_the_issue_and_ends_at_its_last_second() -> None:
    script = Script(lifetime=10, token=TokenBehaviour(latency_before=2, latency_after=3))
    server = server_of(script)
    answer = ask(server, 100)
    token = token_of(answer)
    assert answer.delay == 5
    assert [server.truth(now, token) for now in (101.9, 102, 111.9, 112)] == [
        TokenTruth.UNKNOWN,
        TokenTruth.VALID,
        TokenTruth.VALID,
        TokenTruth.EXPIRED,
    ]
    assert last(server).answered_at == 105
    assert server.is_valid(102, token)
    assert not server.is_valid(112, token)
    assert server.token_number(token) == 1
    assert server.token_number("other") is None


def test_a_behaviour_may_have_a_lifetime_of_its_own() -> None:
    server = failing(TokenFault.NONE, lifetime=7)
    assert json_of(ask(server))["expires_in"] == 7
    assert server.tokens[0].expires_at == 7


@pytest.mark.parametrize("path", [TOKEN_PATH, TOKEN_PATH + "/", TOKEN_PATH + "?x=1", "/V2.01/OAuth/Token"])
def test_the_token_endpoint_is_found_with_a_slash_a_query_and_in_any_case(path: str) -> None:
    server = server_of()
    assert status(ask(server, path=path)) == 200
    assert last(server).path == path.partition("?")[0]


@pytest.mark.parametrize("path", ["/", "", "/v2.01", "/v2.01/oauth/other", "/v1/client/users", "*", "//"])
def test_other_paths_are_404(path: str) -> None:
    server = server_of()
    assert status(ask(server, path=path)) == 404
    assert last(server).route is Route.OTHER
    assert last(server).fault is None


def test_a_call_with_a_valid_token_is_served() -> None:
    server = server_of()
    token = token_of(ask(server))
    answer = call(server, 1, token)
    assert json_of(answer) == {"Call": 1, "TokenNumber": 1}
    arrival = last(server)
    assert (arrival.route, arrival.status, arrival.token_number, arrival.token_truth, arrival.applied) == (
        Route.API,
        200,
        1,
        TokenTruth.VALID,
        True,
    )


@pytest.mark.parametrize("path", ["/V3.0/client/users", "/v2.01/client", "/v2.01/%63lient/x"])
def test_the_api_answers_under_both_versions_and_any_spelling_of_the_client_id(path: str) -> None:
    server = server_of()
    assert status(call(server, 1, token_of(ask(server)), path=path)) == 200


def test_the_paths_that_are_the_same_for_every_client_are_served() -> None:
    server = server_of()
    assert status(call(server, 1, token_of(ask(server)), path="/v2.01/countries/FR/authorizations")) == 200


def test_another_client_id_in_the_path_is_a_401() -> None:
    server = server_of()
    assert status(call(server, 1, token_of(ask(server)), path="/v2.01/other/users")) == 401
    assert last(server).detail == "another client id in the path"
    assert last(server).token_truth is TokenTruth.VALID


def test_the_scheme_of_the_authorization_header_is_read_in_any_case() -> None:
    server = server_of()
    name, value = basic()
    token = token_of(ask(server, 0, (name.upper(), value.replace("Basic ", "bASIC  "))))
    assert status(call(server, 1, None, ("Authorization", f"bearer  {token}"))) == 200


# What a wrong request gets.


@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        ((basic(password="wrong"),), AuthorizationKind.WRONG_BASIC),
        ((basic("other"),), AuthorizationKind.WRONG_BASIC),
        ((("Authorization", "Basic !"),), AuthorizationKind.WRONG_BASIC),
        ((("Authorization", "Bearer x"),), AuthorizationKind.BEARER),
        ((("Authorization", "Digest x"),), AuthorizationKind.OTHER),
        ((("Accept", "*/*"),), AuthorizationKind.NONE),
    ],
)
def test_wrong_credentials_are_invalid_client(headers: tuple[tuple[str, str], ...], kind: AuthorizationKind) -> None:
    server = server_of()
    answer = ask(server, 0, *headers)
    assert (status(answer), body_of(answer)) == (401, b'{"error":"invalid_client"}')
    assert last(server).authorization is kind
    assert last(server).detail == "wrong credentials"
    assert last(server).token_number is None
    assert server.tokens == []


def multipart(grant_type: str, *, name: str = "grant_type") -> bytes:
    part = f'--x-3\r\nContent-Disposition: form-data; name="{name}"\r\nContent-Type: text/plain\r\n\r\n{grant_type}\r\n'
    other = '--x-3\r\nContent-Disposition: form-data; name="scope"\r\n\r\na\r\n'
    return f"{other}{part}--x-3--\r\n".encode()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_request"),
        (b"\xff\x00", "invalid_request"),
        (b"grant_type=password", "unsupported_grant_type"),
        (b"{}", "invalid_request"),
        (b'{"grant_type":', "invalid_request"),
        (b'{"a":' * 100_000, "invalid_request"),
        (b'{"grant_type": "\xff"}', "invalid_request"),
        (b'["grant_type", "client_credentials"]', "invalid_request"),
        (b'{"grant_type": "password"}', "unsupported_grant_type"),
        (b'{"grant_type": ["client_credentials"]}', "unsupported_grant_type"),
        (multipart("password"), "unsupported_grant_type"),
        (multipart("client_credentials", name="type"), "invalid_request"),
    ],
)
def test_another_grant_type_is_a_400(body: bytes, code: str) -> None:
    answer = ask(server_of(), body=body)
    assert status(answer) == 400
    assert json_of(answer)["error"] == code


@pytest.mark.parametrize(
    "body",
    [
        b'{"grant_type": "client_credentials"}',
        b' \r\n{"scope": null, "grant_type":"client_credentials"}\n',
        multipart("client_credentials"),
    ],
)
def test_the_bodies_that_mangopays_own_sdks_send_under_the_content_type_of_a_form_are_taken(body: bytes) -> None:
    form = ("Content-Type", "application/x-www-form-urlencoded")
    assert status(ask(server_of(), 0, basic(), form, body=body)) == 200


def test_further_form_fields_are_accepted() -> None:
    assert status(ask(server_of(), body=b"scope=a&grant_type=client_credentials")) == 200


def test_the_token_endpoint_takes_post_only() -> None:
    answer = ask(server_of(), method="GET")
    assert status(answer) == 405
    assert lines(answer, "allow") == ["POST"]


def test_basic_is_accepted_as_it_stands_and_percent_encoded() -> None:
    server = AuthorizationServer("a b", canary.secret() + "/+", token_prefix=canary.TOKEN_MARK)
    grant = mangopay.sandbox("a b", canary.secret() + "/+")
    assert status(ask(server, 0, basic("a b", canary.secret() + "/+"))) == 200
    assert status(ask(server, 0, basic("a%20b", canary.secret() + "%2F%2B"))) == 200
    assert server.grant("http://127.0.0.1:1").client_secret == grant.client_secret
    assert server.grant("http://127.0.0.1:1").api_base == "http://127.0.0.1:1/v2.01/a%20b"


@pytest.mark.no_cover
@given(
    st.text(max_size=8),
    st.text(max_size=30),
    st.lists(st.tuples(st.sampled_from(["authorization", "x-request-id", "x"]), st.text(max_size=20))),
    st.binary(max_size=40),
)
def test_no_request_makes_it_raise(method: str, path: str, headers: list[tuple[str, str]], body: bytes) -> None:
    server = server_of()
    for where in (path, f"/v2.01/client/{path}", TOKEN_PATH):
        answer = server.handle(0, ServerRequest(method, where, headers, body))
        assert answer.response is not None


# Scripts at work.


def test_phases_count_from_the_start() -> None:
    script = Script(phases=(Phase(at=10, until=20, token=TokenBehaviour(fault=TokenFault.EMPTY_BODY)),))
    server = server_of(script, start=1_000)
    assert [bool(body_of(ask(server, now))) for now in (1_009, 1_010, 1_019.5, 1_020)] == [True, False, False, True]
    assert (server.start, server.script) == (1_000, script)


def test_one_shots_come_first_and_once_each_from_the_script_and_at_run_time() -> None:
    empty, html = TokenBehaviour(fault=TokenFault.EMPTY_BODY), TokenBehaviour(fault=TokenFault.HTML)
    server = server_of(Script(first_token_requests=(empty, html)))
    server.next_token_requests(empty)
    assert [status(ask(server)) for _ in range(4)] == [200, 502, 200, 200]
    assert len(server.tokens) == 1
    bare = ApiBehaviour(fault=ApiFault.UNAUTHORIZED_BARE)
    server = server_of(Script(first_api_calls=(bare,)))
    server.next_api_calls(ApiBehaviour(fault=ApiFault.SCA), ApiBehaviour())
    token = warm(server)
    assert [status(call(server, 1, token)) for _ in range(4)] == [401, 401, 200, 200]


def test_a_scripted_revocation_strikes_tokens_issued_before_it() -> None:
    server = server_of(Script(revocations=(30, 10)), start=100)
    old, new = token_of(ask(server, 100)), token_of(ask(server, 110))
    assert [record.revoked_at for record in server.tokens] == [110, 130]
    assert [server.truth(110, token) for token in (old, new)] == [TokenTruth.REVOKED, TokenTruth.VALID]
    assert server.tokens[0].truth(110) is TokenTruth.REVOKED
    ask(server, 140)
    assert server.tokens[2].revoked_at is None


def test_replacing_the_script_keeps_tokens_log_lock_and_queue() -> None:
    server = server_of(Script(overuse=Overuse(requests=1, seconds=10)))
    token = warm(server)
    ask(server, 1)
    server.next_api_calls(ApiBehaviour(fault=ApiFault.SCA))
    server.replace_script(Script(lifetime=5, first_token_requests=(TokenBehaviour(fault=TokenFault.HTML),)))
    assert status(ask(server, 2)) == 400
    assert server.locked_until == 901
    assert status(call(server, 3, token)) == 401
    assert status(call(server, 3, token)) == 200
    assert json_of(ask(server, 901))["expires_in"] == 5


# Keys.


def test_rotation_refuses_the_old_key_and_leaves_its_tokens_alone() -> None:
    server = server_of()
    token = warm(server)
    server.set_api_key(canary.secret(1))
    assert status(ask(server)) == 401
    assert status(ask(server, 0, basic(password=canary.secret(1)))) == 200
    assert server.is_valid(1, token)
    assert server.grant("http://localhost").client_secret == canary.secret(1)


def test_several_keys_are_good_at_once_until_they_are_revoked() -> None:
    server = server_of()
    server.add_api_key(canary.secret(1))
    assert [status(ask(server, 0, basic(password=canary.secret(n)))) for n in (0, 1, 2)] == [200, 200, 401]
    server.revoke_api_key(canary.secret(0))
    assert [status(ask(server, 0, basic(password=canary.secret(n)))) for n in (0, 1)] == [401, 200]
    with pytest.raises(ValueError, match="the last one cannot be revoked"):
        server.revoke_api_key(canary.secret(1))


def test_tokens_are_revoked_by_text_by_number_and_all_together() -> None:
    server = server_of(Script(lifetime=10))
    first = warm(server)
    assert server.revoke(1, first)
    assert not server.revoke(2, first)
    assert not server.revoke(2, "unknown")
    assert not server.revoke(2, 9)
    assert not server.revoke(2, 0)
    ask(server, 3)
    assert server.revoke(4, 2)
    ask(server, 5)
    ask(server, 5)
    assert server.revoke_all(6) == 2
    assert server.revoke_all(6) == 0
    assert [record.revoked_at for record in server.tokens] == [1, 4, 6, 6]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"client_id": ""}, "client_id"),
        ({"api_key": ""}, "api_key"),
        ({"token_prefix": "a b"}, "token_prefix"),
        ({"token_prefix": "é"}, "token_prefix"),
        ({"token_prefix": ""}, "token_prefix"),
        ({"keep_arrivals": 0}, "keep_arrivals"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], reason: str) -> None:
    given: dict[str, Any] = {"client_id": "client", "api_key": canary.secret(), **arguments}
    with pytest.raises(ValueError, match=reason):
        AuthorizationServer(**given)


# Overuse and rate limits.


def test_one_request_too_many_in_the_window_locks_the_account() -> None:
    server = server_of(Script(overuse=Overuse(requests=2, seconds=10, lock_seconds=100, extends=False)))
    assert server.locked_until == -math.inf
    assert [status(ask(server, now)) for now in (0, 5, 10, 14.9)] == [200, 200, 200, 400]
    assert server.lock_count == 1
    assert server.locked_until == 114.9
    answer = ask(server, 114)
    assert json_of(answer) == LOCKED
    assert last(server).detail == "locked"
    assert [status(ask(server, now)) for now in (114.9, 115, 116)] == [200, 200, 400]
    assert server.lock_count == 2


def test_a_request_during_the_lock_extends_it_if_the_rule_says_so() -> None:
    server = server_of(Script(overuse=Overuse(requests=1, seconds=10, lock_seconds=100)))
    assert [status(ask(server, now)) for now in (0, 1, 100, 199, 299)] == [200, 400, 400, 400, 200]
    assert server.lock_count == 1


def test_refusals_have_a_limit_of_their_own() -> None:
    rule = Overuse(requests=100, seconds=10, refused=1)
    server = server_of(Script(overuse=rule))
    assert [status(ask(server, now, basic("x"))) for now in (0, 10, 11)] == [401, 401, 400]
    assert status(ask(server, 12)) == 400
    server = server_of(Script(overuse=rule, first_token_requests=(TokenBehaviour(fault=TokenFault.INVALID_CLIENT),)))
    assert [status(ask(server, now, basic("x"))) for now in (0, 1)] == [401, 400]


def test_faults_that_issue_nothing_win_over_the_lock_and_count_all_the_same() -> None:
    html = TokenBehaviour(fault=TokenFault.HTML)
    server = server_of(Script(overuse=Overuse(requests=1, seconds=10), first_token_requests=(html, html)))
    assert [status(ask(server)) for _ in range(3)] == [502, 502, 400]


def test_rate_limit_headers_count_every_route_per_window() -> None:
    limits = (RateLimit(seconds=10, calls=3), RateLimit(seconds=100, calls=5))
    server = server_of(Script(rate_limits=limits), start=50, epoch=1_000_000)
    for now in (50, 51):
        ask(server, now)
    answer = ask(server, 59, path="/")
    assert lines(answer, "x-ratelimit") == ["3, 3"]
    assert lines(answer, "x-ratelimit-remaining") == ["0, 2"]
    assert lines(answer, "x-ratelimit-reset") == ["1000060, 1000150"]
    assert lines(answer, "date") == ["Mon, 12 Jan 1970 13:47:39 GMT"]
    assert lines(ask(server, 59.5), "x-ratelimit-remaining") == ["0, 1"]
    assert lines(ask(server, 75), "x-ratelimit") == ["1, 5"]
    assert lines(ask(server, 75), "x-ratelimit-reset") == ["1000080, 1000150"]


def test_without_an_epoch_there_is_neither_date_nor_reset_and_without_limits_no_header() -> None:
    answer = ask(server_of())
    assert lines(answer, "x-ratelimit") == ["1, 1, 1, 1"]
    assert lines(answer, "x-ratelimit-reset") == lines(answer, "date") == []
    assert lines(ask(server_of(Script(rate_limits=()))), "x-ratelimit") == []


def test_rate_limits_are_enforced_on_request() -> None:
    script = Script(rate_limits=(RateLimit(seconds=10, calls=2),), enforce_rate_limits=True)
    server = server_of(script)
    token = warm(server)
    assert status(call(server, 1, token)) == 200
    for answer in (call(server, 1, token), ask(server, 1)):
        assert status(answer) == 429
        assert lines(answer, "x-ratelimit-remaining") == ["0"]
        assert lines(answer, "x-ratelimit-reset") == ["1700000010"]
        assert last(server).detail == "over the rate limit"
    assert status(call(server, 10, token)) == 200


@pytest.mark.parametrize(
    ("wall", "date"),
    [
        (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
        (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
        (1_709_251_199.9, "Thu, 29 Feb 2024 23:59:59 GMT"),
        (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
    ],
)
def test_http_dates_are_those_of_the_calendar(wall: float, date: str) -> None:
    assert http_date(wall) == date


# The log.


def test_every_request_of_any_kind_is_written_down_in_order() -> None:
    server = server_of()
    token = warm(server)
    call(server, 1, token)
    ask(server, 2, path="/nowhere", method="PUT")
    assert [(entry.seq, entry.now, entry.route, entry.method, entry.status) for entry in server.arrivals] == [
        (0, 0, Route.TOKEN, "POST", 200),
        (1, 1, Route.API, "GET", 200),
        (2, 2, Route.OTHER, "PUT", 404),
    ]


def test_a_token_sent_after_its_rejection_has_been_answered_is_noted() -> None:
    server = api_failing(ApiFault.UNAUTHORIZED, latency=2)
    token = warm(server)
    for now in (1, 2.9, 3):
        call(server, now, token)
    assert [entry.rejected_before for entry in server.arrivals] == [False, False, False, True]
    assert not any(entry.replayed for entry in server.arrivals)


@pytest.mark.parametrize("name", ["X-Request-Id", "idempotency-key"])
def test_a_call_sent_again_with_its_rejected_token_is_a_replay(name: str) -> None:
    server = server_of()
    token = warm(server)
    server.revoke_all(1)
    for now, label in ((2, "a"), (3, "b"), (4, "a"), (5, "a")):
        call(server, now, token, (name, label))
    assert [entry.replayed for entry in server.arrivals[1:]] == [False, False, True, True]
    assert [entry.request_id for entry in server.arrivals] == [None, "a", "b", "a", "a"]
    fresh = token_of(ask(server, 5))
    call(server, 6, fresh, (name, "a"))
    assert not last(server).replayed


def test_posts_are_counted_by_path_and_body_and_safe_methods_are_not() -> None:
    server = server_of()
    token = warm(server)
    for _ in range(2):
        call(server, 1, token, method="POST", path="/v2.01/client/x?y=1", body=b"a")
    call(server, 1, token, body=b"a")
    assert server.applied("POST", "/v2.01/client/x", b"a") == 2
    assert server.applied("GET", "/v2.01/client/users", b"a") == 0


def test_nothing_that_it_keeps_or_shows_holds_a_secret() -> None:
    server = server_of()
    old_key = canary.secret()
    answer = ask(server)
    token = token_of(answer)
    server.set_api_key(canary.secret(1))
    request = ServerRequest("GET", f"/v2.01/client/{token}?token={token}", (basic(),), token.encode())
    server.handle(1, request)
    call(server, 2, token, ("X-Request-Id", old_key), path=f"/v2.01/client/{canary.secret(1)}", method=token)
    call(server, 2, token, path="/v2.01/client/" + "x" * 300)
    assert server.arrivals[1].path == server.arrivals[2].path == server.arrivals[2].method == "(redacted)"
    assert server.arrivals[2].request_id == "(redacted)"
    assert len(last(server).path) == 203
    canary.assert_clean(server, answer, server.arrivals, server.tokens, server.script, *server.arrivals)
    canary.assert_clean(server._keys, server._log, server._register)
    shown = ServerRequest("GET", "/", (basic(),), token.encode())
    canary.assert_clean(shown)
    for thing in (server, shown):
        with pytest.raises(TypeError, match="cannot be pickled"):
            thing.__reduce_ex__(4)


def test_drafts_and_visits_hide_what_they_hold() -> None:
    server = server_of()
    reply = server._issue(0, TokenBehaviour())
    path = f"{TOKEN_PATH}?{canary.secret()}"
    place, proof, _ = server._understood(path, (("Authorization", f"Bearer {canary.token()}"),))
    request = ServerRequest("POST", path, (basic(),))
    visit = Visit(3, request, place, proof, canary.secret(), within=True)
    assert (repr(visit), repr(reply.draft)) == ("Visit(POST token at 3)", "Draft(200, 103 bytes, whole)")
    assert not canary.find_marks(repr(reply))
    for thing in (visit, visit.place, proof, server._understood):
        canary.assert_clean(thing)


def test_header_lines_tell_of_the_moment_of_the_answer_whenever_they_are_read() -> None:
    server = server_of(epoch=1_000_000)
    ask(server, 1)
    late, early = copy.deepcopy(server), copy.deepcopy(server)
    answer, again = ask(late, 2).response, ask(early, 2).response
    assert answer is not None
    assert again is not None
    expected = tuple(again.headers)
    warm(late)
    late.replace_script(Script(rate_limits=()))
    ask(late, 90_000)
    assert answer.headers == again.headers == expected
    assert expected == answer.headers
    assert answer.headers != expected[1:]
    assert hash(answer) == hash(again)
    assert (answer.headers[0], answer.headers[1:]) == (expected[0], expected[1:])
    assert repr(answer.headers) == f"<{len(expected)} header lines>"
    canary.assert_clean(answer.headers)


@pytest.mark.parametrize(
    ("headers", "request_id"),
    [
        ([("X-Request-Id", "a"), ("X-Request-Id", "b")], "a"),
        ([("Idempotency-Key", "a"), ("IDEMPOTENCY-KEY", "b")], "a"),
        ([("Idempotency-Key", "a"), ("x-REQUEST-id", "b")], "b"),
        ([("X-Request-Id", ""), ("idempotency-key", "b")], "b"),
        ([("X-Request-Id", "")], None),
        ([("Authorization", "Bearer other"), ("X-Request-Idea", "a")], None),
    ],
)
def test_the_first_line_of_a_name_counts_and_a_request_id_before_a_key(
    headers: list[tuple[str, str]], request_id: str | None
) -> None:
    server = server_of()
    assert status(call(server, 1, warm(server), *headers)) == 200
    assert last(server).request_id == request_id


def test_what_it_remembers_of_requests_is_bounded() -> None:
    server = server_of()
    for number in range(300):
        call(server, 1, f"unknown{number}", ("X-Request-Id", f"{number}"), path=f"/v2.01/client/{number}")
    assert {cache.cache_info().currsize for cache in (server._understood, server._shown)} == {128}


@pytest.mark.parametrize("fork", [copy.copy, copy.deepcopy])
def test_a_rotation_in_a_copy_is_not_one_in_the_original(
    fork: Callable[[AuthorizationServer], AuthorizationServer],
) -> None:
    server = server_of()
    ask(server)
    twin = fork(server)
    twin.set_api_key(canary.secret(1))
    assert (status(ask(server, 1)), status(ask(twin, 1))) == (200, 401)
    path = f"/v2.01/client/{canary.secret(1)}"
    for each in (server, twin, server):
        call(each, 2, None, path=path.replace(canary.secret(1), "new") if each is server else path)
    assert (last(server).path, last(twin).path) == ("/v2.01/client/new", "(redacted)")


def test_only_as_many_arrivals_are_kept_as_asked_for() -> None:
    server = server_of(keep_arrivals=3)
    for now in range(10):
        ask(server, now)
        assert min(now + 1, 3) <= len(server.arrivals) <= 6
    assert repr(server) == "<AuthorizationServer: 10 arrivals>"
    assert [entry.seq for entry in server.arrivals][-3:] == [7, 8, 9]


# Purity.


@pytest.mark.parametrize("fork", [copy.copy, copy.deepcopy])
def test_a_copy_goes_its_own_way(fork: Callable[[AuthorizationServer], AuthorizationServer]) -> None:
    script = Script(
        overuse=Overuse(requests=3, seconds=100, refused=2),
        first_token_requests=(TokenBehaviour(), TokenBehaviour(lifetime=7), TokenBehaviour(lifetime=8)),
        first_api_calls=(ApiBehaviour(fault=ApiFault.UNAUTHORIZED),),
        rate_limits=(RateLimit(seconds=10, calls=100),),
    )

    def use(server: AuthorizationServer) -> list[object]:
        token = token_of(ask(server, 11))
        label = ("X-Request-Id", "a")
        answers = [call(server, 12, token, label, method="POST"), call(server, 13, token, label, method="POST")]
        server.revoke(14, token)
        answers += [call(server, 15, token), ask(server, 16, basic("x")), ask(server, 17)]
        done = server.applied("POST", "/v2.01/client/users")
        return [token, answers, list(server.arrivals), list(server.tokens), server.locked_until, done]

    server = server_of(script)
    ask(server, 1)
    first, second = fork(server), fork(server)
    assert copy.deepcopy(server._register).records == server.tokens
    told = use(first)
    assert use(second) == told
    assert use(server) == told
    assert told[-2] == 917


def test_origin_of_time_and_kind_of_number_change_no_answer() -> None:
    script = Script(
        lifetime=4,
        phases=(Phase(at=5, until=8, token=TokenBehaviour(fault=TokenFault.RATE_LIMITED_RETRY_DATE)),),
        revocations=(11,),
        overuse=Overuse(requests=3, seconds=6, lock_seconds=4),
    )

    def run(start: float) -> list[object]:
        server = server_of(script, start=start)
        seen: list[object] = []
        for step in range(30):
            answer = ask(server, start + step)
            seen.append((answer, server.is_valid(start + step, server._register.text(1))))
        return seen

    assert run(0) == run(10**9) == run(-64.0)


def test_a_long_life_of_rotations_and_revocations_leaves_no_trace_in_what_a_request_costs() -> None:
    server = server_of()
    for number in range(100):
        server.set_api_key(canary.secret(number))
    assert len(server._secrets) == 33
    with_old, with_oldest = (f"/{canary.secret(number)}" for number in (98, 0))
    server.handle(0, ServerRequest("GET", with_old))
    assert server.arrivals[-1].path == "(redacted)"
    server.handle(0, ServerRequest("GET", with_oldest))
    assert server.arrivals[-1].path == with_oldest
