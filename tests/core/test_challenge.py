"""What an API's answer says about the token, and the parser of WWW-Authenticate."""

from __future__ import annotations

import gzip
import json
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evertoken import Challenge, Profile, mangopay, read_challenge
from evertoken._challenge import AuthChallenge, parse_challenges

SCA = "PendingUserAction RedirectUrl=https://sca.mangopay.com?token=abc,def"
INVALID = json.dumps(
    {"Message": "The authorization credentials are not valid", "Type": "invalid_credentials", "Date": 1733404277}
).encode()
LOCKED = b'{"error":"unauthorized_client","error_description":"This account has been temporarily locked."}'


def challenge(
    *lines: str,
    status: int = 401,
    body: bytes = b"",
    name: str = "WWW-Authenticate",
    profile: Profile = mangopay.PROFILE,
) -> Challenge:
    headers = [("Content-Length", str(len(body))), *((name, line) for line in lines)]
    return read_challenge(status, headers, body, profile)


@pytest.mark.parametrize(
    "line",
    [
        SCA,
        SCA.replace("Redirect", "redirect"),
        SCA.lower(),
        SCA.upper(),
        "PendingUserAction",
        "PendingUserAction\tRedirectUrl = x",
        f'Bearer realm="api", {SCA}',
        f'Bearer realm="api", error="invalid_token", {SCA}',
        f"Basic, Negotiate abc==, {SCA}",
        f",, {SCA}",
        f'Bearer realm="quote \\" comma ,", {SCA}',
    ],
)
def test_a_user_who_has_to_act_is_no_matter_of_the_token(line: str) -> None:
    assert challenge(line) is Challenge.SCA
    assert challenge(line, body=INVALID) is Challenge.SCA
    assert challenge("Basic", line, "Digest", name="www-AUTHENTICATE") is Challenge.SCA


@pytest.mark.no_cover
@pytest.mark.parametrize(
    "line",
    [
        'Bearer error="invalid_token"',
        'bearer realm="x", error="invalid_token", error_description="expired"',
        "BEARER Error=invalid_token",
        'Bearer error = "invalid_token"',
        'Bearer error="invalid\\_token"',
        'Basic realm="x", Bearer realm="y", error="invalid_token"',
        'Bearer scope="a b",error="invalid_token",Basic realm="z"',
        'Bearer error="invalid_token',
        'Bearer error="INVALID_TOKEN"',
        'Bearer error="invalid_token "',
        "Bearer error='invalid_token'",
        "bearer ERROR=Invalid_Token",
        'Bearer,error="invalid_token"',
        'Bearer , error="invalid_token"',
        'Bearer realm="x" error="invalid_token"',
        "Bearer realm=x error=invalid_token error_description=expired",
        'Bearer realm="x"; error="invalid_token"; error_description="a, b"',
        "Bearer error=invalid_token; realm=x",
        "Bearer error=invalid_token;realm=x",
        'Bearer  \terror  =  "invalid_token"',
        ',, Bearer ,, error="invalid_token" ,,',
        'Negotiate abc==, Bearer error="invalid_token", Basic realm="z"',
    ],
)
@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 410, 422, 429, 499])
def test_a_bearer_challenge_with_invalid_token_is_about_the_token_on_any_4xx(line: str, status: int) -> None:
    assert challenge(line, status=status) is Challenge.TOKEN
    assert challenge("Basic realm=x", line, status=status, name="WWW-AUTHENTICATE") is Challenge.TOKEN
    assert read_challenge(status, [("www-authenticate", line)], b"") is Challenge.TOKEN


@pytest.mark.parametrize(
    "line",
    [
        "",
        "Bearer",
        'Bearer realm="error=invalid_token"',
        'Bearer realm="x, Bearer error=\\"invalid_token\\""',
        'Basic realm="PendingUserAction, PendingUserAction x=y"',
        'Bearer error="insufficient_scope"',
        'Bearer error="invalid_tokens"',
        "Bearer error",
        'DPoP error="invalid_token"',
        'Bearer realm="x", Digest error="invalid_token"',
        'Bearer realm="x", (what) is=this, error="invalid_token"',
        'Bearer error="ok", error="invalid_token"',
        'error="invalid_token"',
        'PendingUserAction="x"',
        "NotPendingUserAction x=y",
        '"PendingUserAction x=y',
    ],
)
def test_other_challenges_do_not_say_why(line: str) -> None:
    assert challenge(line) is Challenge.UNKNOWN
    assert challenge(line, status=403) is Challenge.NONE


