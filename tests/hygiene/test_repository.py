"""What lies in the repository runs anywhere: no registry's host, no path of one machine, one version."""

from __future__ import annotations

import ast
import re
import tomllib
from importlib.metadata import version

import pytest
from packaging.requirements import Requirement

from tests.kits.source_tree import CORE, ROOT, TRANSPORTS, modules, own_files

# Put together here, so that this file does not hold what it looks for.
REGISTRY_HOSTS = ("pypi" + ".org", "python" + "hosted", "registry." + "npmjs", "deb." + "debian.org")
MACHINE_PATHS = ("/" + "work/", "/" + "farm/", "/" + "root/", ".pyenv/" + "versions", "/tmp/" + "venv")

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def holders(*needles: str) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}: {needle}"
        for path in own_files()
        for needle in needles
        if needle.encode() in path.read_bytes().lower()
    ]


def test_the_repository_is_seen() -> None:
    names = {str(path.relative_to(ROOT)) for path in own_files()}
    assert {"Makefile", "pyproject.toml", ".ci/run", "core/evertoken/__init__.py"} <= names


def test_no_file_names_the_host_of_a_package_registry() -> None:
    assert not holders(*REGISTRY_HOSTS)


def test_no_file_names_a_path_of_one_machine() -> None:
    assert not holders(*MACHINE_PATHS)


def test_core_asks_for_nothing_but_typing_extensions() -> None:
    assert [Requirement(text).name for text in PROJECT["project"]["dependencies"]] == ["typing-extensions"]


def test_the_installed_version_is_the_one_in_pyproject() -> None:
    assert version("evertoken") == PROJECT["project"]["version"]


def test_the_version_stands_nowhere_else_in_the_packages() -> None:
    versioned = [
        module.name
        for module in modules(CORE, TRANSPORTS)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Name) and node.id == "__version__"
    ]
    assert not versioned


def test_the_changelog_leads_with_what_is_unreleased_or_with_this_version() -> None:
    headings = re.findall(r"^## \[([^]]+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert headings[0] in {"Unreleased", PROJECT["project"]["version"]}


@pytest.mark.parametrize("package", ["core/evertoken", "transports/evertoken_transports"])
def test_both_packages_tell_type_checkers_that_they_are_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()
