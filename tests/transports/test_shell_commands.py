"""``evertoken token``, ``header``, ``status``, ``unblock``: many runs ask once, and each outcome has a status."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme
from cryptography.fernet import Fernet

from evertoken.testing import Script, TokenBehaviour, TokenFault
from evertoken_transports._coordinator import _registry
from evertoken_transports.emulator import Emulator
from evertoken_transports.tools import cli
from tests.kits import canary
from tests.kits.source_tree import ROOT

Run = Callable[..., tuple[int, str, str]]
SECRET = canary.secret()


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(client_id="shop", api_key=SECRET) as made:
        yield made


def asked(emulator: Emulator) -> int:
    return sum(arrival.method == "POST" for arrival in emulator.arrivals)


def place(emulator: Emulator, tmp_path: Path) -> list[str]:
    return ["--profile", "mangopay-sandbox", "--url", emulator.base_url, "--store", str(tmp_path / "store")]


@pytest.fixture
def run(emulator: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in this process, as another process would: status, output, complaint."""
    monkeypatch.setenv("EVERTOKEN_CLIENT_ID", "shop")
    monkeypatch.setenv("EVERTOKEN_API_KEY", SECRET)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)

    def run(name: str, *more: str) -> tuple[int, str, str]:
        _registry.clear()
        try:
            status = cli.main([name, *place(emulator, tmp_path), *more])
        except SystemExit as ended:
            status = int(ended.code or 0)
        said = capsys.readouterr()
        assert SECRET not in said.out + said.err
        return status, said.out, said.err

    return run


def test_the_value_and_a_newline_are_all_there_is_and_many_runs_ask_once(run: Run, emulator: Emulator) -> None:
    status, value, complaint = run("token")
    assert (status, complaint) == (0, "")
    assert value.endswith("\n")
    assert len(value.split()) == 1
    assert run("header") == (0, f"Bearer {value}", "")
    assert {run("token") for _ in range(5)} == {(0, value, "")}
    assert asked(emulator) == 1


def test_a_run_that_finds_a_token_imports_no_more_than_it_needs(run: Run, emulator: Emulator, tmp_path: Path) -> None:
    assert run("token")[0] == 0
    code = "import sys; from evertoken_transports.tools.cli import main; main(); print(*sys.modules)"
    for _ in range(2):
        with child(emulator, tmp_path, "token", code=code) as process:
            loaded = set(process.communicate()[0].split())
        assert "evertoken.sharing._glance" in loaded
        assert not {"evertoken._public", "evertoken_transports._public", "h11", "filelock", "asyncio", "ssl"} & loaded
        run("unblock")  # The next time it finds a block.
        with emulator.server() as server:
            server.next_token_requests(TokenBehaviour(fault=TokenFault.LOCKED))
        shutil.rmtree(tmp_path / "store")
        assert run("token")[0] == 4


def test_wrong_credentials_are_refused_once_and_told_each_time(
    run: Run, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVERTOKEN_API_KEY", "another-key")
    for _ in range(5):
        status, value, complaint = run("token")
        assert (status, value) == (3, "")
        assert complaint.startswith("evertoken: Asking ")
        assert complaint.count("\n") == 1
    assert asked(emulator) == 1


@pytest.mark.parametrize(
    ("fault", "status"),
    [(TokenFault.LOCKED, 4), (TokenFault.RATE_LIMITED_RETRY_AFTER, 5), (TokenFault.SERVER_ERROR, 75)],
)
def test_each_outcome_has_a_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, fault: TokenFault, status: int
) -> None:
    monkeypatch.setenv("EVERTOKEN_CLIENT_ID", "shop")
    monkeypatch.setenv("EVERTOKEN_API_KEY", SECRET)
    with Emulator(Script(token=TokenBehaviour(fault=fault)), client_id="shop", api_key=SECRET) as emulator:
        for _ in range(1 if status == 75 else 3):  # A failure is over soon, and may be asked for again.
            _registry.clear()
            assert cli.main(["token", *place(emulator, tmp_path), "--timeout", "0.3"]) == status
            assert capsys.readouterr().out == ""
        assert asked(emulator) == 1


