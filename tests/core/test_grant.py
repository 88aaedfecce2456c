"""What is asked of whom: wrong arguments are refused by name and without a secret, and authentication is exact."""

from __future__ import annotations

import copy
import pickle
import re
from base64 import b64decode
from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from evertoken import (
    AuthenticationParts,
    BasicAuthentication,
    ClientCredentials,
    PostAuthentication,
    Profile,
    TokenEndpoint,
    mangopay,
)
from evertoken._http import build_request
from tests.kits import canary

URL = "https://as.example/token"


def grant(at: TokenEndpoint | None = None, /, **arguments: object) -> ClientCredentials:
    values: dict[str, object] = {
        "endpoint": TokenEndpoint(URL) if at is None else at,
        "client_id": "canary",
        "client_secret": canary.secret(),
    }
    return ClientCredentials(**(values | arguments))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# The endpoint
# ------------


@pytest.mark.parametrize(
    "url",
    [
        URL,
        "https://as.example:8443/token?tenant=x",
        "HTTPS://AS.EXAMPLE/token",
        "http://localhost:8080/token",
        "http://LOCALHOST/token",
        "http://127.0.0.1/token",
        "http://127.255.0.3:1/token",
        "http://[::1]:8080/token",
        "https://[2001:db8::1]/token",
    ],
)
def test_https_everywhere_and_http_on_this_machine_are_taken(url: str) -> None:
    assert TokenEndpoint(url).url == url


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("", "white space"),
        (None, "URL"),
        (b"https://as.example", "URL"),
        (" https://as.example/token", "white space"),
        ("https://as.example/to ken", "white space"),
        ("https://as.example/token\r\nX: y", "white space"),
        ("https://as.example/token\x7f", "control"),
        ("http://as.example/token", "https"),
        ("http://128.0.0.1/token", "https"),
        ("http://127.0.0.256/token", "https"),
        ("http://127.1/token", "https"),
        ("http://localhost.evil.example/token", "https"),
        ("ftp://as.example/token", "https"),
        ("as.example/token", "host"),
        ("//as.example/token", "https"),
        ("https:///token", "host"),
        ("https://user:password@as.example/token", "user info"),
        ("https://user@as.example/token", "user info"),
        ("https://as.example/token#part", "fragment"),
        ("https://as.example/token#", "fragment"),
        ("https://as.example:port/token", "port"),
        ("https://as.example:99999/token", "port"),
        ("https://[::1/token", "URL"),
    ],
)
def test_an_address_that_is_not_safe_to_send_a_secret_to_is_refused_by_name(url: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault) as caught:
        TokenEndpoint(url)
    assert "TokenEndpoint.url" in str(caught.value)
    assert "password" not in str(caught.value)


def test_the_base_of_api_calls_is_held_to_the_same_rules() -> None:
    with pytest.raises(ValueError, match=r"api_base must be https"):
        grant(api_base="http://api.example")
    assert grant(api_base="https://api.example/v1").api_base == "https://api.example/v1"


# The client
# ----------


@pytest.mark.parametrize("argument", ["client_id", "client_secret", "scope", "audience", "resource"])
@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        (" ", "", "white space"),
        ("", "\n", "white space"),
        ("", "\r\nX: y", "control"),
        ("\x00", "", "control"),
        ("", "\x85x", "control"),
        ("", "\ud800", "surrogate"),
    ],
)
def test_text_that_cannot_be_meant_is_refused_by_name_and_not_repeated(
    argument: str, before: str, after: str, fault: str
) -> None:
    meant = canary.secret() if argument == "client_secret" else "meant"
    with pytest.raises(ValueError, match=fault) as caught:
        grant(**{argument: f"{before}{meant}{after}"})
    assert str(caught.value).startswith(argument)
    assert meant not in str(caught.value)
    canary.assert_clean(caught.value)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("client_id", ""),
        ("client_id", None),
        ("client_id", 5),
        ("client_secret", ""),
        ("client_secret", None),
        ("client_secret", b"bytes"),
        ("scope", ""),
        ("scope", 5),
        ("audience", ""),
        ("audience", b"bytes"),
        ("resource", ""),
        ("resource", [5]),
        ("resource", 5),
        ("resource", None),
        ("endpoint", 5),
        ("endpoint", "https://as.example"),
        ("parameters", {"": "x"}),
        ("parameters", {"tenant": ""}),
        ("parameters", {"tenant": 5}),
        ("parameters", {5: "x"}),
        ("parameters", "ab"),
        ("parameters", [("a", "b", "c")]),
        ("parameters", [("a", "b"), ("a", "c")]),
        ("parameters", 5),
    ],
)
def test_an_argument_that_is_empty_or_not_text_is_refused_by_name(argument: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"^{argument}\b"):
        grant(**{argument: value})