def test_parameters_of_one_line_do_not_belong_to_the_challenge_of_another() -> None:
    assert challenge("Bearer", 'error="invalid_token"') is Challenge.UNKNOWN


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (INVALID, Challenge.TOKEN),
        (b'{"Type":"not_authorized"}', Challenge.TOKEN),
        (b'{"Type":"invalid_credentials","Id":"1","Date":1.5,"errors":null}', Challenge.TOKEN),
        (b"", Challenge.UNKNOWN),
        (b"{}", Challenge.UNKNOWN),
        (b"<html>invalid_credentials</html>", Challenge.UNKNOWN),
        (b'{"Type":"Invalid_Credentials"}', Challenge.UNKNOWN),
        (b'{"type":"invalid_credentials"}', Challenge.UNKNOWN),
        (b'{"Type":["invalid_credentials"]}', Challenge.UNKNOWN),
        (b'{"Type":"invalid_credentials","Type":"x"}', Challenge.UNKNOWN),
        (b'["invalid_credentials"]', Challenge.UNKNOWN),
        (LOCKED, Challenge.UNKNOWN),
        (b'{"Type":' * 60_000, Challenge.UNKNOWN),
    ],
)
def test_the_body_of_a_401_says_whether_it_is_the_token(body: bytes, expected: Challenge) -> None:
    assert challenge(body=body) is expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (LOCKED, Challenge.LOCKED),
        (b'{"error":"unauthorized_client"}', Challenge.LOCKED),
        (b'{"error":"invalid_client"}', Challenge.NONE),
        (b'{"Type":"param_error"}', Challenge.NONE),
        (INVALID, Challenge.NONE),
        (b"unauthorized_client", Challenge.NONE),
        (b"", Challenge.NONE),
    ],
)
def test_only_unauthorized_client_makes_a_400_of_mangopays_a_lock(body: bytes, expected: Challenge) -> None:
    assert challenge(SCA, status=400, body=body) is expected


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbf" + LOCKED,
        gzip.compress(LOCKED, mtime=0),
        LOCKED.decode().encode("utf-16"),
        b'{"error":"unauthorized_client","error":"unauthorized_client"}',
        b'{"error":"unauthorized_client","note":"\xe9"}',
        b'{"Type":"unauthorized_client"}',
        b"error=unauthorized_client",
    ],
)
def test_a_lock_is_recognised_in_every_disguise(body: bytes) -> None:
    assert challenge(status=400, body=body) is Challenge.LOCKED


def test_what_one_vendor_calls_a_lock_is_none_in_the_answer_of_another() -> None:
    other = Profile(locked_codes=("Account_Frozen",))
    frozen = b'{"error":"account_frozen"}'
    assert challenge(status=400, body=LOCKED, profile=Profile()) is Challenge.NONE
    assert challenge(status=400, body=LOCKED, profile=other) is Challenge.NONE
    assert challenge(status=400, body=frozen, profile=other) is Challenge.LOCKED
    assert challenge(status=400, body=frozen) is Challenge.NONE
    assert read_challenge(400, [], LOCKED) is Challenge.NONE


@pytest.mark.parametrize("status", [-1, 0, 200, 204, 302, 399, 500, 503, 10**30])
@pytest.mark.parametrize("body", [b"", INVALID, LOCKED], ids=["empty", "invalid", "locked"])
def test_no_other_status_is_about_the_token(status: int, body: bytes) -> None:
    assert challenge('Bearer error="invalid_token"', status=status, body=body) is Challenge.NONE


@pytest.mark.parametrize("status", [402, 403, 404, 407, 409, 428, 430])
@pytest.mark.parametrize("body", [b"", INVALID, LOCKED], ids=["empty", "invalid", "locked"])
def test_a_4xx_that_names_no_token_is_not_about_it_least_of_all_a_403(status: int, body: bytes) -> None:
    for line in ("", "Bearer", 'Bearer error="insufficient_scope"', SCA, f'{SCA}, Bearer error="invalid_token"'):
        assert challenge(line, status=status, body=body) is Challenge.NONE


@pytest.mark.parametrize("body", [b"", INVALID, LOCKED], ids=["empty", "invalid", "locked"])
def test_a_429_is_a_rate_limit_whatever_it_says(body: bytes) -> None:
    assert challenge(SCA, status=429, body=body) is Challenge.RATE_LIMITED


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", []),
        (" , ,", []),
        ("Basic", [("basic", {})]),
        ("Negotiate a.b+c/d==", [("negotiate", {})]),
        ("Basic realm=x", [("basic", {"realm": "x"})]),
        ('Basic realm="a, b=\\"c\\" \\\\"', [("basic", {"realm": 'a, b="c" \\'})]),
        ('Basic realm=""', [("basic", {"realm": ""})]),
        ("Basic realm=", [("basic", {"realm": ""})]),
        ('Basic realm="open, and more', [("basic", {"realm": "open, and more"})]),
        ("A, B c=d, e=f,C", [("a", {}), ("b", {"c": "d", "e": "f"}), ("c", {})]),
        ("A b=1, B=2, b=3", [("a", {"b": "1"})]),
        ("b=1, A", [("a", {})]),
        ("A b=1, (x), c=2", [("a", {"b": "1"}), ("", {"c": "2"})]),
        ("A b\t = \t1", [("a", {"b": "1"})]),
        ("A    b=1", [("a", {"b": "1"})]),
        ("A b=1 c=2;d=3; e='4'", [("a", {"b": "1", "c": "2", "d": "3", "e": "4"})]),
        ('A b="1" c="2";d=3', [("a", {"b": "1", "c": "2", "d": "3"})]),
        ("A \u00e9=1", [("a", {})]),
    ],
)
def test_a_line_is_a_list_of_challenges(line: str, expected: list[tuple[str, dict[str, str]]]) -> None:
    assert parse_challenges([line]) == expected


