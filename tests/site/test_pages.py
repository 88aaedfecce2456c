"""The pages that every reader comes across: each example runs as written, and does what the page says."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from evertoken import CredentialsRefused
from evertoken.mangopay import sandbox
from evertoken.testing import TokenFault
from evertoken_transports.stores import FileStore
from evertoken_transports.testing import MangopayServer
from tests.kits.pages import blocks, run
from tests.kits.source_tree import ROOT
from tests.site.conftest import API_KEY, CLIENT_ID


def test_five_minutes_cost_one_token_request(mangopay: MangopayServer, capsys: pytest.CaptureFixture[str]) -> None:
    page = run("start")
    told = capsys.readouterr().out
    assert mangopay.token_requests == 1
    assert "200\n50\nVALID" in told
    assert page.header == page.headers["Authorization"]


def test_whoever_catches_errors_as_shown_wakes_somebody_for_what_does_not_mend_itself(
    mangopay: MangopayServer,
) -> None:
    page = run("errors")
    told: list[str] = []
    assert page.users()["Call"] == 1
    mangopay.advance(3_600)
    mangopay.next_token_requests(TokenFault.INVALID_CLIENT)
    page.users.__globals__["wake_somebody"] = told.append
    with pytest.raises(CredentialsRefused):
        page.users()
    assert len(told) == 1


@pytest.mark.usefixtures("mangopay")
def test_the_page_of_the_policy_shows_one_that_can_be_made() -> None:
    assert repr(run("policy").auth.source.coordinator.machine.policy) == (
        "Policy(refresh_before=60, request_timeout=5)"
    )


def test_the_readme_shows_what_runs(mangopay: MangopayServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    names: dict[str, object] = {"grant": sandbox(CLIENT_ID, API_KEY)}
    for source in re.findall(r"(?ms)^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8")):
        exec(compile(source, "README.md", "exec"), names)
    assert mangopay.token_requests == 1
    assert mangopay.api_calls == 1


def test_one_token_for_a_fleet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    new, old = Fernet.generate_key(), Fernet.generate_key()
    page = run("fleet", grant=sandbox(CLIENT_ID, API_KEY), store=FileStore(tmp_path), new=new, old=old)
    assert page.source.coordinator.machine.tiers == 2
    assert page.auth.source.coordinator.machine.tiers == 1


@pytest.mark.parametrize("page", ["fleet", "howto/cron"])
@pytest.mark.parametrize("status", [0, 75])
def test_the_shell_script_calls_nobody_without_a_token_and_shows_nobody_a_token(
    page: str, status: int, tmp_path: Path
) -> None:
    (script,) = [source for _, source in blocks(page, "sh")]
    stand_ins = {
        "evertoken": f'[ "$1" = header ] && echo "Bearer of-nobody" && exit {status}',
        "curl": 'echo "$@" > told; cat >> told',
    }
    for name, content in stand_ins.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{content}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o700)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(["/bin/sh", "-c", script], cwd=tmp_path, env={"PATH": path}, check=False, timeout=60)
    told = tmp_path / "told"
    assert told.exists() is (status == 0)
    if told.exists():
        arguments, *lines = told.read_text(encoding="utf-8").splitlines()
        assert "of-nobody" not in arguments
        assert lines == ["Authorization: Bearer of-nobody"]
