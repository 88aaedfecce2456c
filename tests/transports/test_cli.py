"""The command line: what it says without the extra, what it says of wrong usage, and the emulator for other clients."""

from __future__ import annotations

import http.client
import importlib.util
import json
import re
import shlex
import signal
import socket
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import httpx
import pytest

from evertoken.testing import Arrival, AuthorizationKind, Route, Script, TokenFault, TokenTruth
from evertoken_transports.tools import cli
from evertoken_transports.tools._demo.emulate import EXAMPLE, MADE_UP_KEY, described, hints, unread
from tests.kits import canary
from tests.kits.demo_worlds import interruptible
from tests.kits.emulation import LIMIT, emulating, options


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    status = cli.main(arguments)
    return status, capsys.readouterr().err


# Without the extra
# -----------------


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        (["demo", "--plain"], ["h11", "httpx", "rich"]),
        (["emulate"], ["h11"]),
        (["emulate", "--print-script"], ["h11"]),
        (["simulate", "--seeds", "0-9"], ["rich"]),
    ],
    ids=" ".join,
)
def test_without_a_library_a_command_names_what_it_needs_and_how_to_install_that(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], needed: list[str]
) -> None:
    find = importlib.util.find_spec
    gone: list[str] = []

    def found(name: str) -> object:
        return None if name in gone else find(name)

    monkeypatch.setattr(importlib.util, "find_spec", found)
    for missing in ([needed[0]], needed):
        gone[:] = missing
        status, complaint = said(capsys, *arguments)
        assert status == 2
        assert complaint == (
            f"evertoken: {arguments[0]}: not installed: {', '.join(missing)}. To install: pip install"
            f" {' '.join(missing)} (or, in a checkout of evertoken, pip install '.[cli]')\n"
        )


# Without any of them, in a process that has none, is what tests/environments/check.py does.
@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["demo", "--help"], ["simulate", "--help"]])
def test_help_and_version_look_for_no_library(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    def found(name: str) -> None:
        return None

    monkeypatch.setattr(importlib.util, "find_spec", found)
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 0
    assert re.match(r"usage: evertoken |evertoken \d", capsys.readouterr().out)


def test_a_source_tree_that_is_not_installed_has_no_version(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", unknown)
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == "evertoken of a source tree that is not installed\n"


def test_the_module_can_be_imported_without_the_extra() -> None:
    code = "import sys, evertoken_transports.tools.cli; print({'h11', 'httpx', 'rich'} & {*sys.modules})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LIMIT, check=True)
    assert run.stdout == "set()\n"


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["emulate", "--print-script"], 0),
        (["simulate", "--seed", "1", "--days", "0.001"], 0),
        (["simulate", "--seeds", "1", "--days", "0.001", "--jobs", "1"], 0),
        (["demo", "--seconds", "0"], 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_where_all_output_is_closed_a_command_runs_and_says_nothing(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], status: int
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert cli.main(arguments) == status
    for stream in (sys.stdout, sys.stderr):
        stream.close()


# Wrong usage
# -----------


def script_file(folder: Path, content: object) -> str:
    path = folder / "script.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"phases": [{"at": 1, "token": {"fault": "oops"}}]}, ["phases[0].token.fault", "server_error", "locked"]),
        ({"lifetimes": 5}, ["lifetimes", "is unknown", "lifetime"]),
        ({"lifetime": 0}, ["lifetime", "at least 1"]),
        ("{", ["script", "is not JSON"]),
    ],
    ids=["fault", "name", "range", "JSON"],
)
def test_a_wrong_script_is_one_line_that_names_the_field_and_what_is_allowed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: object, words: list[str]
) -> None:
    status, complaint = said(capsys, "emulate", "--script", script_file(tmp_path, content))
    assert status == 2
    assert complaint.count("\n") == 1
    assert complaint.startswith("evertoken: emulate: ")
    assert not [word for word in words if word not in complaint]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["emulate", "--script", "nowhere/script.json"], "--script cannot be read"),
        (["emulate", "--lifetime", "0"], "lifetime: must be a whole number of at least 1"),
        (["emulate", "--client-id", ""], "client_id"),
        (["emulate", "--client-id", "a:b"], "client_id must not contain a colon"),
        (["emulate", "--client-id", "a\nb"], "client_id"),
        (["emulate", "--api-key", ""], "api_key"),
        (["emulate", "--api-key", "two\nlines"], "api_key"),
        (["simulate", "--days", "-1"], "--days must be above 0 and at most 36525, not -1.0"),
        (["simulate", "--days", "nan"], "--days must be above 0"),
        (["simulate", "--years", "-1"], "--years must be above 0 and at most 100, not -1.0"),
        (["simulate", "--years", "101"], "--years must be"),
        (["simulate", "--years", "nan"], "--years must be"),
        (["demo", "--seconds", "3"], "--seconds must be at least"),
        (["demo", "--threads", "0"], "--threads must be"),
        (["demo", "--chapters", "hail"], "--chapters: 'hail' is not one of"),
        (["demo", "--sabotage", "hail"], "--sabotage: 'hail' is not one of"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_value_that_cannot_be_used_is_one_line_and_status_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    status, complaint = said(capsys, *arguments)
    assert status == 2
    assert words in complaint
    assert complaint.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [[], ["dance"], ["emulate", "--port", "65536"], ["emulate", "--port", "x"], ["demo", "--seconds", "soon"]],
)
def test_what_is_no_usage_at_all_is_left_to_argparse(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert "usage: evertoken" in capsys.readouterr().err


def test_a_script_that_is_no_text_is_told_in_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "script.json").write_bytes(b"\xff\xfe")
    status, complaint = said(capsys, "emulate", "--script", str(tmp_path / "script.json"))
    assert (status, complaint.count("\n")) == (2, 1)


