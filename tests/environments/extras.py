"""``python -m tests.environments.extras STAGE pins|minimums [EXTRA...]``: the wheel in STAGE/dist, with each extra.

With no extra, each one, and all of them; or only those that are named. Each goes into an environment of its own, made
from nothing: with the releases that are pinned, by hash; or with exactly the oldest ones that pyproject.toml declares.
There ``check.py`` asserts what must hold.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement

from tests.environments.check import EXTRAS
from tests.environments.pins import PINS, applicable, needed_by, read_pins

__all__ = ("main", "minimum", "wanted")

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FOR_USERS = {name: texts for name, texts in PROJECT["optional-dependencies"].items() if name != "dev"}
TOOLS = ("hypothesis", "pytest", "pytest-asyncio", "pytest-trio", "pytest-xdist")
"""What tests/core needs."""


class _Failed(Exception):
    """One environment did not come up to what was asked of it. Its text is all that was said in it."""


def wanted(extra: str) -> list[Requirement]:
    """What the distribution asks for with ``extra``; "none" and "all" are no extras, and understood as well."""
    chosen = {"none": [], "all": [text for texts in FOR_USERS.values() for text in texts]}.get(extra)
    texts = FOR_USERS[extra] if chosen is None else chosen
    return [Requirement(text) for text in dict.fromkeys([*PROJECT["dependencies"], *texts])]


def minimum(requirement: Requirement) -> str:
    """The oldest release that ``requirement`` says will do, and no other: ``h11>=0.16`` is ``h11==0.16``.

    Raises:
        ValueError: it names no oldest release.
    """
    oldest = [one.version for one in requirement.specifier if one.operator == ">="]
    if len(oldest) != 1:
        raise ValueError(f"{requirement} must name the oldest release that will do, by >=")
    return f"{requirement.name}=={oldest[0]}"


class _Trial(NamedTuple):
    """One environment."""

    stage: Path
    kind: str
    extra: str

    @property
    def folder(self) -> Path:
        return self.stage / f"{self.kind}-{self.extra}"

    @property
    def python(self) -> str:
        return str(self.folder / ("Scripts" if os.name == "nt" else "bin") / "python")

    def run(self) -> str:
        """Make it, and check it; what was said."""
        shutil.rmtree(self.folder, ignore_errors=True)
        venv.create(self.folder, with_pip=False, symlinks=os.name != "nt")
        wheel = str(next((self.stage / "dist").glob("evertoken-*.whl")))
        if self.kind == "pins":
            pins = needed_by([*wanted(self.extra), *self._tools()], applicable(read_pins(PINS.read_text("utf-8"))))
            file = self.folder / "requirements.txt"
            file.write_text("".join(f"{pin.line}\n" for pin in pins), encoding="utf-8")
            self._install("--no-deps", "--require-hashes", "-r", str(file))
            self._install("--no-deps", wheel)
            self._said(sys.executable, "-m", "pip", "check")
        else:  # Here pip looks for what the packages need themselves, and so sees to it that all of it fits.
            self._install(wheel, *(minimum(one) for one in wanted(self.extra)))
        return self._said(self.python, "-I", str(Path(__file__).with_name("check.py")), self.extra)

    def _tools(self) -> Iterator[Requirement]:
        return (Requirement(tool) for tool in TOOLS if self.extra == "all")

    def _install(self, *arguments: str) -> None:
        log = str(self.folder / "install.log")
        self._said(sys.executable, str(Path(__file__).with_name("install.py")), log, *arguments)

    def _said(self, *command: str) -> str:
        # PIP_PYTHON: our pip works on that environment, which so needs none of its own.
        environment = {**os.environ, "PIP_PYTHON": self.python}
        run = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=1_200, check=False
        )
        if run.returncode:
            raise _Failed(f"{self.kind}, {self.extra}: {' '.join(command)}\n{run.stdout}{run.stderr}")
        return run.stdout


def main(stage: str, kind: str, *extras: str) -> int:
    """Try every extra, some at a time, and say what came of each; 1 if one did not hold."""
    trials = [_Trial(Path(stage).resolve(), kind, extra) for extra in extras or EXTRAS]
    failed = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for outcome in [pool.submit(trial.run) for trial in trials]:
            try:
                print(outcome.result(), end="", flush=True)
            except _Failed as error:
                failed += 1
                print(f"FAILED: {error}", file=sys.stderr, flush=True)
    print(f"{kind}: {len(trials) - failed} environments hold, {failed} do not")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
