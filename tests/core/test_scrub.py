"""Texts of servers, made fit to be shown: what is taken out of them, in whatever spelling, and what stays."""

from __future__ import annotations

from base64 import b64encode
from unicodedata import normalize
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from evertoken import _scrub
from evertoken._plain import plain
from evertoken._scrub import LEFT_OUT, needles_of, reveals, scrub
from tests.kits import canary
from tests.kits.spellings import ENCODERS, WRAPPERS, Encoder, parts, shows

ODD = "p@ss/wo?rd+&x 1=\"q'<z>\\9~-_"
"""A secret with every character that one encoding or another treats in its own way."""


@pytest.mark.parametrize(
    ("text", "secrets", "shown"),
    [
        ("plain", (), "plain"),
        ("", (), None),
        ("\x00\u200b", (), None),
        (" \t\r\n a \u2028\x85\xa0 b ", (), "a b"),
        ("\x1b[31mred\x07\x9b\x7f", (), "[31mred"),
        ("\u202eabc\u2066\u200d\ufeff\xad\ud800\U000e0041", (), "abc"),
        ("caf\u00e9 \u4e2d \U0001f600", (), "caf\u00e9 \u4e2d \U0001f600"),
        ("a" * 200, (), "a" * 200),
        ("a" * 201, (), "a" * 199 + "\u2026"),
        ("key abcd!", ("abcd",), "key [redacted]!"),
        ("key ABCD abcd", ("aBcD",), "key [redacted] [redacted]"),
        ("abcdef abcd", ("abcd", "abcdef"), "[redacted] [redacted]"),
        ("key ab\u200bcd", ("abcd",), "key [redacted]"),
        ("key ab\x00cd", ("ab\x00cd",), "key [redacted]"),
        ("key a  b c", ("a  b c",), "key [redacted]"),
        ("key a b c", ("a  b c",), "key [redacted]"),
        ("k.y a+b*", ("k.y", "a+b*"), LEFT_OUT),
        ("a.b.c.d axbxcxd", ("a.b.c.d",), "[redacted] axbxcxd"),
        ("abc", ("abc",), LEFT_OUT),
        ("xABx", ("ab",), LEFT_OUT),
        ("x a\u200bb", ("ab",), LEFT_OUT),
        ("hello", ("ab", ""), "hello"),
        ("hello", ("", " "), "hello"),
        ("some unsafe here", ("unsafe", "dact"), None),
        ("nothing", ("dact",), "nothing"),
        ("a 12345678 b", ("0123456789",), "a [redacted] b"),
        ("a 12345 b", ("0123456789",), "a 12345 b"),
        ("the key is k\u212aey-abcdef", ("kkey-abcdef",), "the key is [redacted]"),
        ("PA\u017fSWORD", ("passwort",), "[redacted]D"),
    ],
    ids=repr,
)
def test_text_is_shown_without_secrets_and_controls_and_not_at_all_where_that_would_maim_it(
    text: str, secrets: tuple[str, ...], shown: str | None
) -> None:
    assert scrub(text, secrets) == shown


@pytest.mark.parametrize(
    ("text", "whole", "shown"),
    [
        ("account acct-1234 of acct-12", "acct-1234", "account [redacted] of acct-12"),
        ("account ACCT-1234", "acct-1234", "account [redacted]"),
        ("account acct%2D1234", "acct-1234", LEFT_OUT),
        ("account acct1234", "acct-1234", "account [redacted]"),
        ("pin 4711 of 14711", "4711", "pin [redacted] of 1[redacted]"),
        ("pin 12 of 112", "12", "pin [redacted] of 112"),
        ("pin 12", "", "pin 12"),
    ],
)
def test_of_a_parameter_only_the_whole_is_taken_out(text: str, whole: str, shown: str) -> None:
    assert scrub(text, needles_of((), (whole,))) == shown


def test_there_may_be_any_number_of_secrets() -> None:
    secrets = [f"{n:07}" for n in range(10_000)]
    assert scrub("no. 0009876, of 9_876_543", secrets) == "no. [redacted], of 9_876_543"


def test_a_cut_is_made_where_the_caller_says_and_never_inside_a_secret() -> None:
    assert scrub("123456789", (), 5) == "1234\u2026"
    assert scrub("123 45678", (), 5) == "123\u2026"
    assert scrub("abcdefgh", ("abcdefgh",), 6) == "[reda\u2026"


def check(secret: str, part: str, spelling: str) -> None:
    """Nothing is shown of a ``part`` of ``secret`` that is spelt like this."""
    text = f"you sent {spelling} to us"
    shown = scrub(text, (secret,), 2_000)
    assert shown is not None
    assert not shows(shown, part, spelling), shown
    assert reveals(text, (secret,))


@pytest.mark.no_cover
@pytest.mark.parametrize("encode", ENCODERS.values(), ids=ENCODERS)
@pytest.mark.parametrize("secret", [canary.secret(), canary.token(123_456), ODD], ids=["secret", "token", "odd"])
def test_no_spelling_of_a_secret_is_shown_and_of_none_of_its_parts(encode: Encoder, secret: str) -> None:
    for part in parts(secret):
        check(secret, part, encode(part))
    for wrap in WRAPPERS.values():
        check(secret, secret, wrap(encode(secret)))