def test_a_port_that_is_taken_is_one_line_and_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        status, complaint = said(capsys, "emulate", "--port", str(taken.getsockname()[1]))
    assert (status, complaint.count("\n")) == (1, 1)
    assert "in use" in complaint


def test_the_sabotages_are_not_advertised(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["demo", "--help"])
    assert "sabotage" not in capsys.readouterr().out


# The example of a script
# -----------------------


def test_the_printed_script_is_one_that_can_be_played(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["emulate", "--print-script"]) == 0
    assert Script.from_json(capsys.readouterr().out) == EXAMPLE


# The emulator for other clients
# ------------------------------


def test_the_curl_command_carries_what_the_token_endpoint_asks_for() -> None:
    with emulating(options()) as lines:
        command = shlex.split(lines.wait_for("curl -u"))
        pair, body, url = command[2], command[4], command[5]
        client_id, _, key = pair.partition(":")
        answer = httpx.post(url, auth=(client_id, key), content=body, trust_env=False)
        assert answer.status_code == 200
        call = shlex.split(lines.wait_for("curl -H"))
        header = call[2].replace("<access_token>", answer.json()["access_token"]).partition(": ")
        assert httpx.get(call[3], headers={header[0]: header[2]}, trust_env=False).status_code == 200
        lines.wait_for("POST", "/v2.01/oauth/token", "200", "token 1 issued")
        lines.wait_for("GET", "/v2.01/demo/users", "200", "token 1 valid")
    assert not [line for line in lines if "tok-" in line], "a token was written"
    assert lines[-1] == "token requests: 1, tokens issued: 1, API calls: 1"


def test_a_key_that_was_given_is_used_and_never_written() -> None:
    with emulating(options(canary.secret(), "canary")) as lines:
        base = re.search(r"http://[0-9.:]+", lines.wait_for("A Mangopay-like server"))
        assert base is not None
        url = f"{base[0]}/v2.01/oauth/token"
        body = "grant_type=client_credentials"
        assert httpx.post(url, auth=("canary", canary.secret()), content=body, trust_env=False).status_code == 200
        assert httpx.post(url, auth=("canary", MADE_UP_KEY), content=body, trust_env=False).status_code == 401
        stray = http.client.HTTPConnection(base[0].removeprefix("http://"), timeout=LIMIT)
        stray.request("GET", f"/{canary.secret()}")  # httpx would log it.
        assert stray.getresponse().read()
        stray.close()
        lines.wait_for("wrong credentials")
        lines.wait_for("404")
    canary.assert_clean(*lines, options(canary.secret()))
    assert "<the key that you gave>" in "\n".join(lines)
    assert lines[-1] == "token requests: 2, tokens issued: 1, API calls: 0, 1 to elsewhere"