def test_a_challenge_shows_nothing_of_what_it_carries() -> None:
    assert repr(parse_challenges([SCA])) == "[AuthChallenge(1 parameters), AuthChallenge(0 parameters)]"


TOKENS = st.text("ab!~", min_size=1, max_size=5)
VALUES = st.text('ab," =\\', max_size=8)
CHALLENGES = st.builds(AuthChallenge, TOKENS, st.dictionaries(TOKENS, VALUES, max_size=3))


def written(one: AuthChallenge) -> str:
    quoted = (
        name + '="' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for name, value in one.parameters.items()
    )
    return f"{one.scheme} {', '.join(quoted)}".rstrip()


@pytest.mark.no_cover
@given(st.lists(CHALLENGES, max_size=4))
def test_what_is_written_by_the_grammar_is_read_back(challenges: list[AuthChallenge]) -> None:
    assert parse_challenges([", ".join(map(written, challenges))]) == challenges
    assert parse_challenges(map(written, challenges)) == challenges


@pytest.mark.no_cover
@given(
    st.sampled_from([400, 401, 429]) | st.integers(),
    st.lists(
        st.tuples(
            st.sampled_from(["WWW-Authenticate", "www-authenticate"]) | st.text(max_size=5),
            st.text() | st.text('aB ,="\\/\t', max_size=30),
        ),
        max_size=5,
    ),
    st.binary() | st.text().map(lambda text: json.dumps({"Type": text, "error": text}).encode()),
)
def test_any_answer_gives_one_challenge(status: int, headers: list[tuple[str, str]], body: bytes) -> None:
    assert isinstance(read_challenge(status, headers, body, mangopay.PROFILE), Challenge)


class Several:
    """A mapping as of HTTP libraries: ``items`` joins the lines of one name, and another method keeps them."""

    def __init__(self, *lines: tuple[str, str]) -> None:
        self._lines = lines

    def items(self) -> list[tuple[str, str]]:
        raise AssertionError("there is a better one")

    def multi_items(self) -> list[tuple[str, str]]:
        return list(self._lines)


INVALID_TOKEN = 'Bearer error="invalid_token"'


def test_headers_that_can_be_read_once_are_read_once() -> None:
    headers: Any = (pair for pair in [("WWW-Authenticate", INVALID_TOKEN)])
    assert read_challenge(401, headers, b"") is Challenge.TOKEN


@pytest.mark.parametrize(
    "headers",
    [
        {"www-authenticate": INVALID_TOKEN},
        MappingProxyType({"WWW-Authenticate": INVALID_TOKEN}),
        Several(("WWW-Authenticate", "Basic"), ("WWW-Authenticate", INVALID_TOKEN)),
        [(b"WWW-Authenticate", INVALID_TOKEN.encode())],
        {"X": 5, "WWW-Authenticate": INVALID_TOKEN},
        {"WWW-Authenticate": ["Basic", INVALID_TOKEN.encode()]},
    ],
    ids=["dict", "mapping", "several", "bytes", "numbers", "lists"],
)
def test_headers_may_come_as_pairs_or_as_what_a_library_has_for_them(headers: Any) -> None:  # noqa: ANN401
    assert read_challenge(401, headers, b"") is Challenge.TOKEN


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"status": None}, "read_challenge: status must be an int, not NoneType"),
        ({"status": "401"}, "read_challenge: status must be an int, not str"),
        ({"status": "200"}, "read_challenge: status must be an int, not str"),
        ({"headers": None}, "read_challenge: headers must be pairs"),
        ({"headers": "WWW-Authenticate: Bearer"}, "read_challenge: headers must be pairs"),
        ({"body": None}, "read_challenge: body must be bytes"),
        ({"body": "{}"}, "read_challenge: body must be bytes"),
        ({"profile": "mangopay"}, "profile must be a Profile, not str"),
        ({"profile": None}, "profile must be a Profile, not NoneType"),
    ],
    ids=str,
)
def test_what_is_no_answer_is_refused_by_name(change: dict[str, Any], said: str) -> None:
    answer: dict[str, Any] = {"status": 401, "headers": (), "body": b"", "profile": mangopay.PROFILE}
    with pytest.raises(TypeError) as caught:
        read_challenge(**(answer | change))
    assert str(caught.value).startswith(said)


def test_a_body_may_come_in_any_buffer() -> None:
    for buffer in (bytearray(INVALID), memoryview(INVALID)):
        assert read_challenge(401, (), buffer) is Challenge.TOKEN
