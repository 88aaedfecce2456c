"""Where pip itself fails to install, the cause is told; what else it may say is in tests/hygiene/test_install.py."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.environments import install

SCRIPT = install.__file__
LIMIT = 120.0

# No index but what the test itself says, whatever this machine is set up for.
BARE = {
    **{name: value for name, value in os.environ.items() if not name.upper().startswith("PIP_")},
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_RETRIES": "0",
    "PIP_TIMEOUT": "1",
}


def package(folder: Path, version: str, asks_for: str = "") -> str:
    """Put a package of that release into ``folder``; the hash of its file."""
    folder.mkdir(exist_ok=True)
    path = folder / f"madeup-{version}-py3-none-any.whl"
    info = f"madeup-{version}.dist-info"
    needs = f"Requires-Dist: {asks_for}\n" if asks_for else ""
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: madeup\nVersion: {version}\n{needs}")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def install_from(folder: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    """What installing came to, and what it said. It is looked for, and never really installed."""
    run = subprocess.run(
        [sys.executable, SCRIPT, "install.log", "--dry-run", "--ignore-installed", *arguments],
        env={**BARE, **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert run.stdout == ""
    return run.returncode, run.stderr


def pinned(folder: Path, requirement: str, digest: str) -> list[str]:
    """The arguments that install that pin, and nothing that it asks for."""
    (folder / "pins.txt").write_text(f"{requirement} --hash=sha256:{digest}\n", encoding="utf-8")
    return ["--no-deps", "--require-hashes", "-r", "pins.txt"]


def test_an_installation_that_goes_well_says_nothing_and_keeps_what_pip_said(tmp_path: Path) -> None:
    wanted = pinned(tmp_path, "madeup==1.0", package(tmp_path / "index", "1.0", asks_for="nowhere"))
    assert install_from(tmp_path, *wanted, PIP_NO_INDEX="1", PIP_FIND_LINKS="index") == (0, "")
    assert "madeup" in (tmp_path / "install.log").read_text()


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"PIP_NO_INDEX": "1"}, "no package index has the package at all"),
        ({"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "1"}, "the package index cannot be reached"),
    ],
    ids=["none", "a dead one"],
)
def test_a_missing_index_is_told_as_such(tmp_path: Path, environment: dict[str, str], words: str) -> None:
    status, said = install_from(tmp_path, *pinned(tmp_path, "madeup==1.0", "0" * 64), **environment)
    assert status == 1
    assert said.startswith(f"not installed: {words}")
    assert "PIP_INDEX_URL" in said
    assert "log:  install.log" in said


@pytest.mark.parametrize(
    ("requirement", "words", "advice"),
    [
        ("madeup==1.0", "its hash differs", "Compare the two hashes"),
        ("madeup==2.0", "not this release for this Python", "A mirror may be behind"),
    ],
    ids=["another file", "no such release"],
)
def test_an_index_that_has_other_files_than_those_pinned_is_told_from_one_that_is_missing(
    tmp_path: Path, requirement: str, words: str, advice: str
) -> None:
    package(tmp_path / "index", "1.0")
    wanted = pinned(tmp_path, requirement, "0" * 64)
    status, said = install_from(tmp_path, *wanted, PIP_NO_INDEX="1", PIP_FIND_LINKS="index")
    assert (status, said.count("\n")) == (1, 4)
    assert words in said
    assert advice in said