def test_the_made_up_key_is_marked_as_such() -> None:
    shown = list(hints("http://127.0.0.1:1", options()))
    assert f"client id demo, API key {MADE_UP_KEY} (made up: it opens nothing else)" in shown


def test_a_client_id_with_odd_characters_is_quoted_for_the_shell_and_in_the_path() -> None:
    shown = "\n".join(hints("http://127.0.0.1:1", options(client_id="my shop's")))
    command = next(line for line in shown.splitlines() if "curl -u" in line)
    assert shlex.split(command)[2] == f"my shop's:{MADE_UP_KEY}"
    assert """clientId: "my shop's", clientApiKey""" in shown
    assert "/v2.01/my%20shop%27s/users" in shown


@pytest.mark.parametrize(("lifetime", "warns"), [(60, True), (61, False)])
def test_a_life_that_is_too_short_for_mangopays_sdk_is_said_beside_it(lifetime: int, warns: bool) -> None:
    shown = list(hints("http://127.0.0.1:1", options(lifetime=lifetime)))
    assert ("give --lifetime 61 or more" in "\n".join(shown)) is warns


ARRIVAL = Arrival(
    seq=0,
    now=1.5,
    route=Route.API,
    method="GET",
    path="/v2.01/demo/users",
    status=200,
    answered_at=1.5,
    fault=None,
    authorization=AuthorizationKind.BEARER,
    token_number=3,
    token_truth=TokenTruth.VALID,
)
ISSUED = ARRIVAL._replace(route=Route.TOKEN, method="POST", path="/v2.01/oauth/token", token_truth=None)


@pytest.mark.parametrize(
    ("arrival", "line"),
    [
        (ARRIVAL, "200, token 3 valid"),
        (
            ISSUED._replace(status=None, fault=TokenFault.DROPPED_AFTER),
            "no answer, token 3 issued, fault dropped_after",
        ),
        (
            ISSUED._replace(status=429, token_number=None, fault=TokenFault.RATE_LIMITED_RETRY_AFTER, retry_after=5),
            "429, fault rate_limited_retry_after, Retry-After: 5",
        ),
        (
            ARRIVAL._replace(status=401, token_truth=TokenTruth.REVOKED, replayed=True),
            "401, token 3 revoked, REPLAYED with the token just rejected",
        ),
        (
            ARRIVAL._replace(status=401, token_number=None, token_truth=TokenTruth.UNKNOWN, detail="why"),
            "401, unknown token, why",
        ),
        (ARRIVAL._replace(status=401, token_number=None, token_truth=None), "401, no token"),
    ],
    ids=["served", "dropped", "limited", "replayed", "unknown", "bare"],
)
def test_an_arrival_is_one_line(arrival: Arrival, line: str) -> None:
    assert described(arrival) == f"    1.50 s  {arrival.method:<6} {arrival.path}  {line}"


@pytest.mark.parametrize(("following", "news"), [(0, [5, 6, 7]), (6, [6, 7]), (8, [])])
def test_each_arrival_is_told_once_also_when_the_log_has_forgotten_the_first(following: int, news: list[int]) -> None:
    kept = [ARRIVAL._replace(seq=seq) for seq in (5, 6, 7)]
    assert [arrival.seq for arrival in unread(kept, following)] == news
    assert not unread([], following)


def test_an_interrupt_ends_the_emulator_with_a_summary_and_status_0() -> None:
    command = interruptible("emulate", "--port", "0")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert any("Node.js" in line for line in server.stdout)
        server.send_signal(signal.SIGINT)
        rest, complaint = server.communicate(timeout=LIMIT)
    assert (server.returncode, complaint) == (0, "")
    assert rest.endswith("token requests: 0, tokens issued: 0, API calls: 0\n")


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    command = [sys.executable, "-m", "evertoken_transports.tools.cli", "demo", "--plain", "--seconds", "13"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        assert demo.stdout.readline()
        demo.stdout.close()
        assert demo.stderr is not None
        complaint = demo.stderr.read()
        status = demo.wait(LIMIT)
    assert (status, complaint) == (1, "")
