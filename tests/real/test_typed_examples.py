"""The examples of the documentation, under the type checker that an application would run over its own code, strict."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.kits.pages import blocks
from tests.kits.source_tree import ROOT

PAGES = sorted(str(path.relative_to(ROOT / "docs").with_suffix("")) for path in (ROOT / "docs").rglob("*.md"))
APART = {
    "howto/celery": "not installed",
    "howto/fastapi": "not installed",
    "howto/notebooks": "cells, which await outside of functions",
    "embedders": "each section is a program of its own, and needs an SDK that is not installed",
    "fleet": "fragments, whose names are told in words",
    "simulation": "one-liners that are as short as they can be",
}


AS_TESTS_ARE = """\
# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from evertoken_transports.testing import MangopayServer
"""


def typed(page: str) -> str:
    """The page's examples as one file. A test's fixture gets the type that pytest would find by its name."""
    text = "\n".join(source for _, source in blocks(page))
    if page != "testing":
        return text
    fixture = r"^((?:async )?def test_.*)\(mangopay_server"
    return AS_TESTS_ARE + re.sub(fixture, r"\1(mangopay_server: MangopayServer", text, flags=re.MULTILINE)


def test_every_example_of_the_documentation_is_well_typed(tmp_path: Path) -> None:
    files: list[str] = []
    for page in PAGES:
        if page not in APART and blocks(page):
            file = tmp_path / f"{page.replace('/', '_')}_page.py"
            file.write_text(typed(page), encoding="utf-8")
            files.append(str(file))
    assert files
    assert set(APART) <= set(PAGES)
    roots = os.pathsep.join(str(ROOT / root) for root in ("core", "transports"))
    options = ("--config-file=", "--strict", "--no-warn-return-any", "--ignore-missing-imports")
    run = subprocess.run(
        [sys.executable, "-m", "mypy", *options, f"--cache-dir={tmp_path}", *files],
        env={**os.environ, "MYPYPATH": roots},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert run.returncode == 0, run.stdout
