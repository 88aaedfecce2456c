"""``evertoken doctor`` with real TLS, real certificates, real stores and a real process."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme

from evertoken_transports._coordinator import _registry
from evertoken_transports.emulator import Emulator
from evertoken_transports.stores import RedisStore
from evertoken_transports.tools import cli
from evertoken_transports.tools._doctor import places
from tests.kits import canary
from tests.kits.source_tree import ROOT
from tests.kits.wire import Server, hang_up, read_request, serving
from tests.kits.worlds import LIMIT
from tests.real.stores.kits import SERVERS
from tests.real.stores.kits import server as redis_server
from tests.real.test_h11_tls import VERSIONS, demanding, server_context

SECRET = canary.secret()
NOW = datetime.now(UTC)


class Told(NamedTuple):
    """What the command said, by check."""

    status: int
    levels: dict[str, str]
    found: dict[str, str]
    todo: dict[str, str]
    requests: int


Doctor = Callable[..., Told]


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def doctor(
    tmp_path: Path, ca: trustme.CA, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Doctor:
    """Runs the command on a machine that trusts ``ca`` and knows of no proxy."""
    authorities = tmp_path / "authorities.pem"
    ca.cert_pem.write_to_path(str(authorities))
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)

    def doctor(url: str, *arguments: str, store: str | None = None, **environment: str) -> Told:
        given = {"EVERTOKEN_CLIENT_ID": "shop", "EVERTOKEN_API_KEY": SECRET, "SSL_CERT_FILE": str(authorities)}
        place = str(tmp_path / "store") if store is None else store
        command = ["doctor", "--profile", "mangopay-sandbox", "--url", url, "--store", place, "--json", *arguments]
        _registry.clear()  # As in a process of its own.
        with monkeypatch.context() as patch:
            for name, value in {**given, **environment}.items():
                patch.setenv(name, value)
            status = cli.main(command)
        said = capfd.readouterr()
        canary.assert_clean(said.out, said.err)
        assert said.err == ""
        report: dict[str, Any] = json.loads(said.out)
        assert report["status"] == status
        levels, found, todo = (
            {each["check"]: each[name] for each in report["findings"]} for name in ("level", "found", "todo")
        )
        return Told(status, levels, found, todo, report["token_requests"])

    return doctor


@contextmanager
def mangopay_over_tls(context: ssl.SSLContext, *, hangs_up: bool = False) -> Generator[Server]:
    """A server that answers 404 to whoever brings nothing, or hangs up, and a token to whoever asks for one."""

    def script(plain: socket.socket, server: Server) -> None:
        secured = context.wrap_socket(plain.dup(), server_side=True, do_handshake_on_connect=False)
        secured.settimeout(LIMIT)
        with secured:
            try:
                secured.do_handshake()
                read_request(secured, server)
                if hangs_up and server.heard[-1].startswith(b"HEAD"):
                    hang_up(plain)
                    return
                secured.sendall(answer(server.heard[-1]))
            except ssl.SSLError:
                hang_up(plain)

    with serving(script) as server:
        yield server


def answer(request: bytes) -> bytes:
    date, body = format_datetime(datetime.now(UTC), usegmt=True), b""
    if request.startswith(b"POST"):
        body = json.dumps({"access_token": canary.token(), "token_type": "bearer", "expires_in": 1_200}).encode()
    head = f"HTTP/1.1 {200 if body else 404} It\r\nDate: {date}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def verbs(server: Server) -> list[bytes]:
    return [heard.split()[0] for heard in server.heard]


# TLS
# ---


def test_over_tls_one_head_and_one_token_request_are_all_that_is_sent(doctor: Doctor, ca: trustme.CA) -> None:
    with mangopay_over_tls(server_context(ca, "localhost")) as server:
        told = doctor(f"https://localhost:{server.port}")
        again = doctor(f"https://localhost:{server.port}")
    assert (told.status, told.requests, set(told.levels.values())) == (0, 1, {"ok"})
    assert "TLSv1.3; the server's certificate is verified, and good for " in told.found["TLS"]
    assert (again.status, again.requests) == (0, 0)
    assert verbs(server) == [b"HEAD", b"POST", b"HEAD"]
    assert b"Authorization" not in server.heard[0]


def test_a_server_that_hangs_up_on_whoever_brings_nothing_is_a_warning_and_is_asked_all_the_same(
    doctor: Doctor, ca: trustme.CA
) -> None:
    with mangopay_over_tls(server_context(ca, "localhost"), hangs_up=True) as server:
        told = doctor(f"https://localhost:{server.port}")
    assert (told.status, told.requests, told.levels["TLS"], told.levels["clock"]) == (0, 1, "warning", "ok")
    assert "the server closed the connection without an answer" in told.found["TLS"]
    assert "--mtls-cert" in told.todo["TLS"]
    assert verbs(server) == [b"HEAD", b"POST"]


def test_an_authority_that_this_machine_does_not_know_is_told_with_what_it_trusts_by(
    doctor: Doctor, ca: trustme.CA, tmp_path: Path
) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "others.pem"))
    with mangopay_over_tls(server_context(ca, "localhost")) as server:
        told = doctor(f"https://localhost:{server.port}", SSL_CERT_FILE=str(tmp_path / "others.pem"))
        gone = doctor(f"https://localhost:{server.port}", SSL_CERT_FILE=str(tmp_path / "gone.pem"))
    assert (told.status, told.requests, told.levels["TLS"]) == (75, 0, "problem")
    assert "untrusted issuer" in told.found["TLS"]
    assert "ca-certificates" in told.todo["TLS"]
    assert f"SSL_CERT_FILE names {tmp_path / 'gone.pem'}, which is no file" in gone.todo["TLS"]
    assert server.heard == []


def test_a_certificate_of_another_host_and_one_that_has_expired_are_told_apart(doctor: Doctor, ca: trustme.CA) -> None:
    with mangopay_over_tls(server_context(ca, "auth.example")) as server:
        other = doctor(f"https://localhost:{server.port}")
    with mangopay_over_tls(server_context(ca, "localhost", expired=True)) as server:
        expired = doctor(f"https://localhost:{server.port}")
    assert (other.levels["TLS"], expired.levels["TLS"]) == ("problem", "problem")
    assert "wrong host name" in other.found["TLS"]
    assert "/etc/hosts" in other.todo["TLS"]
    assert "certificate has expired" in expired.found["TLS"]
    assert "this machine's clock" in expired.todo["TLS"]
    assert (other.requests, expired.requests) == (0, 0)


def test_a_port_that_speaks_plain_http_is_called_so(doctor: Doctor) -> None:
    with Emulator(client_id="shop", api_key=SECRET) as emulator:
        told = doctor(emulator.base_url.replace("http:", "https:"))
    assert (told.status, told.requests, told.levels["TLS"]) == (75, 0, "problem")
    assert "does not speak TLS on this port" in told.found["TLS"]
    assert "--url" in told.todo["TLS"]


def test_a_host_that_nobody_knows_is_no_matter_of_credentials(doctor: Doctor) -> None:
    told = doctor("https://no-such-host.invalid", "--timeout", "5")
    assert (told.status, told.requests, told.levels["name"]) == (75, 0, "problem")
    assert {told.levels[check] for check in ("connection", "TLS", "clock", "token")} == {"skipped"}


# The client certificate
# ----------------------


def certificate_file(ca: trustme.CA, folder: Path, *, days: float) -> str:
    made = ca.issue_cert(
        "shop@example.com",
        common_name="shop.sandbox.mangopay.com",
        not_before=NOW - timedelta(days=60),
        not_after=NOW + timedelta(days=days, hours=1),
    )
    path = folder / "mine.pem"
    path.write_bytes(made.private_key_pem.bytes() + b"".join(each.bytes() for each in made.cert_chain_pems))
    return str(path)


@VERSIONS
def test_a_client_certificate_is_shown_to_the_server_and_its_days_to_people(
    doctor: Doctor, ca: trustme.CA, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    file = certificate_file(ca, tmp_path, days=12)
    with mangopay_over_tls(demanding(ca, version)) as server:
        told = doctor(f"https://localhost:{server.port}", "--mtls-cert", file)
    assert (told.status, told.requests, told.levels["TLS"]) == (0, 1, "ok")
    assert told.levels["client certificate"] == "warning"
    assert "is good for 12 days" in told.found["client certificate"]
    assert told.todo["client certificate"].startswith("Get a new one")


@VERSIONS
def test_a_client_certificate_that_is_missing_is_found_out_without_a_token_request(
    doctor: Doctor, ca: trustme.CA, version: ssl.TLSVersion
) -> None:
    with mangopay_over_tls(demanding(ca, version)) as server:
        told = doctor(f"https://localhost:{server.port}")
    assert (told.status, told.requests, told.levels["TLS"]) == (75, 0, "problem")
    assert "client certificate" in told.found["TLS"]
    assert "--mtls-cert" in told.todo["TLS"]
    assert server.heard == []


@VERSIONS
def test_a_client_certificate_that_has_expired_is_told_by_its_date_and_by_the_server(
    doctor: Doctor, ca: trustme.CA, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    file = certificate_file(ca, tmp_path, days=-3)
    with mangopay_over_tls(demanding(ca, version)) as server:
        told = doctor(f"https://localhost:{server.port}", "--mtls-cert", file)
    assert (told.status, told.requests) == (75, 0)
    assert (told.levels["client certificate"], told.levels["TLS"]) == ("problem", "problem")
    assert "has expired on" in told.found["client certificate"]
    assert "our client certificate, because it has expired" in told.found["TLS"]


@VERSIONS
def test_a_client_certificate_of_an_authority_that_the_server_does_not_know_is_told(
    doctor: Doctor, ca: trustme.CA, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    file = certificate_file(trustme.CA(), tmp_path, days=100)
    with mangopay_over_tls(demanding(ca, version)) as server:
        told = doctor(f"https://localhost:{server.port}", "--mtls-cert", file)
    assert (told.status, told.requests) == (75, 0)
    assert (told.levels["client certificate"], told.levels["TLS"]) == ("ok", "problem")
    assert "does not trust its issuer" in told.found["TLS"]


# A proxy
# -------


def test_a_proxy_of_the_environment_is_told_without_its_password_and_not_spoken_to(
    ca: trustme.CA, tmp_path: Path
) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    kept |= {"EVERTOKEN_CLIENT_ID": "shop", "EVERTOKEN_API_KEY": SECRET}
    kept["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    with mangopay_over_tls(server_context(ca, "localhost")) as server:
        kept["HTTPS_PROXY"] = f"http://me:{SECRET}@127.0.0.1:{server.port}"
        run = subprocess.run(
            [
                sys.executable,
                "-m",
                "evertoken",
                "doctor",
                "--profile",
                "mangopay-sandbox",
                "--store",
                str(tmp_path / "s"),
            ],
            env=kept,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=4 * LIMIT,
            check=False,
        )
    canary.assert_clean(run.stdout, run.stderr)
    lines = run.stdout.splitlines()
    (proxy,) = [line for line in lines if line.startswith("problem  proxy ")]
    assert f"the proxy 127.0.0.1:{server.port} for api.sandbox.mangopay.com:443" in proxy
    assert (run.returncode, run.stderr, server.connections) == (75, "", 0)
    assert lines[-1] == "1 problem, no warnings; no token requests made"


# Redis
# -----

REDIS = pytest.mark.parametrize("kind", sorted(SERVERS))


@REDIS
def test_a_redis_that_does_all_is_fine_and_one_that_is_down_keeps_the_doctor_from_asking(
    doctor: Doctor, kind: str
) -> None:
    with Emulator(client_id="shop", api_key=SECRET) as emulator, redis_server(kind) as server:
        told = doctor(emulator.base_url, store=server.url)
        again = doctor(emulator.base_url, store=server.url)
        left = server.ask("KEYS", "*")
        server.kill()
        down = doctor(emulator.base_url, store=server.url)
    assert (told.status, told.requests, told.levels["store"]) == (0, 1, "ok")
    assert (again.status, again.requests) == (0, 0)
    assert len(left) == 1, "the token's record, and nothing of the doctor's"
    assert (down.status, down.requests, down.levels["store"], down.levels["token"]) == (75, 0, "problem", "skipped")
    assert "cannot be reached" in down.found["store"]
    assert len([arrival for arrival in emulator.arrivals if arrival.method == "POST"]) == 1


@REDIS
def test_the_rights_that_a_user_of_redis_lacks_are_named(doctor: Doctor, kind: str) -> None:
    rights = ("on", f">{SECRET}", "resetchannels", "~evertoken:*", "+eval", "+get", "+set", "+del", "+time")
    with Emulator(client_id="shop", api_key=SECRET) as emulator, redis_server(kind) as server:
        url = server.url.replace("://", f"://shop:{SECRET}@")
        server.ask("ACL", "SETUSER", "shop", *rights, "-set")
        no_writing = doctor(emulator.base_url, store=url)
        server.ask("ACL", "SETUSER", "shop", *rights)
        no_hearing = doctor(emulator.base_url, store=url)
        server.ask("ACL", "SETUSER", "shop", *rights, "&evertoken:*", "+publish", "+subscribe")
        fine = doctor(emulator.base_url, store=url)
        wrong = doctor(emulator.base_url, store=server.url.replace("://", f"://shop:{SECRET}1@"))
    assert (no_writing.status, no_writing.requests, no_writing.levels["store"]) == (75, 0, "problem")
    assert "needs eval, get, set, del, time" in no_writing.found["store"]
    assert (no_hearing.status, no_hearing.levels["store"]) == (0, "warning")
    assert "+publish +subscribe" in no_hearing.todo["store"]
    assert (fine.status, fine.levels["store"]) == (0, "ok")
    assert (wrong.status, wrong.levels["store"]) == (75, "problem")
    assert "does not take the name or the password" in wrong.found["store"]


def test_a_redis_of_another_machine_without_tls_or_encryption_is_a_warning() -> None:
    told = [
        places._in_clear(RedisStore(url), url, encrypted=encrypted)
        for url, encrypted in (
            ("redis://10.0.0.9/0", False),
            ("redis://10.0.0.9/0", True),
            ("rediss://10.0.0.9/0", False),
            ("redis://localhost/0", False),
            ("unix:///run/redis", False),
        )
    ]
    assert told[0] is not None
    assert "travel to it in clear" in told[0].found
    assert told[1:] == [None] * 4
