"""One request and its answer, without I/O: bytes give an answer, ask for more, or fail in clear text."""

from __future__ import annotations

import importlib
import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evertoken import HttpResponse, TokenRequest
from evertoken._http import build_request
from evertoken._secrecy import replace
from evertoken_transports._exchange import ExchangeFailed
from evertoken_transports._exchanges.h11_client import MOST_HEAD, Conversation
from evertoken_transports._exchanges.target import Target
from tests.kits import canary
from tests.kits.canary import assert_clean
from tests.kits.wire import fifty_megabytes

MAX_BODY = 40

Outcome = HttpResponse | str | None


def request_to(url: str, *headers: tuple[str, str], body: bytes = b"grant_type=client_credentials") -> TokenRequest:
    plain = (("Content-Length", str(len(body))),)
    return TokenRequest(1, "POST", url, headers or plain, body, 10.0)


def conversation_with(request: TokenRequest, max_body: int = MAX_BODY) -> Conversation:
    return Conversation(replace(request, max_body=max_body), Target.of(request.url))


def outcome(*pieces: bytes, max_body: int = MAX_BODY) -> Outcome:
    """What comes of an answer in ``pieces``: the answer, the text of the failure, or None where more is awaited."""
    conversation = conversation_with(request_to("https://auth.example/token"), max_body)
    conversation.request_bytes()
    failure = None
    for piece in pieces:
        try:
            answer = conversation.receive(piece)
        except ExchangeFailed as error:
            failure = error
            break
        if answer is not None:
            return answer
    if failure is None:
        return None
    assert failure.__context__ is None
    assert_clean(failure)
    return str(failure)


def every_cut(data: bytes, *, closed: bool = False) -> Outcome:
    """The outcome of ``data`` as one piece, which is the same as byte by byte."""
    end = [b""] if closed else []
    whole = outcome(*([data] if data else []), *end)
    assert whole == outcome(*(data[i : i + 1] for i in range(len(data))), *end)
    return whole


def body_of(answer: Outcome) -> bytes:
    assert isinstance(answer, HttpResponse)
    return answer.body


def head(*lines: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode("latin-1")


# ------------------------------------------------------------------------------------------------- the request


def test_the_request_is_written_to_the_letter() -> None:
    request = request_to("https://auth.example/v2.01/oauth/token?x=1", body=b"a=1")
    assert conversation_with(request).request_bytes() == (
        b"POST /v2.01/oauth/token?x=1 HTTP/1.1\r\n"
        b"Host: auth.example\r\n"
        b"Content-Length: 3\r\n"
        b"Accept-Encoding: identity\r\n"
        b"User-Agent: evertoken\r\n"
        b"Connection: close\r\n"
        b"\r\n"
        b"a=1"
    )


def test_a_request_of_the_machine_is_sent_as_it_is_with_its_proof() -> None:
    request = build_request(canary.grant(), 1, 10.0)
    sent = conversation_with(request).request_bytes().decode()
    for name, value in request.headers:
        assert sent.count(f"\r\n{name}: {value}\r\n") == 1
    assert sent.endswith(f"\r\n\r\n{request.body.decode()}")
    assert sent.count("Accept-Encoding: identity") == 1


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://auth.example/token", "auth.example"),
        ("https://auth.example:443/token", "auth.example"),
        ("https://auth.example:8443/token", "auth.example:8443"),
        ("http://127.0.0.1/token", "127.0.0.1"),
        ("http://127.0.0.1:443/token", "127.0.0.1:443"),
        ("https://[2001:DB8::1]/token", "[2001:db8::1]"),
        ("https://[::1]:8443/token", "[::1]:8443"),
    ],
)
def test_the_host_header_names_the_host_and_a_port_that_is_not_the_default(url: str, host: str) -> None:
    assert f"\r\nHost: {host}\r\n".encode() in conversation_with(request_to(url)).request_bytes()


