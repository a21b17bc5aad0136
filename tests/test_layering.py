"""The import order of DESIGN section 1: every part imports only parts listed before it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = "occface_core"
ORDER = (
    "errors",
    "assets",
    "geometry",
    "morphable",
    "rendering",
    "occlusion",
    "data",
    "networks",
    "losses",
    "distillation",
    "evaluation",
    "pipeline",
    "cli",
    "__main__",
)
OUTSIDE = ("demo", "research", "tests", "app")


def imports(path: Path, module: str) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of everything a file imports, at any depth of its code."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield node.lineno, name.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")[: -node.level]
                base = ".".join([*parents, base] if base else parents)
            for name in node.names:
                yield node.lineno, f"{base}.{name.name}"


def part(dotted: str) -> str | None:
    """The part of the package that a dotted name belongs to; None for other packages, `__version__`."""
    names = dotted.split(".")
    if names[0] != PACKAGE or len(names) < 2 or names[1] == "__version__":
        return None
    return names[1]


def package_files() -> list[Path]:
    return sorted((REPOSITORY / PACKAGE).rglob("*.py"))


def dotted_name(path: Path) -> str:
    relative = path.relative_to(REPOSITORY).with_suffix("")
    return ".".join(relative.parts)


def violations(path: Path) -> list[str]:
    module = dotted_name(path)
    own = module.split(".")[1]
    if own == "__init__":  # the package's public names may come from every part
        return []
    found = []
    for line, name in imports(path, module):
        where = f"{path.relative_to(REPOSITORY)}:{line}"
        if name.split(".")[0] in OUTSIDE:
            found.append(f"{where} imports {name}: the package knows nothing of its users")
        target = part(name)
        if target is None:
            continue
        if target not in ORDER:
            found.append(f"{where} imports {name}, which has no place in the order")
        elif ORDER.index(target) > ORDER.index(own):
            found.append(f"{where} imports {name}: {target} comes after {own}")
    return found


def test_every_part_has_a_place() -> None:
    parts = {dotted_name(path).split(".")[1] for path in package_files()} - {"__init__"}
    assert parts <= set(ORDER), f"no place in the order for {sorted(parts - set(ORDER))}"


def test_imports_point_upward_only() -> None:
    found = [problem for path in package_files() for problem in violations(path)]
    assert not found, "\n".join(found)


def outsiders() -> list[Path]:
    folders = [REPOSITORY / "demo", REPOSITORY / "research"]
    return [REPOSITORY / "app.py", *sorted(p for folder in folders for p in folder.rglob("*.py"))]


@pytest.mark.parametrize("path", outsiders(), ids=lambda p: p.relative_to(REPOSITORY).as_posix())
def test_users_import_the_package_only(path: Path) -> None:
    module = dotted_name(path)
    own = module.split(".")[0]
    allowed = {"app": {"app", "demo"}, "demo": {"demo"}, "research": {"research"}}[own]
    reached = {name.split(".")[0] for _, name in imports(path, module)} & set(OUTSIDE)
    assert reached <= allowed, f"{module} imports {sorted(reached - allowed)}"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from occface_core.cli import main", "cli comes after data"),
        ("def f():\n    import occface_core.pipeline.crop", "pipeline comes after data"),
        ("from ..evaluation import metrics", "evaluation comes after data"),
        ("import demo.figures", "knows nothing of its users"),
        ("from occface_core.novelty import x", "no place in the order"),
    ],
)
def test_the_check_sees_violations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, expected: str
) -> None:
    path = tmp_path / PACKAGE / "data" / "bad.py"
    path.parent.mkdir(parents=True)
    path.write_text(source)
    monkeypatch.setattr(f"{__name__}.REPOSITORY", tmp_path)
    (problem,) = violations(path)
    assert expected in problem
