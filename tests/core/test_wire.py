"""What the token endpoint's answers mean, what is said about them, and what is never said."""

from __future__ import annotations

import gzip
import json
import sys
import tracemalloc
import zlib
from base64 import b64encode
from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evertoken import (
    AuthenticationParts,
    BasicAuthentication,
    BlockKind,
    ClientAuthentication,
    ClientCredentials,
    HttpResponse,
    PostAuthentication,
    Problem,
    ProblemKind,
    Profile,
    TokenEndpoint,
    mangopay,
    outcomes,
)
from evertoken._answer import TokenAnswer, read_answer
from evertoken._body import read_body
from evertoken._http import build_request
from evertoken._scrub import LEFT_OUT
from evertoken.testing.server._answers import gzip_bomb
from tests.kits import canary

PLAIN = ClientCredentials(TokenEndpoint("https://auth.example:8443/token"), "app", canary.secret())
CODES = (
    "invalid_request",
    "invalid_grant",
    "unsupported_grant_type",
    "invalid_scope",
    "invalid_target",
    "access_denied",
)
HTML = b"\n<!DOCTYPE html><title>Bad gateway</title>"
MAX_BODY = 65_536
OVERSIZED = b"too long " * 10_000


def packed(body: bytes) -> bytes:
    """``body`` in gzip, without the moment at which it is packed."""
    return gzip.compress(body, mtime=0)


def short(value: object) -> str:
    """An id for a parameter that may be long, or a secret."""
    return ascii(value).replace(canary.token(), "TOKEN").replace(canary.secret(), "SECRET")[:40]


def read(
    status: int,
    body: object = b"",
    *headers: tuple[str, str],
    grant: ClientCredentials | None = None,
    secrets: tuple[str, ...] = (),
) -> TokenAnswer:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_answer(grant or canary.grant(), HttpResponse(status, headers, data), max_body=MAX_BODY, secrets=secrets)


def blocked(outcome: outcomes.Outcome, kind: BlockKind) -> bool:
    return isinstance(outcome, outcomes.Blocked) and outcome.kind is kind


def problem_of(outcome: outcomes.Outcome) -> Problem:
    problem: object = getattr(outcome, "problem", None)
    assert isinstance(problem, Problem)
    return problem


def problem(status: int, body: object = b"", *headers: tuple[str, str], secrets: tuple[str, ...] = ()) -> Problem:
    return problem_of(read(status, body, *headers, secrets=secrets))


def token_answer(**changes: object) -> dict[str, object]:
    return {"access_token": canary.token(), "token_type": "bearer", "expires_in": 1199, **changes}


# ------------------------------------------------------------------------------------------------------------- granted


def test_mangopays_documented_answer_is_granted() -> None:
    body = b'{"access_token":"094696b3724d4aa5a182eac360dcd537","token_type":"bearer","expires_in":1199}'
    assert read(200, body) == outcomes.Granted("094696b3724d4aa5a182eac360dcd537", 1199.0, None)


def test_a_lifetime_is_a_float() -> None:
    outcome = read(200, token_answer(expires_in=1199))
    assert isinstance(outcome, outcomes.Granted)
    assert type(outcome.expires_in) is float


@pytest.mark.parametrize("scope", ["", "read", "read write", 'a  b "c"', "https://api.example/.default"])
def test_a_scope_is_kept_as_it_stands(scope: str) -> None:
    assert read(200, token_answer(scope=scope)) == outcomes.Granted(canary.token(), 1199.0, scope)


@pytest.mark.parametrize(
    "scope",
    [None, 5, ["read"], {}, "caf\u00e9", "\ud800", "a\nb", "\x1b[31m", f"a {canary.token()}", f"{canary.secret()} a"],
    ids=short,
)
def test_a_scope_that_is_none_or_repeats_a_secret_is_dropped(scope: object) -> None:
    assert read(200, token_answer(scope=scope)) == outcomes.Granted(canary.token(), 1199.0, None)


def test_a_grant_that_carries_an_error_too_is_still_a_grant() -> None:
    assert isinstance(read(200, token_answer(error="none", refresh_token="x")), outcomes.Granted)


def test_gzip_may_come_in_members() -> None:
    body = json.dumps(token_answer()).encode()
    assert isinstance(read(200, packed(body[:9]) + packed(body[9:])), outcomes.Granted)
    assert isinstance(read(200, packed(body[:9]) + packed(body[9:])[:-9]), outcomes.Malformed)
    assert "longer than" in problem(200, packed(b" " * MAX_BODY) + packed(b"  ")).summary


# ----------------------------------------------------------------------------------------------------------- malformed