@pytest.mark.parametrize(
    ("url", "resource"),
    [
        ("https://auth.example", "/"),
        ("https://auth.example?tenant=a%20b", "/?tenant=a%20b"),
        ("https://auth.example/a%2Fb/ü", "/a%2Fb/%C3%BC"),
    ],
)
def test_the_request_target_is_path_and_query(url: str, resource: str) -> None:
    assert conversation_with(request_to(url)).request_bytes().startswith(f"POST {resource} HTTP/1.1\r\n".encode())


def test_the_target_is_what_dns_and_certificates_want() -> None:
    assert Target.of("https://[::1]/t") == ("https", "::1", 443, "/t")
    assert Target.of("http://localhost:8080") == ("http", "localhost", 8080, "/")
    assert Target.of("https://[::1]/t").authority == "[::1]:443"


def test_a_host_that_no_grant_would_hold_fails_by_name() -> None:
    with pytest.raises(ExchangeFailed, match=r"'bücher\.example' is not written in ASCII"):
        Target.of("https://bücher.example/token")


def test_a_header_of_the_client_authentication_is_not_sent_twice() -> None:
    request = request_to("https://auth.example/", ("user-agent", "mine"), ("Content-Length", "29"))
    sent = conversation_with(request).request_bytes()
    assert b"user-agent: mine\r\n" in sent
    assert sent.lower().count(b"user-agent") == 1


@pytest.mark.parametrize(
    "headers",
    [
        [("X-Proof", f"{canary.secret()}\r\nX: y")],
        [("X-Proof", f"{canary.secret()}ü")],
        [(f"X {canary.secret()}", "1")],
        [("Content-Length", "3"), ("X-Proof", canary.secret())],
    ],
    ids=["a line break", "not ASCII", "a bad name", "a wrong length"],
)
def test_a_request_that_http_cannot_hold_fails_and_shows_nothing(headers: list[tuple[str, str]]) -> None:
    conversation = conversation_with(request_to("https://auth.example/", *headers))
    with pytest.raises(ExchangeFailed, match="the token request cannot be written") as caught:
        conversation.request_bytes()
    assert caught.value.__context__ is None
    assert_clean(caught.value, conversation)


# -------------------------------------------------------------------------------------------------- the answer


def test_an_answer_comes_as_it_is_with_repeated_headers_in_their_case_and_order() -> None:
    data = head("Content-Length: 2", "X-Rate: a", "x-rate: b", "X-Rate: \xe4") + b"{}"
    headers = (("Content-Length", "2"), ("X-Rate", "a"), ("x-rate", "b"), ("X-Rate", "\xe4"))
    assert every_cut(data) == HttpResponse(200, headers, b"{}")


@pytest.mark.parametrize(
    ("data", "closed", "body"),
    [
        (head("Content-Length: 5") + b"12345", False, b"12345"),
        (head("Content-Length: 0"), False, b""),
        (head("Content-Length: 5") + b"12345 and what nobody asked for", False, b"12345"),
        (
            head("Transfer-Encoding: chunked") + b"3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nX-Trailer: 1\r\n\r\n",
            False,
            b"abcde",
        ),
        (head("Connection: close") + b"to the end", True, b"to the end"),
        (b"HTTP/1.0 200 OK\r\n\r\nold", True, b"old"),
        (b"HTTP/1.1 200\n\nbare", True, b"bare"),
        (head(status="204 No Content"), False, b""),
        (head("Content-Length: 9", status="304 Not Modified"), False, b""),
    ],
    ids=["length", "empty", "over-long", "chunked", "closed", "1.0", "bare line feeds", "204", "304"],
)
def test_a_body_ends_where_its_framing_says(data: bytes, closed: bool, body: bytes) -> None:
    assert body_of(every_cut(data, closed=closed)) == body


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
def test_a_redirect_is_an_answer_like_others(status: int) -> None:
    data = head("Location: https://elsewhere.example/", "Content-Length: 0", status=f"{status} Look there")
    assert every_cut(data) == HttpResponse(
        status, (("Location", "https://elsewhere.example/"), ("Content-Length", "0")), b""
    )


