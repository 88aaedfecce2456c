"""The pages that every reader comes across: each example runs as written, and does what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from evertoken import CredentialsRefused
from evertoken.mangopay import sandbox
from evertoken.testing import TokenFault
from evertoken_transports.testing import MangopayServer
from tests.kits.pages import run
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