def test_an_operator_s_word_opens_a_block_for_all(run: Run, emulator: Emulator) -> None:
    with emulator.server() as server:
        server.next_token_requests(TokenBehaviour(fault=TokenFault.LOCKED))
    assert run("token")[0] == 4
    assert run("token")[0] == 4
    assert "block: locked, for another" in run("status")[1]
    status, told, complaint = run("unblock")
    assert (status, complaint) == (0, "")
    assert "asks again within a minute" in told
    assert "block: none" in run("status")[1]
    assert run("unblock")[1].startswith("nothing was blocked in FileStore(")
    assert run("token")[0] == 0
    assert asked(emulator) == 2


def test_the_status_shows_what_is_stored_and_no_token(run: Run, emulator: Emulator) -> None:
    assert "token: none" in run("status")[1]
    value = run("token")[1].strip()
    status, told, complaint = run("status")
    assert (status, complaint) == (0, "")
    assert f"client: shop at {emulator.base_url}" in told
    assert "token: expires in " in told
    assert "block: none" in told
    assert value not in told


def test_a_record_that_is_not_believed_is_shown_as_such(run: Run, tmp_path: Path) -> None:
    run("token")
    (file,) = [path for path in (tmp_path / "store").iterdir() if "." not in path.name]
    file.write_bytes(b"not a record")
    assert "record: not believed" in run("status")[1]
    assert run("token")[0] == 0


@pytest.mark.parametrize("name", ["token", "status", "unblock"])
def test_a_store_that_cannot_be_had_is_no_reason_to_ask_around_it(
    run: Run, emulator: Emulator, tmp_path: Path, name: str
) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store").chmod(0o755)
    status, value, complaint = run(name)
    assert (status, value) == (75, "")
    assert "chmod 700" in complaint
    assert asked(emulator) == 0


def test_an_encrypted_store_is_read_and_written_by_its_keys(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERTOKEN_STORE_KEYS", f"{Fernet.generate_key().decode()},{Fernet.generate_key().decode()}")
    first = run("token")
    assert first[0] == 0
    assert run("token") == first
    assert "expires in" in run("status")[1]
    assert run("unblock")[0] == 0
    assert run("token") == first
    monkeypatch.delenv("EVERTOKEN_STORE_KEYS")
    assert "as one that is encrypted is to whoever has none of the keys" in run("status")[1]
    for wrong in ("no-key", "", " , "):
        monkeypatch.setenv("EVERTOKEN_STORE_KEYS", wrong)
        status, out, said = run("token")
        assert (status, out) == (2, "")
        assert "EVERTOKEN_STORE_KEYS" in said


def test_credentials_come_from_files_and_from_standard_input(
    run: Run, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = run("token")
    (tmp_path / "key").write_text(f"{SECRET}\n")
    monkeypatch.delenv("EVERTOKEN_API_KEY")
    monkeypatch.setenv("EVERTOKEN_API_KEY_FILE", str(tmp_path / "key"))
    assert run("token") == value
    monkeypatch.delenv("EVERTOKEN_API_KEY_FILE")
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{SECRET}\n"))
    assert run("token") == value
    monkeypatch.delenv("EVERTOKEN_CLIENT_ID")
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"shop\n{SECRET}\n"))
    assert run("token") == value
    assert asked(emulator) == 1


