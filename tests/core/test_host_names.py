"""International host names: what DNS is asked is settled once, where a URL comes in."""

from __future__ import annotations

import idna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evertoken import ClientCredentials, TokenEndpoint, mangopay
from evertoken._checks import ascii_host, with_ascii_host


@pytest.mark.parametrize(
    ("host", "ascii_name"),
    [
        ("auth.example", "auth.example"),
        ("auth.example.", "auth.example."),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("bu\u0308cher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("βόλος.example", "xn--nxasmm1c.example"),
        ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
        ("नमस्ते.example", "xn--h2bhs4b8d8a.example"),
        ("\uff46ull.example", "full.example"),
        ("::1", "::1"),
    ],
)
def test_a_name_is_written_as_browsers_and_httpx_write_it(host: str, ascii_name: str) -> None:
    assert ascii_host(host) == ascii_name


@pytest.mark.parametrize(
    "host",
    [
        "☃.example",
        "a。b.example",
        "ﬁrst-ß.example",
        "\U0001f980.example",
        "zero\u200dwidth\u0915.example",
        "-ü.example",
        "ü-.example",
        "ab--ü.example",
        "\u0308a.example",
        f"{'ü' * 70}.example",
        "ü_x.example",
    ],
)
def test_a_name_that_could_be_read_in_two_ways_is_refused_by_name_of_the_argument(host: str) -> None:
    assert ascii_host(host) is None
    url = f"https://{host}/token"
    with pytest.raises(ValueError, match=r"^TokenEndpoint\.url has a host name .* write it in ASCII"):
        TokenEndpoint(url)
    with pytest.raises(ValueError, match=r"^base_url has a host name .* write it in ASCII"):
        mangopay.sandbox("id", "key", base_url=url)


@pytest.mark.no_cover
@given(st.text(st.characters(min_codepoint=0x80, categories=("Ll", "Lo", "Mn", "Nd")), min_size=1, max_size=12))
def test_where_the_standard_knows_the_name_too_it_is_the_same(label: str) -> None:
    ours = ascii_host(label)
    try:
        theirs = idna.encode(label, uts46=True, transitional=False).decode()
    except idna.IDNAError:
        return
    assert ours in (None, theirs)


def test_only_the_host_of_a_url_is_written_anew() -> None:
    assert with_ascii_host("https://Straße.example:8443/ü/token?a=ß") == (
        "https://xn--strae-oqa.example:8443/ü/token?a=ß"
    )
    assert with_ascii_host("https://Auth.example/ü") == "https://Auth.example/ü"
    assert with_ascii_host("https://AUTH.example/t") == "https://AUTH.example/t"


def test_both_spellings_are_one_client() -> None:
    one, other = (
        ClientCredentials(TokenEndpoint(f"https://{host}/token"), "id", "secret", api_base=f"https://{host}/v1")
        for host in ("straße.example", "xn--strae-oqa.example")
    )
    assert one == other
    assert one.endpoint.url == "https://xn--strae-oqa.example/token"
    assert one.api_base == "https://xn--strae-oqa.example/v1"