@pytest.mark.parametrize(
    ("change", "flaw"),
    [
        ({"access_token": None}, "access_token is missing"),
        ({"access_token": "a b"}, "access_token is not text of 1 or more visible ASCII characters"),
        ({"access_token": ["a", "b"]}, "access_token is a list, or there more than once"),
        ({"token_type": "mac"}, 'token_type is not "bearer"'),
        ({"expires_in": 0}, "expires_in is not a number of seconds of 1 or more"),
    ],
    ids=short,
)
def test_a_malformed_token_answer_names_the_field(change: dict[str, object], flaw: str) -> None:
    outcome = read(200, token_answer(**change))
    assert isinstance(outcome, outcomes.Malformed)
    assert outcome.problem.summary == (
        f"Asking api.sandbox.mangopay.com for a token: the answer cannot be used, because {flaw} (200)"
    )
    assert "RFC 6749 section 5.1" in outcome.problem.advice


@pytest.mark.parametrize(
    ("body", "flaw"),
    [
        (b" \n", "empty"),
        (HTML, "an HTML page, probably from a proxy or load balancer"),
        (b"\xef\xbb\xbf<html>", "an HTML page, probably from a proxy or load balancer"),
        (b"\x1f\x8b\x08\x00", "compressed, and cut short or damaged"),
        (packed(b"{}")[:-1], "compressed, and cut short or damaged"),
        (packed(b" " * (MAX_BODY + 1)), "longer than 65536 bytes"),
        (packed(packed(b" " * 50_000_000)), "longer than 65536 bytes"),
        (packed(b""), "empty"),
        (b"\xff\xfe", "empty"),
        (b"\xff\xfd\xfc", "not JSON"),
        (b"hello", "not JSON"),
        (b"\xef\xbb\xbfhello", "not JSON"),
        (b"[1]", "JSON, but not an object"),
        (b"null", "JSON, but not an object"),
        (b"what=error&scope=", "a form, not JSON"),
        (b"&".join([b"a=b"] * 201), "a form, not JSON"),
        (b'{"a":NaN}', "JSON with NaN in it, which JSON does not have"),
        (b'{"a":' + b"1" * 641 + b"}", "JSON with a number of absurd length"),
        (b'{"a":' + b"[" * 200, "too full of brackets to be a token answer"),
        (OVERSIZED, "longer than 65536 bytes"),
    ],
    ids=short,
)
def test_a_body_that_cannot_be_read_is_named_for_what_it_is(body: bytes, flaw: str) -> None:
    ok, unavailable = read(200, body), read(503, body)
    assert isinstance(ok, outcomes.Malformed)
    assert isinstance(unavailable, outcomes.Failed)
    assert ok.problem.summary.endswith(f"because the body is {flaw} (200)")
    assert "Somebody other than the token endpoint may have answered" in ok.problem.advice
    assert unavailable.problem.summary.endswith(f"the server cannot serve now (503, the body is {flaw})")


def test_a_compression_that_is_named_and_not_known_is_told() -> None:
    for coding in ("br", "zstd", "compress, br"):
        outcome = read(200, b"\x0b\x02\x80", ("Content-Encoding", coding))
        assert isinstance(outcome, outcomes.Malformed)
        assert "because the body is compressed, which the request did not allow" in outcome.problem.summary
    assert "not JSON" in problem(200, b"hello", ("Content-Encoding", "identity")).summary
    assert "which the request did not allow" in problem(200, b"hello", ("Content-Encoding", "deflate")).summary


@pytest.mark.parametrize("status", [-1, 0, 99, 100, 204, 299, 600, 999, 1_000, 10**30])
def test_any_other_success_and_any_status_that_is_none_is_malformed(status: int) -> None:
    outcome = read(status, token_answer())
    assert isinstance(outcome, outcomes.Malformed)
    assert outcome.problem.status == (status if 0 <= status <= 999 else None)
    assert "no token answer has this status" in outcome.problem.summary


# ------------------------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, b"no such client"),
        (401, {"error": "unauthorized"}),
        (401, {"Type": "invalid_credentials"}),
        (401, OVERSIZED),
        (200, {"error": "invalid_client"}),
        (302, {"error": "invalid_client"}),
        (400, {"error": "invalid_client"}),
        (403, {"error": "invalid_client"}),
        (422, {"error": "invalid_client"}),
    ],
    ids=short,
)
def test_a_401_and_invalid_client_refuse_the_credentials(status: int, body: object) -> None:
    outcome = read(status, body)
    assert isinstance(outcome, outcomes.Blocked)
    assert outcome.kind is BlockKind.REFUSED
    assert outcome.problem.kind is ProblemKind.CREDENTIALS_REFUSED
    assert outcome.problem.advice == mangopay.PROFILE.refused_advice
    assert "the client's credentials were refused" in outcome.problem.summary