@pytest.mark.parametrize(
    "name",
    [
        "grant_type",
        "client_id",
        "client_secret",
        "client_assertion",
        "client_assertion_type",
        "scope",
        "audience",
        "resource",
    ],
)
def test_parameters_with_an_argument_of_their_own_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        grant(parameters={name: "x"})


class Unreadable(dict[str, str]):
    def items(self) -> NoReturn:
        raise RuntimeError(f"{canary.secret(2)} was in it")

    def __iter__(self) -> NoReturn:
        self.items()


@pytest.mark.parametrize("name", ["parameters", "resource"])
def test_what_raises_while_it_is_read_is_a_wrong_argument_and_leaves_no_secret_in_a_frame(name: str) -> None:
    with pytest.raises(ValueError, match=name) as caught:
        grant(**{name: Unreadable()})
    canary.assert_clean(caught.value)


def test_parameters_are_taken_as_a_mapping_or_as_pairs() -> None:
    assert grant(parameters={"ab": "x", "tenant": "y"}) == grant(parameters=[("ab", "x"), ("tenant", "y")])


def test_a_repeated_parameter_is_refused_and_not_dropped() -> None:
    with pytest.raises(ValueError, match="parameters"):
        grant(parameters=[("tenant", "x"), ("tenant", "y")])


def test_two_letter_words_are_not_pairs() -> None:
    with pytest.raises(ValueError, match="parameters"):
        grant(parameters=["ab"])


def test_a_client_that_authenticates_by_other_means_needs_no_secret() -> None:
    class Assertion:
        def authenticate(self, grant: ClientCredentials) -> AuthenticationParts:
            return AuthenticationParts(form=(("client_assertion", f"made-for-{grant.client_id}"),))

    made = grant(TokenEndpoint(URL, Assertion()), client_secret="")
    assert made.secrets() == ()
    assert b"client_assertion=made-for-canary" in build_request(made, 1, 10).body


def test_resources_are_one_or_several_and_kept_in_order() -> None:
    assert grant(resource="https://a.example").resource == ("https://a.example",)
    two = grant(resource=["https://a.example", "https://b.example"])
    assert two.resource == ("https://a.example", "https://b.example")


def test_a_grant_is_a_value_and_another_secret_is_another_value() -> None:
    assert grant() == grant()
    assert hash(grant()) == hash(grant())
    other = grant().with_secret(canary.secret(1))
    assert other != grant()
    assert other.same_client(grant())
    assert not other.same_proof(grant())
    assert other == grant(client_secret=canary.secret(1))


def test_with_secret_keeps_everything_else() -> None:
    full = grant(
        scope="a b", audience="aud", resource="https://r.example", parameters={"x": "y"}, api_base="https://api.example"
    )
    changed = full.with_secret(canary.secret(1)).with_secret(canary.secret())
    assert changed == full


def test_with_secret_refuses_what_the_constructor_refuses() -> None:
    with pytest.raises(ValueError, match="client_secret"):
        grant().with_secret("")


def test_the_secret_is_what_must_be_taken_out_of_texts() -> None:
    assert grant(client_secret="a b&c").secrets() == ("a b&c",)


