"""``python -m evertoken``: the command if it is there, else what to install."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

import evertoken

MODULE = Path(evertoken.__file__).with_name("__main__.py")


def ended(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    """What the process would have ended with."""
    monkeypatch.setattr(sys, "argv", ["evertoken", *arguments])
    with pytest.raises(SystemExit) as exit_info:
        runpy.run_path(str(MODULE), run_name="__main__")
    return exit_info.value.code


def test_the_command_is_handed_over_to(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.startswith("evertoken ")


def test_core_alone_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "evertoken_transports.tools.cli", None)
    assert "pip install ." in str(ended(monkeypatch))


def test_a_process_that_the_command_starts_does_not_run_it_again() -> None:
    assert runpy.run_path(str(MODULE), run_name="__mp_main__")["__name__"] == "__mp_main__"