@pytest.mark.parametrize(
    "secret", ["Schl\u00fcssel-f\u00fcr-K\u00e4se", "cl\u00e9-\u00e9-\u00c0-\u00f6", "p\u00e4ssw\u00f6rd", ODD]
)
def test_a_secret_beyond_ascii_is_not_shown_in_another_character_set_or_form(secret: str) -> None:
    latin = secret.encode("latin-1")
    for spelling in (
        quote(latin),
        quote(latin, safe=""),
        b64encode(latin).decode(),
        b64encode(b"client:" + latin).decode(),
        latin.hex(),
        secret.encode().decode("latin-1"),
        secret.encode().decode("cp1252", "replace"),
        normalize("NFD", secret),
        normalize("NFD", secret).upper(),
        "".join(f"\\{byte:03o}" for byte in latin),
        "".join(f"\\{byte:03o}" for byte in secret.encode()),
        f"{list(secret.encode())}",
        " ".join(str(byte) for byte in latin),
    ):
        check(secret, secret, spelling)


def test_what_is_left_of_a_secret_without_its_letters_beyond_ascii_is_not_shown() -> None:
    for spelling in ("p?ssw?rd", "password", "p\ufffdssw\ufffdrd", "pssw\u00f6rd"):
        assert spelling not in str(scrub(f"you sent {spelling} to us", ("p\u00e4ssw\u00f6rd",)))


@pytest.mark.parametrize("secret", [canary.secret(), canary.token(123_456), ODD], ids=["secret", "token", "odd"])
@pytest.mark.parametrize("gap", [",", ", ", " ", "; ", "\n"], ids=repr)
def test_nor_is_a_list_of_its_characters_as_numbers(secret: str, gap: str) -> None:
    for part in parts(secret):
        check(secret, part, gap.join(str(ord(char)) for char in part))


@given(
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x17F, exclude_categories=("C", "Z", "Lm")), min_size=8),
    st.lists(st.sampled_from([encode for name, encode in ENCODERS.items() if "case" not in name]), max_size=2),
    st.sampled_from(list(WRAPPERS.values())),
)
@settings(max_examples=50, suppress_health_check=[HealthCheck.filter_too_much])
def test_nor_is_a_spelling_of_a_spelling(secret: str, encoders: list[Encoder], wrap: Encoder) -> None:
    spelling = secret
    for encode in encoders:
        spelling = encode(spelling)
    assume(len(spelling) < 500)  # What is cut shows less, by how much nobody can say.
    check(secret, secret, wrap(spelling))


@pytest.mark.parametrize(
    "text",
    [
        "This account has been temporarily locked. Please try again in 30 minutes.",
        "The request is missing a required parameter, includes an invalid parameter value, or is otherwise malformed.",
        "Client authentication failed (e.g., unknown client, no client authentication included); Id 8f3b2c9d-1e",
        "AADSTS7000215: Invalid client secret provided. Trace ID: 0b1f9e2c-7d1a-4a54-8d6f-2f9a7a0b1c00 Timestamp: 2024",
        "upstream connect error or disconnect/reset before headers. reset reason: connection timeout (100% of 3 tries)",
        "m; Id 49e4b2a8-1b6c-4d5e-9a71-7d3c2b1a0f9e#1733404277; Date 1733404277; ClientId: The field is required",
        "while connecting to api.example:443: ConnectError: [Errno 111] Connection refused",
        "\u767b\u5f55\u5931\u8d25 : l'identifiant est refus\u00e9 &c. \\o/ %d",
    ],
)
def test_ordinary_words_are_shown(text: str) -> None:
    secrets = (
        "9f8a7Bc6D5e4F3g2H1",
        "Y2xpZW50OjlmOGE3QmM2RDVlNEYzZzJIMQ==",
        "\u00fcmlaut-geheim",
        "4" * 12,
        canary.token(),
    )
    needles = needles_of(secrets, ("tenant-7",))
    assert scrub(text, needles) == text
    assert not reveals(text, needles)


def test_no_more_of_a_text_is_looked_at_than_could_be_shown() -> None:
    looked_at: list[int] = []

    class Text(str):
        __slots__ = ()

        def __getitem__(self, place: object) -> str:
            assert isinstance(place, slice)
            looked_at.append(place.stop)
            return str.__getitem__(self, place)

    assert scrub(Text("%41" * 50_000), ("A" * 30_000,)) == LEFT_OUT
    assert looked_at == [2_000]
    assert reveals("a" * 2_001, ("secret",))


SECRETS = st.text("ab1/+ \u00e9", min_size=1, max_size=9).filter(str.strip)


@given(st.text("ab1/+ \u00e9\u200b\n[redacted]") | st.text(), st.lists(SECRETS, max_size=3))
def test_no_text_is_shown_with_a_secret_in_it(text: str, secrets: list[str]) -> None:
    shown = scrub(text, secrets)
    assert shown is None or (shown and len(shown) <= 200)
    assert shown is None or not any(plain(secret).lower() in shown.lower() for secret in secrets)
    assert shown is None or shown == LEFT_OUT or not reveals(shown, secrets)


def test_what_held_no_secret_of_one_client_is_looked_at_anew_for_another() -> None:
    text = "see " + b64encode(b"zq7-xw9-kk4-others").decode()
    assert scrub(text, ["mn3-pl5-rr8-ours"]) == text
    assert scrub(text, ["zq7-xw9-kk4-others"]) == LEFT_OUT
    assert scrub(text, ["mn3-pl5-rr8-ours"]) == text


def test_what_is_known_of_texts_is_bounded() -> None:
    for number in range(100):
        scrub(f"text no. {number}", ["mn3-pl5-rr8-ours"])
    scrub("a long text " * 30, ["mn3-pl5-rr8-ours"], limit=1_000)
    assert 0 < len(_scrub._known) <= 32
    assert max(len(text) for text, _ in _scrub._known) <= 200
