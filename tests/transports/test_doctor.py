"""``evertoken doctor``: each check finds what is wrong and says what to do, and one token request is all it takes."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme

from evertoken import BlockKind, ClientCredentials, HttpResponse, TokenEndpoint, TokenRequest, mangopay
from evertoken._http import build_request
from evertoken.sharing._codec import key_of
from evertoken.testing import Script, TokenBehaviour, TokenFault
from evertoken_transports import NotNow
from evertoken_transports._coordinator import _registry
from evertoken_transports.emulator import Emulator
from evertoken_transports.stores import FileStore, SharedExchange
from evertoken_transports.testing import MangopayServer
from evertoken_transports.tools import cli
from evertoken_transports.tools._doctor import certificate as certificates
from evertoken_transports.tools._doctor import places
from evertoken_transports.tools._doctor.asking import Once
from evertoken_transports.tools._doctor.certificate import certificate
from evertoken_transports.tools._doctor.finding import Level
from evertoken_transports.tools._doctor.network import Heard, clock
from evertoken_transports.tools._doctor.settings import credentials, environment
from tests.kits import canary, wire
from tests.kits.pages import blocks, text_of

SECRET = canary.secret()
BEFORE_ASKING = ["environment", "credentials", "client certificate", "proxy", "name", "connection", "TLS", "clock"]
CHECKS = [*BEFORE_ASKING, "store", "token"]


class Told(NamedTuple):
    """What a run of the command said, by check."""

    status: int
    levels: dict[str, str]
    found: dict[str, str]
    todo: dict[str, str]
    requests: int


Doctor = Callable[..., Told]


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERTOKEN_CLIENT_ID", "shop")
    monkeypatch.setenv("EVERTOKEN_API_KEY", SECRET)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command as a process of its own would: status, output, complaint."""

    def run(command: str, *arguments: str) -> tuple[int, str, str]:
        _registry.clear()
        status = cli.main([command, "--store", str(tmp_path / "store"), *arguments])
        said = capsys.readouterr()
        canary.assert_clean(said.out if command == "doctor" else "", said.err)
        return status, said.out, said.err

    return run


@pytest.fixture
def doctor(run: Callable[..., tuple[int, str, str]]) -> Doctor:
    def doctor(url: str, *arguments: str, profile: str | None = "mangopay-sandbox") -> Told:
        by = [] if profile is None else ["--profile", profile]
        status, out, complaint = run("doctor", "--json", "--url", url, *by, *arguments)
        assert complaint == ""
        report = json.loads(out)
        assert report["status"] == status
        levels, found, todo = (
            {each["check"]: each[name] for each in report["findings"]} for name in ("level", "found", "todo")
        )
        return Told(status, levels, found, todo, report["token_requests"])

    return doctor


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def emulated(stack: ExitStack, key: str = SECRET, fault: TokenFault | None = None) -> Emulator:
    script = Script() if fault is None else Script(token=TokenBehaviour(fault=fault))
    return stack.enter_context(Emulator(script, client_id="shop", api_key=key))


def asked(emulator: Emulator) -> int:
    return sum(arrival.method == "POST" for arrival in emulator.arrivals)


# What is found of the token
# --------------------------


def test_in_fair_weather_all_is_well_and_the_one_token_it_asked_for_serves_who_comes_next(
    stack: ExitStack, doctor: Doctor, run: Callable[..., tuple[int, str, str]]
) -> None:
    emulator = emulated(stack)
    told = doctor(emulator.base_url)
    assert (told.status, told.requests) == (0, 1)
    assert list(told.levels) == CHECKS
    assert set(told.levels.values()) == {"ok"}
    assert set(told.todo.values()) == {""}
    assert told.found["token"].startswith("granted, and kept in the store for all")
    assert run("token", "--profile", "mangopay-sandbox", "--url", emulator.base_url)[0] == 0
    again = doctor(emulator.base_url)
    assert (again.status, again.requests) == (0, 0)
    assert "none was asked for" in again.found["token"]
    assert asked(emulator) == 1