def test_informational_answers_are_skipped() -> None:
    early = head(status="100 Continue") + head("Link: </style.css>", status="103 Early Hints")
    assert body_of(every_cut(early + head("Content-Length: 2") + b"{}")) == b"{}"


def test_a_compressed_body_is_not_decompressed() -> None:
    bomb = fifty_megabytes()
    data = head(f"Content-Length: {len(bomb)}", "Content-Encoding: gzip") + bomb
    assert body_of(outcome(data, max_body=65_536)) == bomb


@pytest.mark.parametrize("framing", ["Content-Length: 1000", "Transfer-Encoding: chunked", "Connection: close"])
@pytest.mark.parametrize(("sent", "kept"), [(41, 41), (42, 41), (900, 41)])
def test_of_a_body_that_is_too_long_one_byte_more_is_kept_and_no_more_awaited(
    framing: str, sent: int, kept: int
) -> None:
    chunk = b"%x\r\n" % 1000 if "chunked" in framing else b""
    assert body_of(every_cut(head(framing) + chunk + b"x" * sent)) == b"x" * kept


def test_a_body_of_just_the_most_bytes_is_read_to_its_end() -> None:
    assert every_cut(head("Connection: close") + b"x" * MAX_BODY) is None
    assert body_of(every_cut(head("Connection: close") + b"x" * MAX_BODY, closed=True)) == b"x" * MAX_BODY


def test_what_arrives_after_the_answer_changes_nothing() -> None:
    conversation = conversation_with(request_to("https://auth.example/"))
    conversation.request_bytes()
    answer = conversation.receive(head("Content-Length: 2") + b"{}")
    assert answer is not None
    assert conversation.receive(b"junk") is answer
    assert conversation.receive(b"") is answer


# -------------------------------------------------------------------------------------------------- no answer


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "closed the connection without an answer"),
        (b"HTTP/1.1 200 OK\r\nX: ", "in the middle of the answer's headers, after 20 bytes"),
        (head("Content-Length: 20") + b"12345", "in the middle of the answer's body, after 5 of 20 bytes"),
        (head("Transfer-Encoding: chunked") + b"5\r\n123", "in the middle of the answer's body, after 3 bytes"),
        (head(status="100 Continue"), "in the middle of the answer's headers, after 25 bytes"),
    ],
    ids=["nothing", "headers", "length", "chunked", "only 100"],
)
def test_an_answer_that_is_cut_off_says_how_far_it_came(data: bytes, text: str) -> None:
    assert text in str(every_cut(data, closed=True))


