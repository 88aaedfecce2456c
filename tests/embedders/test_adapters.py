"""What holds for every adapter, and what no story tells."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys

import pytest

from tests.hygiene.test_public_names import ADAPTERS, assigned_names, definitions, listed_names
from tests.kits.source_tree import TRANSPORTS, Module, modules

MODULES = [module for module in modules(TRANSPORTS) if module.name.startswith(ADAPTERS)]
NEEDED = {
    "anthropic_sdk": ("anthropic", "anthropic"),
    "azure_core": ("azure.core", "azure-core"),
    "azure_core_aio": ("azure.core", "azure-core"),
    "google_auth": ("google.auth", "google-auth"),
    "grpc_aio_calls": ("grpc", "grpcio"),
    "grpc_calls": ("grpc", "grpcio"),
    "kafka": ("confluent_kafka", "confluent-kafka"),
    "mangopay_sdk": ("mangopay", "mangopay4-python-sdk"),
    "mcp_client": ("mcp", "mcp"),
    "openai_sdk": ("openai", "openai"),
    "pyiceberg_catalog": ("pyiceberg", "pyiceberg"),
}
"""What each module imports, and how it is called where it is installed from."""

WITHOUT = """
import sys
sys.modules[{library!r}] = None
try:
    import {module}
except ImportError as error:
    print(error)
"""


def test_every_adapter_is_listed_here() -> None:
    assert {module.name.removeprefix(ADAPTERS) for module in MODULES} == set(NEEDED)


@pytest.mark.parametrize("module", MODULES, ids=[module.name for module in MODULES])
def test_an_adapter_lists_everything_that_it_defines(module: Module) -> None:
    names, namespace = listed_names(module), importlib.import_module(module.name)
    defined = {*assigned_names(module), *(node.name for node in definitions(module.tree.body))}
    assert {name for name in defined if not name.startswith("_")} == set(names)
    assert all(hasattr(namespace, name) for name in names)


@pytest.mark.parametrize("name", NEEDED)
def test_without_its_library_an_adapter_says_what_to_install(name: str) -> None:
    library, package = NEEDED[name]
    program = WITHOUT.format(library=library, module=f"{ADAPTERS}{name}")
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert f"pip install {package}" in said.replace("'", "")


def statements(module: Module) -> int:
    """Lines that hold code: neither imports nor what is said when one of them fails, docstrings, comments or blanks."""
    kept = [node for node in module.tree.body if not isinstance(node, ast.Import | ast.ImportFrom | ast.Try)]
    tree = ast.Module([node for node in kept if not _is_text(node)], [])
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and _is_text(node.body[0]):
            node.body = node.body[1:] or [ast.Pass()]
    return len(ast.unparse(ast.fix_missing_locations(tree)).replace("\n\n", "\n").splitlines())


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


@pytest.mark.parametrize("module", MODULES, ids=[module.name for module in MODULES])
def test_an_adapter_is_short(module: Module) -> None:
    assert statements(module) <= 40
