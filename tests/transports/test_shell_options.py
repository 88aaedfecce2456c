"""What the commands for shells take, and what they say where it cannot be."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

import pytest

from evertoken.sharing import StoreTrouble
from evertoken.testing import Route
from evertoken_transports._coordinator import _registry
from evertoken_transports._threads import Caller
from evertoken_transports.emulator import Emulator
from evertoken_transports.stores import FileStore
from evertoken_transports.tools import cli
from tests.kits import canary

COMMANDS = ("token", "header", "status", "unblock", "doctor")
KEY = f"{canary.secret()}+%"
"""What the two encodings spell differently."""

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(client_id="shop", api_key=KEY) as made:
        yield made


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in this process, as another process would: status, output, complaint."""
    monkeypatch.setenv("EVERTOKEN_CLIENT_ID", "shop")
    monkeypatch.setenv("EVERTOKEN_API_KEY", KEY)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str) -> tuple[int, str, str]:
        _registry.clear()
        try:
            status = cli.main(arguments)
        except SystemExit as ended:
            status = int(ended.code or 0)
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def asked(emulator: Emulator) -> int:
    return sum(arrival.route is Route.TOKEN for arrival in emulator.arrivals)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_time_to_wait_that_is_none_is_wrong_usage(run: Run, name: str) -> None:
    for seconds in ("0", "-1", "0.0", "nan", "inf", "2147483648", "soon", ""):
        status, told, complaint = run(name, "--profile", "mangopay-sandbox", f"--timeout={seconds}")
        assert (status, told) == (2, "")
        assert f"--timeout: must be a number of seconds above 0, not '{seconds}'" in complaint


@pytest.mark.parametrize("name", COMMANDS)
def test_a_place_that_can_be_none_is_told_once_at_once_and_for_people(
    run: Run, emulator: Emulator, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Caller, "sleep", never)
    where = str(tmp_path / "no/such/folder")
    status, told, complaint = run(name, "--profile", "mangopay-sandbox", "--url", emulator.base_url, "--store", where)
    said = told if name == "doctor" else complaint
    assert status == 75
    assert name == "doctor" or not told
    assert said.count(f"{where}: ") == 1
    assert "make the folder" in said
    assert asked(emulator) == 0


@pytest.mark.parametrize("name", ["token", "header"])
def test_a_store_that_can_be_read_and_not_written_is_told_once_at_once_and_for_people(
    run: Run, emulator: Emulator, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Caller, "sleep", never)
    monkeypatch.setattr(FileStore, "swap", full)
    at = ("--profile", "mangopay-sandbox", "--url", emulator.base_url, "--store", str(tmp_path / "store"))
    status, value, complaint = run(name, *at)
    assert (status, value) == (75, "")
    assert complaint.casefold().count(FULL) == 1
    assert not [word for word in ("store_required", "FileStore", "for another") if word in complaint]
    assert asked(emulator) == 0


FULL = "the disk is full: remove something"


def full(*_arguments: object, **_options: object) -> NoReturn:
    raise StoreTrouble(FULL)


def never(_caller: Caller, seconds: float) -> NoReturn:
    raise AssertionError(f"it waits {seconds} s for nothing")


@pytest.mark.parametrize("encoding", ["raw", "rfc6749"])
@pytest.mark.parametrize("profile", [True, False], ids=["profile", "url"])
def test_the_encoding_is_that_which_is_asked_for(run: Run, tmp_path: Path, encoding: str, profile: bool) -> None:
    """The emulator compares what it gets: each encoding is right for one key."""
    with Emulator(client_id="shop", api_key=KEY if encoding == "raw" else quote(KEY, safe="")) as emulator:
        url = emulator.base_url if profile else f"{emulator.base_url}/v2.01/oauth/token"
        whom = ("--profile", "mangopay-sandbox", "--url", url) if profile else ("--url", url)
        at = (*whom, "--store", str(tmp_path / "store"), "--encoding", encoding)
        assert run("token", *at)[0] == 0
        for name in COMMANDS:
            status, told, _ = run(name, *at)
            assert status == 0
            assert f'encoding "{encoding}"' in told or name != "doctor"
        assert "token: expires in" in run("status", *at)[1]
        assert asked(emulator) == 1


def test_the_encoding_that_a_profile_has_by_itself_is_the_same_when_it_is_named(
    run: Run, emulator: Emulator, tmp_path: Path
) -> None:
    at = ("--profile", "mangopay-sandbox", "--url", emulator.base_url, "--store", str(tmp_path / "store"))
    assert run("token", *at) == run("token", *at, "--encoding", "raw")
    assert asked(emulator) == 1


class FullDisk(io.StringIO):
    """Standard output to a disk that takes nothing more, which shows when it is flushed."""

    def flush(self) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_where_the_token_cannot_be_written_the_status_is_1_and_the_next_run_finds_it(
    run: Run, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = ("--profile", "mangopay-sandbox", "--url", emulator.base_url, "--store", str(tmp_path / "store"))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", FullDisk())
        status = cli.main(["token", *at])
    assert status == 1
    assert run("token", *at)[::2] == (0, "evertoken: [Errno 28] No space left on device\n")
    assert asked(emulator) == 1
