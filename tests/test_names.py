"""Every name that a function reads exists: linters cannot tell, shapes in annotations look like names."""

import builtins
import dis
import pkgutil
from collections.abc import Iterator
from importlib import import_module
from types import CodeType, ModuleType

import pytest

import demo
import occface_core

MODULES = sorted(
    found.name
    for package in (occface_core, demo)
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if not found.name.endswith("__main__")
)


def functions(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from functions(constant)


def unknown_names(module: ModuleType, source: str) -> set[str]:
    known = vars(module).keys() | vars(builtins).keys()
    return {
        instruction.argval
        for code in functions(compile(source, module.__name__, "exec"))
        for instruction in dis.get_instructions(code)
        if instruction.opname == "LOAD_GLOBAL" and instruction.argval not in known
    }


@pytest.mark.parametrize("name", MODULES)
def test_functions_read_names_that_exist(name: str) -> None:
    try:
        module = import_module(name)
    except ImportError as error:
        pytest.skip(f"{error.name} is not installed")
    assert module.__file__ is not None
    with open(module.__file__, encoding="utf-8") as stream:
        assert not unknown_names(module, stream.read())


def test_a_missing_import_is_seen() -> None:
    source = "import os\ndef first():\n    def second():\n        return os.sep + missing\n    return second"
    module = ModuleType("made_up")
    exec(source, vars(module))
    assert unknown_names(module, source) == {"missing"}