def test_people_read_one_line_for_each_check_and_one_for_what_to_do(
    stack: ExitStack, run: Callable[..., tuple[int, str, str]]
) -> None:
    emulator = emulated(stack, "another-key")
    status, out, complaint = run("doctor", "--profile", "mangopay-sandbox", "--url", emulator.base_url)
    lines = out.splitlines()
    assert (status, complaint) == (3, "")
    assert lines[0] == f"client shop at {emulator.base_url}/v2.01/oauth/token"
    assert [line.split("  ")[0] for line in lines[1:10]] == ["ok"] * 9
    assert lines[10].startswith("problem  token               Asking 127.0.0.1:")
    assert lines[11].split(maxsplit=2)[:2] == ["to", "do"]
    assert lines[12:] == ["1 problem, no warnings; 1 token request made"]


def test_a_refusal_is_told_as_both_causes_and_asked_for_once(stack: ExitStack, doctor: Doctor) -> None:
    emulator = emulated(stack, "another-key")
    told = doctor(emulator.base_url)
    assert (told.status, told.requests, told.levels["token"]) == (3, 1, "problem")
    assert "credentials were refused" in told.found["token"]
    assert (
        "the credentials are wrong, or they are those of another environment (mangopay-production)"
        in (told.todo["token"])
    )
    assert "--other-environment spends one more token request" in told.todo["token"]
    assert "evertoken unblock" in told.todo["token"]
    again = doctor(emulator.base_url)
    assert (again.status, again.requests) == (3, 0)
    assert "the store says so, and no request was made" in again.found["token"]
    assert asked(emulator) == 1


@pytest.mark.parametrize(
    ("key", "fault", "level", "says"),
    [
        (SECRET, None, "problem", "grants a token to these credentials"),
        ("a-third-key", None, "problem", "refuses these credentials as well"),
        (SECRET, TokenFault.SERVER_ERROR, "warning", "could not say: Asking "),
    ],
    ids=["granted", "refused", "down"],
)
def test_the_other_environment_tells_the_two_causes_apart_by_one_more_request(  # noqa: PLR0917
    stack: ExitStack, doctor: Doctor, key: str, fault: TokenFault | None, level: str, says: str
) -> None:
    here, there = emulated(stack, "another-key"), emulated(stack, key, fault)
    told = doctor(here.base_url, "--other-environment", there.base_url)
    assert (told.status, told.requests) == (3, 2)
    assert told.levels["other environment"] == level
    assert f"{there.base_url} {says}" in told.found["other environment"]
    assert told.todo["other environment"]
    assert "see below" in told.todo["token"]
    assert (asked(here), asked(there)) == (1, 1)


def test_a_token_of_the_other_environment_is_kept_for_that_one(
    stack: ExitStack, doctor: Doctor, run: Callable[..., tuple[int, str, str]]
) -> None:
    here, there = emulated(stack, "another-key"), emulated(stack)
    doctor(here.base_url, "--other-environment", there.base_url)
    assert run("token", "--profile", "mangopay-production", "--url", there.base_url)[0] == 0
    assert asked(there) == 1


def test_the_other_environment_is_left_alone_where_nothing_is_refused(stack: ExitStack, doctor: Doctor) -> None:
    here, there = emulated(stack), emulated(stack)
    told = doctor(here.base_url, "--other-environment", there.base_url)
    assert (told.status, told.requests, told.levels["other environment"]) == (0, 1, "skipped")
    assert there.arrivals == ()


def test_the_other_environment_is_left_alone_where_something_is_in_the_way(
    stack: ExitStack, doctor: Doctor, tmp_path: Path
) -> None:
    here, there = emulated(stack, "another-key"), emulated(stack)
    assert doctor(here.base_url).status == 3
    more = ("--other-environment", there.base_url, "--mtls-cert", str(tmp_path / "none.pem"))
    told = doctor(here.base_url, *more)
    assert (told.status, told.requests, told.levels["token"]) == (3, 0, "problem")
    assert told.found["other environment"].endswith("was not asked: client certificate is in the way, see above")
    assert there.arrivals == ()


@pytest.mark.parametrize("arguments", [["--profile", "mangopay-sandbox"], []], ids=["profile", "url"])
def test_which_other_environment_is_asked_must_be_said_where_no_profile_says_it(
    run: Callable[..., tuple[int, str, str]], arguments: list[str]
) -> None:
    status, out, complaint = run("doctor", "--url", "https://auth.invalid/t", *arguments, "--other-environment")
    assert (status, out) == (2, "")
    assert complaint.startswith("evertoken: doctor: --other-environment needs a URL")