@pytest.mark.parametrize("grant", [PLAIN, canary.grant()], ids=["plain", "mangopay"])
@pytest.mark.parametrize("status", [401, 403])
def test_an_empty_401_or_403_names_both_causes(status: int, grant: ClientCredentials) -> None:
    for body in (b"", b" \r\n", b"\xef\xbb\xbf", packed(b"")):
        outcome = read(status, body, grant=grant)
        assert isinstance(outcome, outcomes.Blocked)
        assert outcome.kind is (BlockKind.REFUSED if status == 401 else BlockKind.UNCLEAR)
        assert "client id or secret are wrong" in outcome.problem.advice
        assert "allowlist" in outcome.problem.advice
    assert "client id or secret are wrong" not in problem(status, b"You shall not pass.").advice


SPELLING = 'BasicAuthentication("raw")', 'BasicAuthentication("rfc6749")', "PostAuthentication"


def spelt(client_id: str, secret: str, authentication: ClientAuthentication) -> ClientCredentials:
    return ClientCredentials(TokenEndpoint("https://as.example/token", authentication), client_id, secret)


@pytest.mark.parametrize(
    ("client_id", "secret"),
    [
        *(("app", f"abc{odd}def") for odd in "%+:\u00e9 =&/?#@'\"^|!"),
        ("app 1", "abcdef"),
        ("app@tenant", "abcdef"),
    ],
)
@pytest.mark.parametrize(
    ("authentication", "used"),
    [
        (BasicAuthentication(), 'BasicAuthentication("rfc6749")'),
        (BasicAuthentication("raw"), 'BasicAuthentication("raw")'),
        (PostAuthentication(), "PostAuthentication"),
    ],
    ids=["rfc6749", "raw", "post"],
)
def test_a_refusal_of_what_encodings_spell_differently_names_them(
    client_id: str, secret: str, authentication: ClientAuthentication, used: str
) -> None:
    grant = spelt(client_id, secret, authentication)
    for status, body in (
        (401, b""),
        (400, {"error": "invalid_client"}),
        (400, {"error": "incorrect_client_credentials"}),
        (400, {"error": "invalid_request"}),
        (403, b""),
    ):
        told = problem_of(read(status, body, grant=grant))
        assert all(name in told.advice for name in SPELLING)
        assert f"went by {used};" in told.advice
        assert secret not in str(told)
    assert "PostAuthentication" not in problem_of(read(400, {"error": "invalid_scope"}, grant=grant)).advice


class Own:
    def authenticate(self, grant: ClientCredentials) -> AuthenticationParts:
        return AuthenticationParts()


@pytest.mark.parametrize("authentication", [BasicAuthentication(), BasicAuthentication("raw"), PostAuthentication()])
def test_where_all_encodings_are_alike_or_the_embedder_authenticates_none_is_named(
    authentication: ClientAuthentication,
) -> None:
    plain, own = spelt("app-1.x_y~z", "aB3-._~", authentication), spelt("app", "a b%c", Own())
    for grant in (plain, own):
        assert "PostAuthentication" not in problem_of(read(401, {"error": "invalid_client"}, grant=grant)).advice


@pytest.mark.parametrize("code", ["scope_invalid", "invalid_client_metadata", "no_such_thing_at_all"])
@pytest.mark.parametrize("status", [400, 401])
def test_a_refusal_in_a_word_of_the_servers_own_is_told_in_that_word(status: int, code: str) -> None:
    outcome = read(status, {"error": code, "error_description": "Why not"})
    assert isinstance(outcome, outcomes.Blocked)
    assert outcome.kind is BlockKind.REFUSED
    assert outcome.problem.kind is ProblemKind.REQUEST_REFUSED
    assert (outcome.problem.error, outcome.problem.detail) == (code, "Why not")
    assert "The word is the server's own" in outcome.problem.advice


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 405, 422])
def test_other_codes_of_oauth_refuse_the_request_and_say_what_to_change(status: int, code: str) -> None:
    outcome = read(status, {"error": code})
    assert isinstance(outcome, outcomes.Blocked)
    assert outcome.kind is BlockKind.REFUSED
    assert outcome.problem.kind is ProblemKind.REQUEST_REFUSED
    assert (outcome.problem.error, outcome.problem.status) == (code, status)
    assert outcome.problem.advice


# -------------------------------------------------------------------------------------------------------------- locked


@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 407, 408, 423, 425, 429])
def test_a_code_that_the_profile_calls_a_lock_is_a_lock_on_any_refusing_status(status: int) -> None:
    outcome = read(status, {"error": "unauthorized_client"}, ("Retry-After", "900"))
    assert isinstance(outcome, outcomes.Blocked)
    assert outcome.kind is BlockKind.LOCKED
    assert (outcome.problem.kind, outcome.problem.advice) == (ProblemKind.LOCKED, mangopay.PROFILE.locked_advice)
    assert outcome.retry_after == 900.0