@pytest.mark.parametrize(
    ("data", "flaw"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "status line"),
        (b"\x15\x03\x03\x00\x02\x02\x28", "status line"),
        (b"\r\n" + head("Content-Length: 0"), "status line"),
        (head(f"broken {canary.token()}"), "header line"),
        (head(f" folded: {canary.token()}"), "header line"),
        (head("Content-Length: many"), "Content-Length"),
        (head("Content-Length: 3", "Content-Length: 4"), "Content-Lengths"),
        (head("Transfer-Encoding: gzip"), "Transfer-Encoding"),
        (head("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), "Transfer-Encodings"),
        (head("Transfer-Encoding: chunked") + canary.token().encode() + b"\r\n", "chunks"),
        (head("Transfer-Encoding: chunked") + b"1\r\nx" + canary.token().encode(), "chunks"),
        (head("Upgrade: h2c", "Connection: upgrade", status="101 Switching Protocols"), "protocol"),
        (head(status="099 What"), "protocol"),
    ],
)
def test_what_is_not_http_is_called_so_and_is_not_quoted(data: bytes, flaw: str) -> None:
    text = str(every_cut(data))
    assert text.startswith("the answer is not HTTP/1.1: ")
    assert flaw in text


@pytest.mark.parametrize("endless", ["X-Long: {}", "X: {}\r\n"], ids=["one line", "many lines"])
def test_headers_that_do_not_end_are_cut_off(endless: str) -> None:
    data = b"HTTP/1.1 200 OK\r\n" + endless.format(canary.token() + "x" * 50).encode() * 2000
    assert every_cut(data) == f"the answer's headers are longer than {MOST_HEAD} bytes"


def test_informational_answers_that_do_not_end_are_cut_off() -> None:
    assert "headers are longer" in str(every_cut(head(status="100 Continue") * 2000))


def test_headers_may_have_just_the_most_bytes() -> None:
    def sized(size: int) -> bytes:
        filled = head("Content-Length: 0", "X: ")
        return filled[:-4] + b"x" * (size - len(filled)) + filled[-4:]

    assert body_of(every_cut(sized(MOST_HEAD))) == b""
    assert "headers are longer" in str(every_cut(sized(MOST_HEAD + 1)))


# --------------------------------------------------------------------------------------------------- both of it

LINES = st.sampled_from(
    [
        *(b"HTTP/1.1 200 OK", b"HTTP/1.1 100 Continue", b"HTTP/1.0 400 No", b"HTTP/9.9 999 ", b"Content-Length: 3"),
        *(
            b"Transfer-Encoding: chunked",
            b"Connection: close",
            b"X: y",
            b" fold",
            b"",
            b"3",
            b"abc",
            b"0",
            b"7f",
            b"\x00",
        ),
    ]
)
STARTS = st.sampled_from([b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b""])
ENDS = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b""])
ANSWERS = st.builds(bytes.__add__, STARTS, st.lists(st.builds(bytes.__add__, LINES, ENDS), max_size=12).map(b"".join))


@given(ANSWERS | st.binary(max_size=60), st.lists(st.integers(0, 150), max_size=8), st.booleans())
def test_how_an_answer_is_cut_into_pieces_does_not_matter(data: bytes, cuts: list[int], closed: bool) -> None:
    whole = every_cut(data, closed=closed)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[start:stop] for start, stop in pairwise(places)]
    assert outcome(*pieces, *([b""] if closed else [])) == whole
    # Once the connection is closed there is nothing to wait for.
    assert not (closed and whole is None)


def test_the_stage_says_how_far_the_answer_has_come() -> None:
    conversation = conversation_with(request_to("https://auth.example/"))
    conversation.request_bytes()
    stages = [conversation.stage]
    for piece in (b"HTTP/1.1 200 OK\r\n", head("Content-Length: 9")[17:], b"1234"):
        assert conversation.receive(piece) is None
        stages.append(conversation.stage)
    assert stages == [
        "while waiting for the answer",
        "while reading the answer's headers, 17 bytes so far",
        "while reading the answer's body, 0 of 9 bytes so far",
        "while reading the answer's body, 4 of 9 bytes so far",
    ]


def test_the_stage_of_a_body_of_unknown_length_counts_its_bytes() -> None:
    conversation = conversation_with(request_to("https://auth.example/"))
    conversation.receive(head() + b"1234")
    assert conversation.stage == "while reading the answer's body, 4 bytes so far"


def test_neither_the_conversation_nor_what_it_gives_shows_what_was_sent_or_read() -> None:
    conversation = conversation_with(build_request(canary.grant(), 1, 10.0), 1000)
    conversation.request_bytes()
    answer = conversation.receive(head("Content-Length: 12") + canary.token().encode())
    assert answer is not None
    assert_clean(conversation, answer, conversation.stage)


def test_without_h11_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h11", None)
    monkeypatch.delitem(sys.modules, "evertoken_transports._exchanges.h11_client")
    with pytest.raises(ImportError, match=r"pip install h11"):
        importlib.import_module("evertoken_transports._exchanges.h11_client")