@pytest.mark.parametrize(
    ("fault", "status", "says"),
    [
        (TokenFault.LOCKED, 4, "locked out"),
        (TokenFault.RATE_LIMITED_RETRY_AFTER, 5, "rate limit"),
        (TokenFault.SERVER_ERROR, 75, "cannot serve now"),
        (TokenFault.DROPPED_BEFORE, 75, "the server closed the connection"),
    ],
)
def test_each_outcome_has_the_status_of_the_other_commands_and_costs_one_request(
    stack: ExitStack, doctor: Doctor, fault: TokenFault, status: int, says: str
) -> None:
    emulator = emulated(stack, fault=fault)
    told = doctor(emulator.base_url, "--timeout", "15")
    assert (told.status, told.requests, told.levels["token"]) == (status, 1, "problem")
    assert says in told.found["token"]
    assert told.todo["token"]
    assert asked(emulator) == 1


def test_where_the_store_says_locked_nobody_is_asked_even_with_a_token_at_hand(
    stack: ExitStack, doctor: Doctor, run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    emulator = emulated(stack)
    assert run("token", "--profile", "mangopay-sandbox", "--url", emulator.base_url)[0] == 0

    def nobody(request: TokenRequest) -> HttpResponse:
        raise AssertionError(request)

    grant = mangopay.sandbox("shop", SECRET, base_url=emulator.base_url)
    SharedExchange(nobody, FileStore(tmp_path / "store")).block(grant, BlockKind.LOCKED, 900.0)
    told = doctor(emulator.base_url)
    assert (told.status, told.requests, told.levels["token"]) == (4, 0, "problem")
    assert "locked out" in told.found["token"]
    assert "the store says so, and no request was made" in told.found["token"]
    assert asked(emulator) == 1


def test_the_exchange_of_the_doctor_sends_once_and_not_at_all_where_something_is_in_the_way(stack: ExitStack) -> None:
    emulator = emulated(stack)
    request = build_request(emulator.grant(), 1, 2.0**39)
    once = Once(None, may=True)
    assert once(request).status == 200
    for exchange in (once, Once(None, may=False)):
        with pytest.raises(NotNow):
            exchange(request)
    assert asked(emulator) == 1
    canary.assert_clean(once.heard)


# The way there
# -------------


def test_a_proxy_is_named_without_its_password_and_not_gone_around(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", f"http://me:{SECRET}@proxy.example:3128")
    told = doctor("https://auth.invalid")
    assert told.levels["proxy"] == "problem"
    assert "the proxy proxy.example:3128 for auth.invalid:443" in told.found["proxy"]
    assert "NO_PROXY" in told.todo["proxy"]
    assert {told.levels[check] for check in ("name", "connection", "TLS", "clock", "token")} == {"skipped"}
    assert (told.status, told.requests) == (75, 0)


@pytest.mark.parametrize(("written", "shown"), [("proxy:8080", "proxy:8080"), ("http://x:y:z", "that cannot be read")])
def test_a_proxy_is_named_however_it_is_written(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, written: str, shown: str
) -> None:
    monkeypatch.setenv("all_proxy", written)
    assert f"the proxy {shown} for" in doctor("https://auth.invalid").found["proxy"]


def test_a_proxy_that_is_left_out_for_this_host_is_no_problem_and_an_unknown_name_is(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "auth.invalid")
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    told = doctor("https://auth.invalid")
    assert told.levels["proxy"] == "ok"
    assert "NO_PROXY leaves auth.invalid out" in told.found["proxy"]
    assert told.levels["name"] == "problem"
    assert "auth.invalid was not resolved: Name or service not known" in told.found["name"]
    assert told.todo["name"]
    assert told.found["token"] == "none was asked for: name is in the way, see above"
    assert (told.status, told.requests) == (75, 0)


def test_a_port_that_nobody_listens_on_is_told_with_its_address(doctor: Doctor) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        told = doctor(f"http://127.0.0.1:{closed.getsockname()[1]}")
    assert (told.levels["name"], told.levels["connection"], told.levels["TLS"]) == ("ok", "problem", "skipped")
    assert "127.0.0.1: Connection refused" in told.found["connection"]
    assert "firewall" in told.todo["connection"]
    assert (told.status, told.requests) == (75, 0)


def test_while_a_fake_server_is_entered_nothing_goes_out(doctor: Doctor, stack: ExitStack) -> None:
    emulator = emulated(stack)
    with MangopayServer():
        told = doctor(emulator.base_url)
    assert "a fake server is entered" in told.found["name"]
    assert emulator.arrivals == ()


def answers(connection: socket.socket, server: wire.Server) -> None:
    """Nothing to a request without credentials, and a token with the time of another century to one with them."""
    wire.read_request(connection, server)
    if server.heard[-1].startswith(b"POST"):
        body = json.dumps({"access_token": canary.token(), "token_type": "bearer", "expires_in": 1_200}).encode()
        head = f"HTTP/1.1 200 OK\r\nDate: Sat, 01 Jan 2000 00:00:00 GMT\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)


def test_a_server_that_answers_nothing_without_credentials_is_asked_all_the_same_and_its_clock_read(
    doctor: Doctor,
) -> None:
    with wire.serving(answers) as server:
        told = doctor(f"http://127.0.0.1:{server.port}", "--timeout", "0.3")
    assert [heard.split()[0] for heard in server.heard] == [b"HEAD", b"POST"]
    assert b"Authorization" not in server.heard[0]
    assert (told.levels["TLS"], told.levels["token"]) == ("ok", "ok")
    assert told.levels["clock"] == "warning"
    assert "ahead of the server's" in told.found["clock"]
    assert told.status == 0


def test_a_server_that_never_says_what_time_it_is_leaves_the_clock_unknown(doctor: Doctor) -> None:
    with wire.serving(wire.answer(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")) as server:
        told = doctor(f"http://127.0.0.1:{server.port}")
    assert (told.levels["clock"], told.levels["token"]) == ("skipped", "problem")
    assert "does not say what time it is" in told.found["clock"]


NOON = 1_700_049_600.0  # 2023-11-15T12:00:00Z


@pytest.mark.parametrize(
    ("before", "after", "level", "says"),
    [
        (0.0, 0.5, Level.OK, "agrees"),
        (0.9, 3.0, Level.OK, "agrees"),
        (-5.0, 5.0, Level.OK, "agrees"),
        (6.0, 6.1, Level.OK, "5 s ahead of"),
        (-6.1, -6.0, Level.OK, "6 s behind"),
        (31.5, 32.0, Level.WARNING, "30 s ahead of"),
        (-3_601.0, -3_600.0, Level.WARNING, "3600 s behind"),
    ],
)
def test_the_clock_is_off_by_what_no_waiting_explains(before: float, after: float, level: Level, says: str) -> None:
    response = HttpResponse(404, (("Date", "Wed, 15 Nov 2023 12:00:00 GMT"),))
    finding = clock(Heard(NOON + before, response, NOON + after))
    assert finding.level is level
    assert says in finding.found
    assert bool(finding.todo) is (level is Level.WARNING)


@pytest.mark.parametrize("headers", [(), (("Date", "soon"),), (("Date", "Wed, 15 Nov 2023 12:00:00 GMT"),) * 2])
def test_a_date_that_says_nothing_is_no_finding(headers: tuple[tuple[str, str], ...]) -> None:
    assert clock(Heard(NOON, HttpResponse(200, headers), NOON)).level is Level.SKIPPED


# What is given
# -------------


@pytest.mark.parametrize(
    ("url", "profile", "level", "says"),
    [
        (None, "mangopay-sandbox", "ok", "mangopay-sandbox, at api.sandbox.mangopay.com"),
        (mangopay.SANDBOX_MTLS, "mangopay-sandbox", "ok", "mangopay-sandbox"),
        (mangopay.PRODUCTION, "mangopay-sandbox", "warning", "a host of mangopay-production"),
        ("https://auth.example/token", None, "ok", "no profile, at auth.example"),
    ],
)
def test_a_host_of_the_other_environment_is_noticed(
    url: str | None, profile: str | None, level: str, says: str
) -> None:
    if profile is None:
        grant = ClientCredentials(TokenEndpoint(str(url)), "shop", SECRET)
    else:
        grant = mangopay.sandbox("shop", SECRET, base_url=url)
    finding = environment(grant, profile)
    assert (finding.level.value, bool(finding.todo)) == (level, level == "warning")
    assert says in finding.found


def test_mangopay_without_its_profile_is_noticed() -> None:
    grant = ClientCredentials(TokenEndpoint(f"{mangopay.PRODUCTION}/v2.01/oauth/token"), "shop", SECRET)
    finding = environment(grant, None)
    assert finding.level is Level.WARNING
    assert "--profile mangopay-production" in finding.todo


@pytest.mark.parametrize(
    ("key", "level", "says"),
    [
        (SECRET, Level.OK, "no character in them"),
        (f"{SECRET}+", Level.WARNING, "the secret has characters"),
        (f'"{SECRET}"', Level.WARNING, "quotation marks around the secret"),
        (f"'{SECRET}'", Level.WARNING, "quotation marks around the secret"),
    ],
)
def test_how_the_secret_is_spelt_is_told_and_never_shown(key: str, level: Level, says: str) -> None:
    finding = credentials(mangopay.sandbox("shop", key), granted=False)
    assert (finding.level, bool(finding.todo)) == (level, level is Level.WARNING)
    assert says in finding.found
    assert 'encoding "raw"' in finding.found
    canary.assert_clean(finding)
    assert credentials(mangopay.sandbox("shop", key), granted=True).level is Level.OK


def test_an_endpoint_of_anybody_s_is_spelt_as_the_rfc_says() -> None:
    finding = credentials(ClientCredentials(TokenEndpoint("https://auth.example/t"), "a b", SECRET), granted=False)
    assert 'encoding "rfc6749"' in finding.found
    assert 'BasicAuthentication("raw")' in finding.todo


# The client certificate
# ----------------------

NOW = datetime.now(UTC)


def certificate_file(
    folder: Path, name: str = "shop.sandbox.mangopay.com", *, begins: float = -5, ends: float = 365
) -> str:
    """One whose days are counted from now. The key comes first, as some tools write it."""
    made = trustme.CA().issue_cert(
        "shop@example.com",
        common_name=name,
        not_before=NOW + timedelta(days=begins),
        not_after=NOW + timedelta(days=ends, hours=1),
    )
    path = folder / "mine.pem"
    path.write_bytes(made.private_key_pem.bytes() + b"".join(each.bytes() for each in made.cert_chain_pems))
    return str(path)


@pytest.mark.parametrize(
    ("begins", "ends", "level", "says"),
    [
        (-5, 365, Level.OK, "is good for 365 days"),
        (-5, 31, Level.OK, "is good for 31 days"),
        (-5, 29, Level.WARNING, "is good for 29 days"),
        (-5, -1, Level.PROBLEM, "has expired on"),
        (2, 9, Level.PROBLEM, "is not valid before"),
    ],
)
def test_a_certificate_is_told_by_the_days_that_it_has_left(
    tmp_path: Path, begins: float, ends: float, level: Level, says: str
) -> None:
    finding = certificate(certificate_file(tmp_path, begins=begins, ends=ends), "mangopay-sandbox", "shop")
    assert (finding.level, bool(finding.todo)) == (level, level is not Level.OK)
    assert says in finding.found


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("SHOP.sandbox.mangopay.com", Level.OK),
        ("shop.prod.mangopay.com", Level.WARNING),
        ("other.sandbox.mangopay.com", Level.WARNING),
        ("shop.example.com", Level.OK),
    ],
)
def test_a_certificate_of_another_environment_or_client_is_noticed(tmp_path: Path, name: str, level: Level) -> None:
    finding = certificate(certificate_file(tmp_path, name), "mangopay-sandbox", "shop")
    assert finding.level is level
    assert name in finding.found


def test_where_days_cannot_be_read_the_certificate_can_be_used_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = certificate_file(tmp_path)

    def broken(_: bytes) -> None:
        raise ValueError("negative serial number")

    with monkeypatch.context() as patch:
        patch.setattr("cryptography.x509.load_pem_x509_certificate", broken)
        assert certificate(file, None, "shop").level is Level.WARNING

    def found(_: str) -> None:
        return None

    monkeypatch.setattr(certificates, "find_spec", found)
    finding = certificate(file, None, "shop")
    assert (finding.level, finding.todo) == (Level.WARNING, "pip install cryptography, and run this again.")


def test_a_certificate_that_cannot_be_loaded_stops_at_tls_with_the_status_of_wrong_usage(
    stack: ExitStack, doctor: Doctor, tmp_path: Path
) -> None:
    emulator = emulated(stack)
    (tmp_path / "none.pem").write_bytes(b"no certificate")
    told = doctor(emulator.base_url, "--mtls-cert", str(tmp_path / "none.pem"))
    assert (told.status, told.requests, told.levels["client certificate"]) == (2, 0, "problem")
    assert "none.pem" in told.found["client certificate"]
    assert (told.levels["connection"], told.levels["TLS"], told.levels["token"]) == ("ok", "skipped", "skipped")
    assert emulator.arrivals == ()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--url", "https://auth.invalid/t", "--mtls-key", "key.pem"], "goes with --mtls-cert"),
        ([], "say whom to ask"),
        (["--url", "http://auth.invalid/t"], "https"),
    ],
)
def test_wrong_usage_is_told_as_by_the_other_commands(
    run: Callable[..., tuple[int, str, str]], arguments: list[str], says: str
) -> None:
    status, out, complaint = run("doctor", *arguments)
    assert (status, out) == (2, "")
    assert complaint.startswith("evertoken: doctor: ")
    assert says in complaint