def test_where_the_profile_knows_no_lock_unauthorized_client_refuses_the_credentials() -> None:
    outcome = read(400, {"error": "unauthorized_client"}, grant=PLAIN)
    assert isinstance(outcome, outcomes.Blocked)
    assert outcome.kind is BlockKind.REFUSED
    assert outcome.problem.kind is ProblemKind.CREDENTIALS_REFUSED
    assert outcome.problem.advice == Profile().refused_advice


def test_a_profile_may_call_any_code_a_lock() -> None:
    profile = Profile(locked_codes=("temporarily_unavailable", "too_many_failures"))
    grant = ClientCredentials(TokenEndpoint("https://auth.example/token", profile=profile), "app", "abcdef")
    for code in profile.locked_codes:
        assert blocked(read(400, {"error": code}, grant=grant), BlockKind.LOCKED)
    assert blocked(read(400, {"error": "invalid_client"}, grant=grant), BlockKind.REFUSED)


# ------------------------------------------------------------------------------------------------- failed, rate limited


@pytest.mark.parametrize("status", [400, 401, 403, 500, 503])
def test_a_wait_that_a_used_up_limit_states_counts_whatever_the_status(status: int) -> None:
    def waits(*headers: tuple[str, str]) -> object:
        return getattr(read(status, b"", *headers), "retry_after", "none")

    assert waits(("X-RateLimit-Remaining", "0"), ("X-RateLimit-Reset", "900")) == 900.0
    assert waits(("RateLimit", '"day";r=0;t=900')) == 900.0
    for others in (
        [("X-RateLimit-Remaining", "7"), ("X-RateLimit-Reset", "900")],
        [("X-RateLimit-Reset", "900")],
        [("RateLimit", '"day";t=900')],
    ):
        assert waits(*others) is None


@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 429])
@pytest.mark.parametrize("code", ["too_many_requests", "Rate_Limit_Exceeded", "slow_down"])
def test_a_code_that_says_too_many_is_a_rate_limit_below_500(status: int, code: str) -> None:
    for headers, wait in (((), None), ((("Retry-After", "120"),), 120.0), ((("RateLimit-Reset", "7"),), 7.0)):
        outcome = read(status, {"error": code}, *headers)
        assert isinstance(outcome, outcomes.Blocked)
        assert (outcome.kind, outcome.retry_after) == (BlockKind.RATE_LIMITED, wait)
    assert isinstance(read(503, {"error": code}), outcomes.Failed)


@pytest.mark.parametrize(
    ("members", "wait"),
    [
        ({"retry_after": 64.5}, 64.5),
        ({"retryAfter": "15m"}, 900.0),
        ({"retry_after_ms": 1500}, 1.5),
        ({"retry_after": True}, None),
        ({"retry_after": [5]}, None),
        ({"retry_after": 10**300}, None),
        ({"note": {"retry_after": 5}}, None),
    ],
    ids=short,
)
def test_a_wait_that_the_body_states_counts(members: dict[str, object], wait: float | None) -> None:
    for status in (400, 429, 503):
        assert getattr(read(status, members), "retry_after", "none") == wait
    assert getattr(read(429, members, ("Retry-After", "1000")), "retry_after", "none") == 1000.0


@pytest.mark.parametrize("status", [408, 425, 500, 502, 503, 504, 599])
@pytest.mark.parametrize(
    ("body", "lasting"),
    [
        (b"", False),
        (HTML, False),
        ({"error": "server_error"}, False),
        ({"error": "scope_invalid"}, False),
        ({"error": "invalid_client"}, True),
        ({"Type": "invalid_scope"}, True),
        ({"error": "INVALID_REQUEST"}, True),
    ],
    ids=short,
)
def test_a_server_that_cannot_serve_has_failed_for_long_if_it_names_a_refusal(
    status: int, body: object, lasting: bool
) -> None:
    outcome = read(status, body, ("Retry-After", "7"))
    assert isinstance(outcome, outcomes.Failed)
    assert (outcome.problem.kind, outcome.retry_after) == (ProblemKind.SERVER, 7.0)
    assert outcome.lasting == lasting
    assert ("believe the refusal" in outcome.problem.advice) == lasting


@pytest.mark.parametrize("status", [500, 503])
def test_a_lock_under_a_5xx_is_a_failure_that_lasts(status: int) -> None:
    outcome = read(status, {"error": "unauthorized_client"})
    assert isinstance(outcome, outcomes.Failed)
    assert (outcome.lasting, outcome.problem.error) == (True, "unauthorized_client")


@pytest.mark.parametrize("code", ["temporarily_unavailable", "server_error"])
@pytest.mark.parametrize("status", [400, 403, 404, 422])
def test_a_code_that_means_later_has_failed_too(status: int, code: str) -> None:
    outcome = read(status, {"error": code}, ("Retry-After", "7"))
    assert isinstance(outcome, outcomes.Failed)
    assert (outcome.problem.kind, outcome.retry_after) == (ProblemKind.SERVER, 7.0)


