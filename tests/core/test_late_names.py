"""The names of a package are imported when one of them is asked for."""

from __future__ import annotations

import importlib

import pytest

import evertoken
from tests.kits.fresh import in_a_fresh_interpreter

PACKAGES = ("evertoken", "evertoken.sharing")


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_has_all_that_it_lists_and_nothing_else(name: str) -> None:
    package = importlib.import_module(name)
    assert dir(package) == sorted(package.__all__)
    assert all(hasattr(package, listed) for listed in package.__all__)
    with pytest.raises(AttributeError, match=rf"^module '{name}' has no attribute 'nothing'$"):
        _ = package.nothing
    assert not hasattr(package, "_nothing")


def test_what_is_imported_by_its_own_module_loads_no_other() -> None:
    script = (
        "import sys, {}; print(*(name for name in ('evertoken._machine', 'evertoken._answer') if name in sys.modules))"
    )
    assert in_a_fresh_interpreter(script.format("evertoken.sharing._glance")) == "\n"
    assert in_a_fresh_interpreter(script.format("evertoken") + "; evertoken.TokenMachine") == "\n"
    loaded = in_a_fresh_interpreter("import evertoken; evertoken.Policy; " + script.format("evertoken"))
    assert set(loaded.split()) == {"evertoken._machine", "evertoken._answer"}


def test_a_star_and_a_submodule_come_as_from_any_package() -> None:
    script = "from evertoken import *; from evertoken import mangopay as m; print(TokenMachine.__name__, m is mangopay)"
    assert in_a_fresh_interpreter(script) == "TokenMachine True\n"
    assert evertoken.mangopay.sandbox("shop", "key").client_id == "shop"
