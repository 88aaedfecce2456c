"""Core touches nothing: no clock, no entropy, no socket, no lock, no log, no environment."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typing_extensions

from tests.kits.source_tree import CORE, Module, modules

# A list of what is allowed, so that a module nobody thought of is refused. Each is pure: it computes.
ALLOWED = {
    "__future__",
    "abc",
    "base64",
    "binascii",
    "bisect",
    "collections",
    "collections.abc",
    "contextlib",
    "copy",
    "dataclasses",
    "enum",
    "functools",
    "hashlib",
    "heapq",
    "hmac",
    "html",
    "itertools",
    "json",
    "math",
    "operator",
    "re",
    "string",
    "struct",
    "textwrap",
    "types",
    "typing",
    "typing_extensions",
    "unicodedata",
    "urllib.parse",
    "zlib",
}

# Builtins that reach outside the program, or around the import statements that this test reads.
FORBIDDEN_CALLS = {"__import__", "breakpoint", "compile", "eval", "exec", "input", "open", "print"}

# What `import evertoken` must not load. Many programs never need these, and some of them take a tenth of a second.
HEAVY = {
    *("asyncio", "datetime", "email", "http", "logging", "multiprocessing", "queue", "random", "secrets"),
    *("select", "selectors", "signal", "socket", "ssl", "subprocess", "tempfile", "threading", "uuid"),
}

# Hands `python -m evertoken` over to the command, if that is there. Nobody imports it.
COMMAND = "evertoken.__main__"
OF_THE_COMMAND = {"sys", "evertoken_transports.tools.cli"}

CORE_MODULES = modules(CORE)

# Run with -I -S: neither the environment nor site-packages decides what is loaded.
FRESH_IMPORT = """
import sys
before = set(sys.modules)
sys.path.insert(0, {core!r})
sys.path.append({typing_extensions!r})
import evertoken
if {everything!r}:
    import importlib, pkgutil
    for found in pkgutil.walk_packages(evertoken.__path__, "evertoken."):
        importlib.import_module(found.name)
print(*sorted(set(sys.modules) - before))
"""


def imported_names(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module.path.name}:{node.lineno}: a relative import"
            assert node.module is not None
            yield node.module


def is_ours(name: str) -> bool:
    return name == "evertoken" or name.startswith("evertoken.")


def loaded_by_a_fresh_import(*, everything: bool) -> set[str]:
    script = FRESH_IMPORT.format(
        core=str(CORE), typing_extensions=str(Path(typing_extensions.__file__).parent), everything=everything
    )
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
    return set(run.stdout.split())


def test_core_is_there() -> None:
    assert "evertoken" in {module.name for module in CORE_MODULES}


def test_core_imports_only_what_computes() -> None:
    strangers = {
        module.name: {name for name in imported_names(module) if not is_ours(name)} - ALLOWED for module in CORE_MODULES
    }
    assert {name: names for name, names in strangers.items() if names} == {COMMAND: OF_THE_COMMAND}


def test_core_calls_no_builtin_that_reaches_outside() -> None:
    called = {
        (module.name, node.func.id)
        for module in CORE_MODULES
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert ("evertoken._scrub", "len") in called
    assert not {(module, name) for module, name in called if name in FORBIDDEN_CALLS}


def test_the_machine_does_not_lean_on_its_test_kit_and_nothing_on_the_command() -> None:
    leaning = {
        (module.name, name)
        for module in CORE_MODULES
        for name in imported_names(module)
        if name.startswith((COMMAND, "evertoken.testing")) and not module.name.startswith("evertoken.testing")
    }
    assert not leaning


@pytest.mark.parametrize("everything", [False, True], ids=["import evertoken", "every module of core"])
def test_importing_core_loads_nothing_heavy_and_no_third_party(everything: bool) -> None:
    loaded = loaded_by_a_fresh_import(everything=everything)
    assert "evertoken" in loaded
    assert not loaded & HEAVY
    strangers = {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names
    assert strangers <= {"evertoken", "typing_extensions"}


def test_core_imports_with_transports_absent() -> None:
    loaded = loaded_by_a_fresh_import(everything=True)
    assert {module.name for module in CORE_MODULES} <= loaded
    assert not {name for name in loaded if name.startswith("evertoken_transports")}