def test_a_proxy_that_wants_credentials_is_a_matter_of_transport() -> None:
    outcome = read(407, {"error": "invalid_client"}, ("Proxy-Authenticate", "Basic"), ("Retry-After", "7"))
    assert isinstance(outcome, outcomes.Failed)
    assert (outcome.problem.kind, outcome.retry_after) == (ProblemKind.TRANSPORT, 7.0)
    assert "proxy" in outcome.problem.advice


@pytest.mark.parametrize("code", ["rate_limit", "temporarily_unavailable", "invalid_client", "scope_invalid"])
def test_a_429_is_a_rate_limit_whatever_else_it_says_but_for_a_lock(code: str) -> None:
    outcome = read(429, {"error": code})
    assert isinstance(outcome, outcomes.Blocked)
    assert outcome.kind is BlockKind.RATE_LIMITED
    assert (outcome.problem.kind, outcome.retry_after) == (ProblemKind.RATE_LIMITED, None)


# ------------------------------------------------------------------------------------------------------------- unclear


@pytest.mark.parametrize("status", [400, 402, 404, 405, 409, 411, 413, 415, 418, 451, 499])
@pytest.mark.parametrize(
    "body", [b"", HTML, {"error": "what"}, {"error": "Bad Request"}, {"Type": "param_error"}, OVERSIZED], ids=short
)
def test_a_refusal_without_a_code_of_oauth_is_unclear(status: int, body: object) -> None:
    outcome = read(status, body, ("Retry-After", "7"))
    assert isinstance(outcome, outcomes.Blocked)
    assert outcome.kind is BlockKind.UNCLEAR
    assert (outcome.problem.kind, outcome.retry_after) == (ProblemKind.UNCLEAR, 7.0)
    assert "token endpoint's URL" in outcome.problem.advice


def test_a_page_with_a_401_is_a_proxys() -> None:
    outcome = read(401, HTML)
    assert isinstance(outcome, outcomes.Blocked)
    assert outcome.kind is BlockKind.UNCLEAR
    assert "proxies" in outcome.problem.advice
    assert blocked(read(401, b'<!-- --><html>{"error":"scope_invalid"}'), BlockKind.UNCLEAR)


def test_what_a_page_says_beside_a_known_code_is_told() -> None:
    told = problem(401, b'<html><title>No</title><pre>{"error":"invalid_client","error_description":"Why not"}')
    assert (told.error, told.detail) == ("invalid_client", "Why not")
    assert (
        problem(401, b'<html><title>Not now &amp; here</title><pre>{"error":"invalid_client"}').detail
        == "Not now & here"
    )


NGINX = (
    b"<html>\r\n<head><title>400 No required SSL certificate was sent</title></head>\r\n<body>\r\n<center><h1>400 Bad"
    b" Request</h1></center>\r\n<center>No required SSL certificate was sent</center>\r\n<hr><center>nginx/1.25.3"
    b"</center>\r\n</body>\r\n</html>\r\n"
)


@pytest.mark.parametrize("status", [400, 403, 496])
def test_a_server_that_wants_a_client_certificate_is_understood(status: int) -> None:
    told = problem(status, NGINX)
    assert told.kind is ProblemKind.UNCLEAR
    assert told.detail == "400 No required SSL certificate was sent"
    assert "ssl_context with the client's certificate" in told.advice
    assert "ssl_context" in problem(status, b"A client certificate is required.").advice
    said = problem(401, {"error": "invalid_client", "error_description": "client certificate mismatch"})
    assert said.advice.startswith(mangopay.PROFILE.refused_advice)
    assert "ssl_context" in said.advice


@pytest.mark.parametrize(
    ("page", "shown"),
    [
        ("<title>502 Bad Gateway</title>", "502 Bad Gateway"),
        ('<TITLE lang="en">\n Site\nmaintenance </TITLE>', "Site maintenance"),
        ("<html><title>Sign in to the\x1b[31m hotel", "Sign in to the[31m hotel"),
        ("<p>No title here</p>", None),
        ("<title></title>", None),
        ("<title>Forbidden</title>", None),
        ("<title>your token: abcdef</title>", "[left out: unsafe to show]"),
        (f"<title>You sent {canary.secret()}</title>", "You sent [redacted]"),
        (f"<title>{'long title ' * 50}</title>", f"{'long title ' * 18}l\u2026"),
        ("<!DOCTYPE html>" + "<title" * 9_000, None),
    ],
    ids=short,
)
def test_of_a_page_the_title_is_told(page: str, shown: str | None) -> None:
    for status in (302, 403, 404, 503):
        assert problem(status, page.encode()).detail == shown
    assert problem(200, page.encode()).detail is None


