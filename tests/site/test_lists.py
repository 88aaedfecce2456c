"""What a page lists is what there is: nothing is missing, nothing is invented."""

from __future__ import annotations

import dataclasses
import importlib
import re

import pytest

from evertoken import Policy, ProblemKind
from evertoken_transports.tools._commands import _COMMANDS
from tests.kits.pages import first_column, text_of
from tests.kits.source_tree import CORE, ROOT, TRANSPORTS, modules


def public_exceptions() -> set[str]:
    """Every exception that a public module lists."""
    found: set[str] = set()
    for module in modules(CORE, TRANSPORTS):
        if module.is_public and not {"adapters", "tools"} & set(module.name.split(".")):
            namespace = importlib.import_module(module.name)
            things = {name: getattr(namespace, name) for name in namespace.__all__}
            found |= {name for name, it in things.items() if isinstance(it, type) and issubclass(it, BaseException)}
    return found


def test_the_page_of_errors_has_every_public_exception_and_no_other() -> None:
    text = text_of("errors")
    builtin = {"ValueError", "TypeError", "ImportError", "AttributeError", "AssertionError"}
    named = {name for name in re.findall(r"`([A-Z]\w+)`", text) if name[1:] != name[1:].upper()}
    kinds_apart = {name for name in named if name not in builtin and name != "StoreReported"}
    assert kinds_apart == public_exceptions()


def test_the_page_of_errors_has_every_kind_of_problem_and_no_other() -> None:
    assert first_column("errors", "Why there is no token") == [kind.name for kind in ProblemKind]


def test_the_page_of_the_policy_has_every_field_with_its_default_and_no_other() -> None:
    shown = re.findall(r"(?m)^\| `(\w+)` \| ([\d.]+) \|", text_of("policy"))
    assert sorted(shown) == sorted((field.name, str(field.default)) for field in dataclasses.fields(Policy))


def test_the_page_of_the_command_has_every_subcommand_and_no_other() -> None:
    assert first_column("command") == list(_COMMANDS)


def test_the_readme_shows_rows_of_the_table_of_embedders_as_they_stand() -> None:
    (section,) = re.findall(
        r"(?ms)^## In other people's libraries\n(.*?)^## ", (ROOT / "README.md").read_text(encoding="utf-8")
    )
    rows = [line for line in section.splitlines() if line.startswith("|")]
    assert rows
    assert set(rows) <= set(text_of("embedders_table").splitlines())


@pytest.mark.parametrize("page", sorted(path.name for path in ROOT.glob("*.md")))
def test_every_link_of_the_pages_beside_the_site_leads_somewhere(page: str) -> None:
    """Within the site Sphinx follows them, headings included."""
    links = re.findall(r"\]\(([^)\s]+)\)", (ROOT / page).read_text(encoding="utf-8"))
    here = [link.partition("#")[0] for link in links if "://" not in link]
    assert not [link for link in here if not (ROOT / link).exists()]
