"""The files of this repository as data: what the hygiene tests look at."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

__all__ = ("CORE", "ROOT", "TRANSPORTS", "Module", "examples", "modules", "own_files")

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "core"
TRANSPORTS = ROOT / "transports"

# Made by make or by a tool, never committed.
_MADE = {"__pycache__", "build", "dist", "htmlcov", "mutants", "node_modules"}
_COMMITTED_DOTS = {".ci", ".editorconfig", ".gitignore"}


class Module(NamedTuple):
    """One module of the two packages."""

    name: str
    path: Path

    @property
    def tree(self) -> ast.Module:
        """The module's syntax tree."""
        return _parsed(self.path)

    @property
    def is_public(self) -> bool:
        """Whether no part of the module's name is private."""
        return not any(part.startswith("_") for part in self.name.split("."))


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def modules(*roots: Path) -> list[Module]:
    """Every module below ``roots``, by name."""
    return [Module(_name(path.relative_to(root)), path) for root in roots for path in sorted(root.rglob("*.py"))]


def _name(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def own_files(folder: Path = ROOT) -> Iterator[Path]:
    """Every file of the repository that is, or could be, committed."""
    for path in sorted(folder.iterdir()):
        if path.name in _MADE or (path.name.startswith(".") and path.name not in _COMMITTED_DOTS):
            continue
        if path.is_dir():
            yield from own_files(path)
        else:
            yield path


def examples(page: str) -> str:
    """Every example of ``page``, in one file."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return "\n".join(re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