def test_words_in_another_character_set_are_told_unless_a_secret_may_hide_in_them() -> None:
    latin = ("Content-Type", "application/json; charset=ISO-8859-1")
    body = '{"error":"invalid_scope","error_description":"p\u00e9rim\u00e9"}'.encode("latin-1")
    for secret, told in (("abcdef", "p\u00e9rim\u00e9"), ("abc\u00e9def", "[left out: unsafe to show]")):
        grant = spelt("app", secret, PostAuthentication())
        assert problem_of(read(400, body, latin, grant=grant)).detail == told
        assert problem_of(read(400, body.replace(b"\xe9", b"e"), latin, grant=grant)).detail == "perime"


@pytest.mark.parametrize("status", [404, 405])
def test_a_missing_route_speaks_of_the_url_first(status: int) -> None:
    assert problem(status).advice.startswith("Is the token endpoint's URL right?")


def test_a_403_speaks_of_permission() -> None:
    assert problem(403, HTML).advice == mangopay.PROFILE.forbidden_advice
    assert "allowlist" in mangopay.PROFILE.forbidden_advice


@pytest.mark.parametrize(
    ("location", "meaning"),
    [
        ("https://login.example/x?token=abcd#frag", "redirects to login.example ("),
        ("https://user:pass@LOGIN.example:8443/", "redirects to login.example ("),
        ("//login.example/x", "redirects to login.example ("),
        ("http://[::1]/", "redirects to ::1 ("),
        ("/v2.01/oauth/token/", "redirects ("),
        ("", "redirects ("),
        ("https:///path", "redirects ("),
        ("https://[bad/", "redirects ("),
        ("https://\u2100.example/", "redirects ("),
        ("https://what?\u202e\ud800", "redirects to what ("),
        ("https://token=abcd/", "redirects ("),
        ("https://" + "a" * 300 + "/", "redirects ("),
        ("https://" + canary.secret() + ".example/", "redirects to [redacted].example ("),
    ],
    ids=short,
)
def test_of_a_redirect_only_the_host_is_told(location: str, meaning: str) -> None:
    outcome = read(307, b"", ("Retry-After", "7"), ("location", location))
    assert isinstance(outcome, outcomes.Blocked)
    assert outcome.kind is BlockKind.UNCLEAR
    assert outcome.retry_after == 7.0
    assert f"the server {meaning}307" in outcome.problem.summary
    assert "abcd" not in str(outcome.problem)


def test_the_first_host_that_can_be_read_is_told_and_a_missing_one_is_not() -> None:
    told = problem(302, b"", ("Location", "https://[bad/"), ("Location", "/x"), ("Location", "https://a.example"))
    assert "the server redirects to a.example (302" in told.summary
    assert "the server redirects (302" in problem(302).summary


# ------------------------------------------------------------------------------------------------------ what is told


def test_a_problem_reads_as_a_sentence_at_three_in_the_morning() -> None:
    body = {"error": "invalid_scope", "error_description": "No such scope: x"}
    assert str(problem_of(read(400, body, grant=PLAIN))) == (
        "Asking auth.example:8443 for a token: the request was refused, and will be refused again (400, invalid_scope)"
        ' (the server said: "No such scope: x"). Ask for a scope that this client has, or have the scope added to the'
        " client."
    )


@pytest.mark.parametrize(
    ("body", "error", "detail"),
    [
        ({"error": "what", "error_description": "Why"}, "what", "Why"),
        ({"error": "what", "Type": "no", "Message": "Why"}, "what", "Why"),
        ({"error": {}, "Type": "what", "Message": "Why"}, "what", "Why"),
        ({"error_description": "", "Message": "Why"}, None, "Why"),
        ({"Type": "t", "Message": "m", "Id": "i", "Date": 1733404277, "errors": None}, "t", "m; Id i; Date 1733404277"),
        ({"Type": "t", "Message": "m", "Id": 5, "Date": 1.5, "errors": {"a": "b"}}, "t", "m; Id 5; Date 1.5; a: b"),
        (
            {"Type": "t", "Message": 5, "Id": [], "Date": None, "Errors": {"a": "b", "c": 1, "d": "e"}},
            "t",
            "a: b; d: e",
        ),
        ({"errors": ["a"]}, None, None),
        ({"Message": "m", "Id": [1], "Date": {"a": 1}}, None, "m"),
        ({"type": "about:blank", "title": "Forbidden", "traceId": "00-1"}, None, "Forbidden; Id 00-1"),
        ({"message": "m", "detail": "d"}, None, "m"),
        ({"detail": "d", "title": "t"}, None, "d"),
        ({}, None, None),
        (b"no healthy upstream", None, "no healthy upstream"),
        (b"[1, 2]", None, None),
        (b'{"Message":"half', None, None),
        (HTML, None, "Bad gateway"),
        (b"\xef\xbb\xbf<html>", None, None),
        (b"caf\xe9 closed", None, None),
        (b"oneword", None, None),
        (b" \r\n[two words", None, None),
        (b"your token: abcdef", None, LEFT_OUT),
        (b"access_token=abcdef&expires_in=5 ", None, None),
        (b"Authorization: Bearer abcdef", None, LEFT_OUT),
        (OVERSIZED, None, None),
    ],
    ids=short,
)
def test_both_families_of_errors_and_plain_text_are_told(body: object, error: str | None, detail: str | None) -> None:
    told = problem(409, body)
    assert (told.status, told.error, told.detail) == (409, error, detail)