@pytest.mark.parametrize(
    "make",
    [
        canary.grant,
        lambda: BasicAuthentication("raw").authenticate(canary.grant()),
        lambda: PostAuthentication().authenticate(canary.grant()),
        lambda: build_request(canary.grant(), 1, 10),
    ],
)
def test_what_holds_a_secret_hides_it_refuses_to_be_pickled_and_is_its_own_copy(make: Callable[[], object]) -> None:
    thing = make()
    canary.assert_clean(thing)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="pickled"):
            pickle.dumps(thing, protocol)
    assert copy.copy(thing) is thing
    assert copy.deepcopy(thing) is thing


def test_the_repr_of_a_grant_says_who_and_where() -> None:
    shown = repr(canary.grant())
    assert "canary" in shown
    assert mangopay.SANDBOX in shown


def test_endpoints_and_profiles_are_values() -> None:
    assert TokenEndpoint(URL) == TokenEndpoint(URL, BasicAuthentication(), Profile())
    assert hash(TokenEndpoint(URL)) == hash(TokenEndpoint(URL, BasicAuthentication(), Profile()))


# Client authentication
# ---------------------


def basic(client_id: str, secret: str, encoding: str = "rfc6749") -> str:
    method = BasicAuthentication(encoding)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    parts = method.authenticate(ClientCredentials(TokenEndpoint(URL, method), client_id, secret))
    ((name, value),) = parts.headers
    assert name == "Authorization"
    assert parts.form == ()
    scheme, _, code = value.partition(" ")
    assert scheme == "Basic"
    return b64decode(code).decode()


def test_the_example_of_rfc_6749_section_2_3_1_is_reproduced() -> None:
    parts = BasicAuthentication().authenticate(grant(client_id="s6BhdRkqt3", client_secret="7Fjfp0ZBr1KtDRbnfVdmIw"))
    assert parts.headers == (("Authorization", "Basic czZCaGRSa3F0Mzo3RmpmcDBaQnIxS3REUmJuZlZkbUl3"),)


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        # RFC 6749 appendix B: the characters U+0020, U+0025, U+0026, U+002B, U+00A3, U+20AC; a space as %20.
        ("a %&+£€", "a%20%25%26%2B%C2%A3%E2%82%AC"),
        ("a:b", "a%3Ab"),
        ("a/b", "a%2Fb"),
        ("AZaz09-._~", "AZaz09-._~"),
        ("schlüssel", "schl%C3%BCssel"),
        ("\U0001f511", "%F0%9F%94%91"),
    ],
)
def test_basic_rfc6749_percent_encodes_both_parts_first(text: str, encoded: str) -> None:
    assert basic(f"i{text}", f"s{text}") == f"i{encoded}:s{encoded}"


def test_basic_raw_sends_both_parts_as_they_stand_in_utf_8() -> None:
    assert basic("a %&+£€", "s:%&+£€", "raw") == "a %&+£€:s:%&+£€"


def test_basic_raw_cannot_send_a_client_id_with_a_colon() -> None:
    with pytest.raises(ValueError, match=r"^client_id"):
        basic("a:b", "s", "raw")


def test_an_unknown_encoding_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"BasicAuthentication\.encoding"):
        BasicAuthentication("plain")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("method", [BasicAuthentication(), BasicAuthentication("raw"), PostAuthentication()])
def test_an_authentication_that_sends_the_secret_needs_one(method: BasicAuthentication | PostAuthentication) -> None:
    with pytest.raises(ValueError, match=r"^client_secret"):
        grant(TokenEndpoint(URL, method), client_secret="")


def test_post_puts_both_parts_into_the_form() -> None:
    parts = PostAuthentication().authenticate(grant())
    assert parts.headers == ()
    assert parts.form == (("client_id", "canary"), ("client_secret", canary.secret()))


def test_no_repr_shows_the_parameters_or_what_a_token_request_carries() -> None:
    secret = canary.secret()
    endpoint = TokenEndpoint("https://as.example/token", PostAuthentication())
    grant = ClientCredentials(endpoint, "canary", canary.secret(1), parameters={"assertion": secret})
    message = grant.message()
    assert secret.encode() in message.body
    for thing in (grant, message):
        assert "assertion" not in repr(thing)
    canary.assert_clean(grant, message)


