"""The pages of the documentation, run as a reader would run them: block by block, in one namespace, top to bottom."""

from __future__ import annotations

import ast
import re
from collections.abc import Coroutine
from inspect import CO_COROUTINE
from types import SimpleNamespace
from typing import Any

from tests.kits.source_tree import ROOT

__all__ = ("blocks", "first_column", "run", "run_cells", "text_of")


def text_of(page: str) -> str:
    """A page of docs/, such as ``howto/flask``, as it stands there."""
    return (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")


def blocks(page: str, language: str = "python") -> list[tuple[int, str]]:
    """Every block of ``page`` in that language, with its number of lines before it."""
    text = text_of(page)
    found = re.finditer(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [(text.count("\n", 0, match.start(1)), match[1]) for match in found]


def run(page: str, **names: object) -> SimpleNamespace:
    """Run the page, and return the names that it has defined. The line numbers of an error are those of the page."""
    namespace: dict[str, Any] = {"__name__": page.replace("/", "_"), **names}
    for line, source in blocks(page):
        exec(compile("\n" * line + source, f"docs/{page}.md", "exec"), namespace)
    return SimpleNamespace(**namespace)


async def run_cells(page: str) -> SimpleNamespace:
    """Run the page as a notebook would, whose cells may await, and return the names that it has defined."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for line, source in blocks(page):
        cell = compile("\n" * line + source, f"docs/{page}.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        made: Coroutine[Any, Any, None] | None = eval(cell, namespace)
        if cell.co_flags & CO_COROUTINE and made is not None:
            await made
    return SimpleNamespace(**namespace)


def first_column(page: str, heading: str | None = None) -> list[str]:
    """What stands as code in the first column of the page's tables, in all or below one heading."""
    text = text_of(page)
    if heading is not None:
        (text,) = re.findall(rf"(?ms)^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text)
    return re.findall(r"(?m)^\| `([\w.]+)` \|", text)