@pytest.mark.parametrize(
    "said",
    [
        "client_secret=othersecret is wrong",
        "your Client Secret: othersecret",
        "password: hunter22 is wrong",
        'wrong "passwd" : "hunter22"',
        "pwd='hunter22'",
        "api_key=othersecret",
        "X-Api-Key: othersecret",
        "private key = MIIE",
        "client_assertion=eyJhbGciOi",
        "token: abcdef",
        "Authorization: Digest abcdef",
        "the header was Bearer abcdef",
        "the header was Basic b3RoZXI6b3RoZXJzZWNyZXQ5OQ==",
    ],
)
def test_the_credentials_of_somebody_else_are_not_told(said: str) -> None:
    for body in ({"error_description": said}, {"Message": "No", "errors": {"Field": said}}, f"It said {said}".encode()):
        grant = spelt("app", "0987654321", BasicAuthentication())
        assert problem_of(read(409, body, grant=grant)).detail == LEFT_OUT


@pytest.mark.parametrize(
    "said",
    [
        "The client secret is wrong, or the password has expired",
        "Use Basic authentication with an API key",
        "Basic auth is required",
        "no token",
    ],
)
def test_words_about_credentials_are_told(said: str) -> None:
    grant = spelt("app", "0987654321", BasicAuthentication())
    assert problem_of(read(409, {"error_description": said}, grant=grant)).detail == said


def test_text_beside_a_success_is_not_told_since_it_may_be_a_token() -> None:
    for status in (200, 201):
        assert problem(status, b"here is your prize abcdef").detail is None


def test_an_error_in_a_200_is_told() -> None:
    told = problem(200, {"error": "invalid_client", "error_description": "Why"})
    assert (told.error, told.detail) == ("invalid_client", "Why")


def test_long_words_of_the_server_are_cut() -> None:
    told = problem(400, {"error": "e" * 1_000, "error_description": "d" * 1_000})
    assert (told.error, told.detail) == ("e" * 63 + "\u2026", "d" * 199 + "\u2026")


def test_a_status_of_another_type_is_told_as_a_number() -> None:
    told = problem(HTTPStatus.NOT_FOUND)
    assert type(told.status) is int
    assert "(404, the body is empty)" in told.summary


# ---------------------------------------------------------------------------------------------------- what is not told


@pytest.mark.parametrize("status", [200, 201, 302, 400, 401, 403, 407, 429, 500, 600])
def test_no_secret_that_the_server_repeats_is_told(status: int) -> None:
    request = build_request(canary.grant(), 1, 10.0)
    header = dict(request.headers)["Authorization"]
    said = f"you sent {header} and {canary.secret()}, or {canary.secret().upper()}"
    bodies = ({"error": said, "error_description": said}, {"Type": said, "Message": said, "Id": said}, said.encode())
    for body in bodies:
        canary.assert_clean(read(status, body, ("Location", f"https://{said}/"), secrets=request.secrets))


@pytest.mark.parametrize(
    "body",
    [
        {
            "access_token": canary.token(),
            "token_type": 1,
            "error": canary.token(),
            "error_description": f"{canary.token()} is new",
        },
        {"refresh_token": canary.token(), "Message": f"use {canary.token()}"},
        {"data": [{"accessToken": [canary.token()]}], "Message": f"use {canary.token()}"},
        {"client_secret": {"new": canary.token()}, "Message": f"use {canary.token()}"},
        {"Message": f"use {canary.token()}", "errors": {"Password": canary.token()}},
    ],
    ids=short,
)
def test_no_token_in_the_answer_is_told(body: object) -> None:
    for status in (200, 400, 500):
        told = problem(status, body)
        canary.assert_clean(told)
        assert told.detail is None or "[redacted]" in told.detail


def test_a_token_that_is_a_number_is_not_told_either() -> None:
    assert problem(400, {"access_token": 987654321, "Message": "use 987654321"}).detail == "use [redacted]"