def test_the_repr_of_authentication_parts_names_no_values() -> None:
    parts = AuthenticationParts((("Authorization", canary.secret()),), (("client_secret", canary.secret()),))
    assert "client_secret" in repr(parts)
    canary.assert_clean(parts)


# The manner of asking
# --------------------


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"authentication": PostAuthentication}, "not the class PostAuthentication: call it"),
        ({"authentication": None}, "not be a NoneType"),
        ({"authentication": ("canary", canary.secret())}, "not be a tuple"),
        ({"profile": None}, "profile must be a Profile, not NoneType"),
        ({"profile": "mangopay"}, "profile must be a Profile, not str"),
    ],
)
def test_a_manner_in_which_nothing_can_be_asked_is_refused_by_name(wrong: dict[str, Any], complaint: str) -> None:
    with pytest.raises(TypeError, match=re.escape(complaint)):
        TokenEndpoint("https://as.example/token", **wrong)


@pytest.mark.parametrize("codes", ["unauthorized_client", ["unauthorized_client"], (5,)])
def test_codes_that_could_never_match_are_refused(codes: Any) -> None:  # noqa: ANN401 (anything at all)
    with pytest.raises(TypeError, match="locked_codes must be a tuple of texts"):
        Profile(name="vendor", locked_codes=codes)


@pytest.mark.parametrize("name", ["name", "locked_advice", "refused_advice", "forbidden_advice"])
@pytest.mark.parametrize("value", [None, 5, b"vendor"])
def test_a_profile_is_made_of_texts(name: str, value: object) -> None:
    make: Any = Profile
    with pytest.raises(TypeError, match=rf"^Profile\.{name} must be a str, not "):
        make(**{name: value})


PROOF = canary.secret()


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"headers": {"Authorization": PROOF}}, "headers must be a tuple of pairs of texts, not dict"),
        ({"headers": [("Authorization", PROOF)]}, "headers must be a tuple of pairs of texts, not list"),
        ({"headers": (["Authorization", PROOF],)}, "headers must be a tuple of pairs of texts, not tuple"),
        ({"headers": (("Authorization", PROOF.encode()),)}, "headers must be a tuple of pairs of texts, not tuple"),
        ({"headers": (("Authorization", PROOF, ""),)}, "headers must be a tuple of pairs of texts, not tuple"),
        ({"headers": None}, "headers must be a tuple of pairs of texts, not NoneType"),
        ({"form": ((PROOF, 5),)}, "form must be a tuple of pairs of texts, not tuple"),
        ({"form": {"client_assertion": PROOF}}, "form must be a tuple of pairs of texts, not dict"),
        ({"headers": (("Authorization", f"Basic {PROOF}\r\nX: y"),)}, "headers must be printable ASCII"),
        ({"headers": (("X-K\u00e9y", PROOF),)}, "headers must be printable ASCII"),
        ({"headers": (("X-Key", f"{PROOF}\u00e9"),)}, "headers must be printable ASCII"),
        ({"headers": (("X-Key", ""),)}, "headers must be printable ASCII"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_sent_for_a_proof_is_refused_where_it_is_made(parts: dict[str, Any], said: str) -> None:
    with pytest.raises(TypeError) as caught:
        AuthenticationParts(**parts)
    assert str(caught.value).startswith(f"AuthenticationParts: {said}")
    canary.assert_clean(caught.value)


@pytest.mark.parametrize(
    "answer", [None, {"Authorization": PROOF}, (("Authorization", PROOF),)], ids=["none", "dict", "pairs"]
)
def test_a_client_authentication_that_returns_something_else_is_told(answer: Any) -> None:  # noqa: ANN401
    class Own:
        def authenticate(self, grant: ClientCredentials) -> Any:  # noqa: ANN401
            return answer

    asking = grant(TokenEndpoint(URL, Own()))
    with pytest.raises(TypeError, match=r"authenticate must return AuthenticationParts, not ") as caught:
        build_request(asking, 1, 0)
    canary.assert_clean(caught.value)