@pytest.mark.parametrize(
    ("environment", "more", "says"),
    [
        ({"EVERTOKEN_API_KEY": ""}, (), "there is no API key"),
        ({"EVERTOKEN_API_KEY_FILE": "/also"}, (), "are both set"),
        ({"EVERTOKEN_API_KEY": "", "EVERTOKEN_API_KEY_FILE": "/nonexistent/key"}, (), "No such file"),
        ({}, ("--store", "http://x:1"), "--store: url must be redis://"),
        ({}, ("--url", "http://example.com"), "https"),
        ({}, ("--mtls-key", "key.pem"), "goes with --mtls-cert"),
        ({}, ("--mtls-cert", "/nonexistent/cert.pem"), "No such file"),
        ({"EVERTOKEN_CLIENT_ID": "a\nb"}, (), "client_id"),
    ],
)
def test_wrong_usage_is_told_in_one_line(  # noqa: PLR0917
    run: Run,
    emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    more: tuple[str, ...],
    says: str,
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    status, value, complaint = run("token", *more)
    assert (status, value) == (2, "")
    assert says in complaint
    assert complaint.count("\n") == 1
    assert asked(emulator) == 0


def test_without_a_profile_or_a_url_nobody_is_asked(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    del run  # It sets the environment.
    assert cli.main(["token"]) == 2
    assert "--profile" in capsys.readouterr().err


def test_a_url_alone_is_a_token_endpoint_of_anybody_s(
    emulator: Emulator, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("token")
    url = f"{emulator.base_url}/v2.01/oauth/token"
    assert cli.main(["token", "--url", url, "--scope", "read", "--store", str(tmp_path / "store")]) == 0
    assert capsys.readouterr().out.strip()
    assert asked(emulator) == 2  # Another key: another scope, and another manner of authentication.


def test_a_certificate_is_loaded(run: Run, tmp_path: Path) -> None:
    certificate = trustme.CA().issue_cert("shop")
    (tmp_path / "mine.pem").write_bytes(
        certificate.private_key_pem.bytes() + b"".join(each.bytes() for each in certificate.cert_chain_pems)
    )
    assert run("token", "--mtls-cert", str(tmp_path / "mine.pem"))[0] == 0
    (tmp_path / "none.pem").write_bytes(b"no certificate")
    status, _, complaint = run("token", "--mtls-cert", str(tmp_path / "none.pem"))
    assert status == 2
    assert "no certificate and its key" in complaint


INTERRUPTIBLE = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from evertoken_transports.tools.cli import main; sys.exit(main())"
)


def child(emulator: Emulator, tmp_path: Path, *more: str, code: str = INTERRUPTIBLE) -> subprocess.Popen[str]:
    environment = {**os.environ, "EVERTOKEN_CLIENT_ID": "shop", "EVERTOKEN_API_KEY": SECRET}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    return subprocess.Popen(
        [sys.executable, "-c", code, *more, *place(emulator, tmp_path)],
        env=environment,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_processes_that_start_together_ask_once(emulator: Emulator, tmp_path: Path) -> None:
    came = [process.communicate() for process in [child(emulator, tmp_path, "token") for _ in range(4)]]
    assert len(set(came)) == 1
    assert asked(emulator) == 1


def test_an_interrupted_command_ends_with_130_and_holds_nothing(tmp_path: Path) -> None:
    with Emulator(Script(token=TokenBehaviour(fault=TokenFault.HANG)), client_id="shop", api_key=SECRET) as emulator:
        with child(emulator, tmp_path, "token") as process:
            while not emulator.arrivals:
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            said = process.communicate()
        assert (process.returncode, *said) == (130, "", "evertoken: interrupted\n")
        assert not list((tmp_path / "store").glob("*.new"))


def test_an_interrupt_while_it_is_still_being_imported_is_told_like_any_other(
    emulator: Emulator, tmp_path: Path
) -> None:
    code = """
import signal, sys
class Interrupting:
    def find_spec(self, name, path, target=None):
        if name == "evertoken_transports.tools._commands":
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
signal.signal(signal.SIGINT, signal.default_int_handler)
from evertoken_transports.tools.cli import main
sys.exit(main())
"""
    with child(emulator, tmp_path, "token", code=code) as process:
        said = process.communicate()
    assert (process.returncode, *said) == (130, "", "evertoken: interrupted\n")