def test_words_behind_other_names_are_told() -> None:
    body = {"token_type": "mac", "is_token": True, "Message": "mac is true"}
    assert problem(200, body).detail == "mac is true"


# --------------------------------------------------------------------------------------------------------- any answer

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([*CODES, canary.token()]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.sampled_from(
    [
        "access_token",
        "token_type",
        "expires_in",
        "scope",
        "error",
        "error_description",
        "Type",
        "Message",
        "Id",
        "errors",
    ]
)
OBJECTS = st.dictionaries(FIELDS, JSON | st.sampled_from(["bearer", canary.secret()]), max_size=6)
BODIES = st.binary() | OBJECTS.map(lambda body: json.dumps(body).encode()) | st.just(canary.secret().encode())
STATUSES = st.sampled_from([200, 200, 302, 400, 400, 401, 403, 404, 407, 429, 503]) | st.integers()
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["Location", "Retry-After", "Date", "Content-Type"]) | st.text(max_size=8),
        st.text(max_size=30) | st.sampled_from([f"https://{canary.secret()}/?{canary.token()}", "5"]),
    ),
    max_size=4,
)


@pytest.mark.no_cover
@given(STATUSES, HEADERS, BODIES, st.sampled_from([0, 1, 50, MAX_BODY]))
def test_any_answer_has_one_outcome_and_its_problem_no_secret(
    status: int, headers: list[tuple[str, str]], body: bytes, max_body: int
) -> None:
    outcome = read_answer(canary.grant(), HttpResponse(status, headers, body), max_body=max_body)
    assert isinstance(outcome, TokenAnswer)
    if isinstance(outcome, outcomes.Granted):
        assert outcome.expires_in is None or 0 < outcome.expires_in <= 2**40
    else:
        shown = f"{outcome!r} {problem_of(outcome)}"
        assert "a secret" not in canary.find_marks(shown)


@pytest.mark.no_cover
@given(st.binary() | st.text().map(str.encode) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_an_object_or_words_for_what_else_they_are(body: bytes) -> None:
    for headers in ((), (("content-encoding", "deflate"),), (("Content-Type", "text/plain; charset=koi8-r"),)):
        said = read_body(headers, body, MAX_BODY)
        assert said.content is not None or said.flaw


def test_bytes_that_their_own_character_set_does_not_know_are_read_as_far_as_they_can_be() -> None:
    headers = (("Content-Type", "application/json; charset=us-ascii"),)
    said = read_body(headers, b'{"access_token": "x", "name": "\xff"}', MAX_BODY)
    assert said.content == {"access_token": "x", "name": "\N{REPLACEMENT CHARACTER}"}


def test_the_outcome_does_not_depend_on_how_many_digits_the_interpreter_accepts() -> None:
    limit = sys.get_int_max_str_digits()
    bodies = [json.dumps(token_answer()).replace("1199", "9" * digits).encode() for digits in (640, 641, 5_000)]
    try:
        seen: set[tuple[type[outcomes.Outcome], ...]] = set()
        for digits in (640, 4_300, 0):
            sys.set_int_max_str_digits(digits)
            seen.add(tuple(type(read(200, body)) for body in bodies))
    finally:
        sys.set_int_max_str_digits(limit)
    assert seen == {(outcomes.Granted, outcomes.Malformed, outcomes.Malformed)}


def test_a_stack_that_is_nearly_full_makes_nested_json_malformed_and_raises_nothing() -> None:
    nested = b'{"note":' + b"[" * 190 + b"]" * 190 + b"}"
    assert read_body((), nested, MAX_BODY).flaw is None

    def deeper(levels: int) -> object:
        return read_body((), nested, MAX_BODY).flaw if levels == 0 else deeper(levels - 1)

    depth = 0
    frame = sys._getframe()
    while frame.f_back:
        frame, depth = frame.f_back, depth + 1
    assert deeper(sys.getrecursionlimit() - depth - 100) == "not JSON"


def test_base64_of_the_credentials_is_among_the_secrets_that_a_request_names() -> None:
    pair = b64encode(f"canary:{canary.secret()}".encode()).decode()
    secrets = build_request(canary.grant(), 1, 10.0).secrets
    assert (
        problem(500, f"got Basic {pair} from you".encode(), secrets=secrets).detail == "got Basic [redacted] from you"
    )


@pytest.mark.parametrize("headers", [(), (("Content-Encoding", "deflate"),)], ids=["gzip", "deflate"])
def test_what_would_unpack_to_50_mb_is_not_unpacked(headers: tuple[tuple[str, str], ...]) -> None:
    body = gzip_bomb() if not headers else zlib.compress(b" " * 50_000_000)
    tracemalloc.start()
    try:
        outcome = read(200, body, *headers)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "longer than 65536 bytes" in problem_of(outcome).summary
    assert most < 1_000_000