# The store
# ---------


def test_a_folder_that_others_can_read_is_a_problem_and_nobody_is_asked(
    stack: ExitStack, doctor: Doctor, tmp_path: Path
) -> None:
    emulator = emulated(stack)
    (tmp_path / "store").mkdir(mode=0o755)
    told = doctor(emulator.base_url)
    assert (told.status, told.requests, told.levels["store"]) == (75, 0, "problem")
    assert "chmod 700" in told.found["store"]
    assert told.found["token"] == "none was asked for: store is in the way, see above"


def test_a_lock_that_another_process_holds_is_told_with_its_file(
    stack: ExitStack, doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "_SECONDS", 0.05)
    emulator = emulated(stack)
    grant, held = mangopay.sandbox("shop", SECRET, base_url=emulator.base_url), FileStore(tmp_path / "store")
    (tmp_path / "store").mkdir(mode=0o700)
    lock = held._lock(key_of(grant), 1.0)
    try:
        told = doctor(emulator.base_url)
    finally:
        lock.free()
    assert (told.status, told.requests, told.levels["store"]) == (75, 0, "problem")
    assert ".lock" in told.found["store"]
    assert "fuser" in told.found["store"]


def test_what_the_doctor_writes_to_try_a_folder_is_gone_afterwards(
    stack: ExitStack, doctor: Doctor, tmp_path: Path
) -> None:
    doctor(emulated(stack).base_url)
    left = [file for file in (tmp_path / "store").iterdir() if not file.name.endswith(".lock")]
    assert len(left) == 1, "the token's record, and nothing else"


