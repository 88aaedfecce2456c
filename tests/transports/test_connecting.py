"""What people are told when a connection fails: the host, the stage and the cause, and never "bad credentials"."""

from __future__ import annotations

import ssl

import pytest

from evertoken_transports._exchanges.connecting import HANDSHAKE, WAITING, explained
from evertoken_transports._exchanges.target import Target

TARGET = Target.of("https://auth.example/token")
READING = "while reading the answer's body, 3 of 9 bytes so far"


def tls_error(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, "[SSL: SOMETHING] something (_ssl.c:1000)")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("reason", "meaning"),
    [
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "wants a client certificate and got none"),
        ("SSLV3_ALERT_CERTIFICATE_EXPIRED", "our client certificate, because it has expired"),
        ("SSLV3_ALERT_CERTIFICATE_REVOKED", "our client certificate, because it was revoked"),
        ("SSLV3_ALERT_UNSUPPORTED_CERTIFICATE", "our client certificate, because it is not of a kind"),
        ("SSLV3_ALERT_BAD_CERTIFICATE", "refused our client certificate"),
        ("SSLV3_ALERT_CERTIFICATE_UNKNOWN", "refused our client certificate"),
        ("TLSV1_ALERT_UNKNOWN_CA", "our client certificate, because it does not trust its issuer"),
        ("SSLV3_ALERT_HANDSHAKE_FAILURE", "if it wants a client certificate"),
        ("TLSV1_ALERT_PROTOCOL_VERSION", "no TLS version that both sides accept"),
        ("UNSUPPORTED_PROTOCOL", "no TLS version that both sides accept"),
        ("WRONG_VERSION_NUMBER", "does not speak TLS on this port"),
        ("HTTP_REQUEST", "does not speak TLS on this port"),
        ("record layer failure", "does not speak TLS on this port"),
        ("TLSV1_UNRECOGNIZED_NAME", "does not serve this host name"),
        ("UNEXPECTED_EOF_WHILE_READING", "hung up"),
    ],
)
def test_the_words_of_openssl_are_explained_and_kept(reason: str, meaning: str) -> None:
    text = str(explained(tls_error(reason), TARGET, HANDSHAKE))
    assert text.startswith("TLS with auth.example:443 failed during the TLS handshake: ")
    assert meaning in text
    assert text.endswith(f" ({reason})")
    assert "credential" not in text


def test_words_of_openssl_that_are_not_known_are_passed_on() -> None:
    text = str(explained(tls_error("BAD_ECPOINT"), TARGET, HANDSHAKE))
    assert text == "TLS with auth.example:443 failed during the TLS handshake: BAD_ECPOINT"


def test_an_error_of_openssl_without_words_is_named_by_its_type() -> None:
    assert str(explained(tls_error(""), TARGET, HANDSHAKE)).endswith(": SSLError")


@pytest.mark.parametrize("stage", [HANDSHAKE, WAITING])
def test_a_connection_reset_where_a_certificate_could_be_missing_says_so(stage: str) -> None:
    text = str(explained(ConnectionResetError(104, "Connection reset by peer"), TARGET, stage))
    assert text.startswith(f"Connection reset by peer {stage} (auth.example:443); the server may want a client certif")


@pytest.mark.parametrize(
    ("url", "stage"), [("https://auth.example/", READING), ("http://127.0.0.1:443/", WAITING)], ids=["late", "plain"]
)
def test_a_connection_reset_elsewhere_does_not(url: str, stage: str) -> None:
    text = str(explained(ConnectionResetError(104, "Connection reset by peer"), Target.of(url), stage))
    assert text == f"Connection reset by peer {stage} ({Target.of(url).authority})"


def test_an_error_without_words_is_named_by_its_type() -> None:
    assert str(explained(ConnectionResetError(), TARGET, READING)).startswith("ConnectionResetError while reading")
