"""What is public is listed, is there, and is explained."""

from __future__ import annotations

import ast
import enum
import importlib
import re
from collections.abc import Iterator

from tests.kits.source_tree import CORE, TRANSPORTS, Module, modules

ADAPTERS = "evertoken_transports.adapters."
MODULES = [module for module in modules(CORE, TRANSPORTS) if not module.name.startswith(ADAPTERS)]
"""Those whose libraries are here. The adapters for SDKs are looked at where those are (tests/embedders)."""

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.ClassDef

# Decorators whose function takes its docstring from another one.
DOCUMENTED_ELSEWHERE = {"overload", "override", "setter"}


def listed_names(module: Module) -> tuple[str, ...]:
    names: object = importlib.import_module(module.name).__all__
    assert isinstance(names, tuple), f"{module.name}.__all__ is not a tuple"
    return names


def definitions(body: list[ast.stmt]) -> Iterator[Definition]:
    for node in body:
        if isinstance(node, Definition) and not node.name.startswith("_"):
            yield node


def assigned_names(module: Module) -> Iterator[str]:
    for node in module.tree.body:
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        yield from (name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name))


def decorators(node: Definition) -> set[str]:
    names = (ast.unparse(decorator).partition("(")[0] for decorator in node.decorator_list)
    return {name.rpartition(".")[2] for name in names}


def undocumented(body: list[ast.stmt], prefix: str = "") -> Iterator[str]:
    for node in definitions(body):
        if decorators(node) & DOCUMENTED_ELSEWHERE:
            continue
        if not ast.get_docstring(node):
            yield prefix + node.name
        if isinstance(node, ast.ClassDef):
            yield from undocumented(node.body, f"{node.name}.")


def is_record(kind: type) -> bool:
    """Whether a class is a list of values with names: its signature shows them, and the class says what they are."""
    decorated = any("dataclass" in decorators(definition) for definition in definitions_of(kind))
    return decorated or hasattr(kind, "_fields") or issubclass(kind, enum.Enum)


def held_classes() -> Iterator[type]:
    """The public classes of which somebody holds an instance that does something."""
    for module in MODULES:
        if module.is_public:
            for thing in (getattr(importlib.import_module(module.name), name) for name in listed_names(module)):
                if isinstance(thing, type) and thing.__module__.startswith("evertoken") and not is_record(thing):
                    yield thing


def attributes(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, bool]]:
    """Each public attribute that is assigned in ``body``, and whether a docstring follows."""
    for node, following in zip(body, [*body[1:], None], strict=True):
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        is_told = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
        for target in map(ast.unparse, targets):
            name = target.removeprefix(prefix)
            if target.startswith(prefix) and name.isidentifier() and not name.startswith("_"):
                yield name, is_told


def definitions_of(kind: type) -> Iterator[ast.ClassDef]:
    """Where ``kind`` and what it is made of are defined. Some say that they are from where they are imported from."""
    for base in kind.__mro__:
        for module in MODULES:
            if module.name.startswith(base.__module__):
                for node in module.tree.body:
                    if isinstance(node, ast.ClassDef) and node.name == base.__name__:
                        yield node


def unexplained(kind: type) -> list[str]:
    """The attributes of ``kind`` that neither have a docstring nor are named in that of the class."""
    found: list[tuple[str, bool]] = []
    for definition in definitions_of(kind):
        found += attributes(definition.body, "")
        for node in definition.body:
            if isinstance(node, ast.FunctionDef) and node.name == "__init__":
                found += attributes(node.body, "self.")
    explained = {name for name, is_told in found if is_told}
    words = set(re.findall(r"\w+", " ".join(base.__doc__ or "" for base in kind.__mro__ if base is not object)))
    return sorted({name for name, _ in found} - explained - words)


# Ruff holds their order (RUF022). What a private module offers to others is told by who imports it.
def test_a_public_module_lists_everything_that_it_defines_once_each() -> None:
    for module in MODULES:
        if module.is_public:
            names, namespace = listed_names(module), importlib.import_module(module.name)
            assert len(names) == len(set(names)), module.name
            assert not [name for name in names if not hasattr(namespace, name)], module.name
            defined = {*assigned_names(module), *(node.name for node in definitions(module.tree.body))}
            assert {name for name in defined if not name.startswith("_")} <= set(names), module.name


def test_every_module_and_every_public_name_in_it_has_a_docstring() -> None:
    everything = modules(CORE, TRANSPORTS)
    assert not [module.name for module in everything if not ast.get_docstring(module.tree)]
    assert not [(module.name, name) for module in everything for name in undocumented(module.tree.body)]


def test_every_public_attribute_of_what_people_hold_is_explained() -> None:
    held = list(held_classes())
    assert len(held) > 30
    assert not {kind.__qualname__: names for kind in held if (names := unexplained(kind))}


def test_the_package_lists_only_names_that_are_explained_where_they_come_from() -> None:
    package = importlib.import_module("evertoken")
    things = [getattr(package, name) for name in package.__all__]
    nameless = [thing for thing in things if callable(thing) and not (thing.__doc__ or "").strip()]
    assert not nameless


def test_a_traceback_names_an_error_as_it_is_imported() -> None:
    public = {module.name for module in MODULES if module.is_public}
    for name in sorted(public):
        module = importlib.import_module(name)
        for error in (getattr(module, listed) for listed in module.__all__):
            if isinstance(error, type) and issubclass(error, BaseException):
                assert error.__module__ in public, error
                assert getattr(importlib.import_module(error.__module__), error.__name__) is error