def test_a_record_that_is_not_believed_is_a_warning_and_the_token_is_asked_for(
    stack: ExitStack, doctor: Doctor, tmp_path: Path
) -> None:
    emulator = emulated(stack)
    doctor(emulator.base_url)
    (file,) = [path for path in (tmp_path / "store").iterdir() if "." not in path.name]
    file.write_bytes(b"not a record")
    told = doctor(emulator.base_url)
    assert (told.status, told.requests, told.levels["store"]) == (0, 1, "warning")
    assert "not believed" in told.found["store"]


def test_an_encrypted_store_is_read_by_its_keys(
    stack: ExitStack, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cryptography.fernet import Fernet

    monkeypatch.setenv("EVERTOKEN_STORE_KEYS", Fernet.generate_key().decode())
    emulator = emulated(stack)
    assert [doctor(emulator.base_url).requests for _ in range(2)] == [1, 0]


# The page
# --------


def test_the_page_has_every_check_and_every_field_and_no_other(
    stack: ExitStack, run: Callable[..., tuple[int, str, str]]
) -> None:
    assert {*re.findall(r"(?m)^\| `([\w ]+)` \|", text_of("howto/doctor"))} == {*CHECKS, "other environment"}
    ((_, shown),) = blocks("howto/doctor", "json")
    told = json.loads(run("doctor", "--json", "--url", f"{emulated(stack).base_url}/token")[1])
    assert list(json.loads(shown)) == list(told)
    assert list(json.loads(shown)["findings"][0]) == list(told["findings"][0])


def test_its_help_needs_no_library(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["doctor", "--help"])
    assert ended.value.code == 0
    assert "--other-environment" in capsys.readouterr().out
