"""The shape of the house: three wings without doors between them, small files, no circles, tools outside."""

import ast
import importlib.util
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
WINGS = ("methods", "datasets", "metrics")
PRODUCT = (*WINGS, "bench")
ROOMS = (*PRODUCT, "tools")
LONGEST = 300
LONGER_FOR_A_REASON = {
    "methods/aaclip.py": "one paper, one file: two adapted towers, two stages of training",
    "methods/adaclip.py": "one paper, one file: two prompted towers and their many learned parts",
    "methods/cops.py": "one paper, one file: a third of it are its options, files and recipe",
    "methods/tipsomaly.py": "one paper, one file, with its sentences",
    "methods/visualad.py": "one paper, one file: two kinds of backbone, and the modules that it learns",
}
"""File -> why it is better long than split."""

Imports = list[tuple[str, bool]]
"""(imported module, whether importing the file imports it too)."""


def files(room: str, root: Path = ROOT) -> list[Path]:
    return sorted((root / room).rglob("*.py"))


def module_of(path: Path, root: Path = ROOT) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, root: Path = ROOT) -> Imports:
    """Return what a file imports when it runs; not what it imports for the type checker alone."""
    found: Imports = []

    def visit(node: ast.AST, at_once: bool) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            return
        if isinstance(node, ast.Import):
            found.extend((alias.name, at_once) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                stem = root / whole.replace(".", "/")
                is_module = stem.with_suffix(".py").exists() or stem.is_dir()
                found.append((whole if is_module else str(node.module), at_once))
        for child in ast.iter_child_nodes(node):
            visit(child, at_once and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))

    visit(ast.parse(path.read_text(encoding="utf-8")), True)
    return found


def doors(wing: str, root: Path = ROOT) -> list[str]:
    """Return the imports by which a wing knows another room."""
    return [
        f"{path.relative_to(root)} imports {name}"
        for path in files(wing, root)
        for name, _ in imports(path, root)
        if name.split(".")[0] in {*ROOMS} - {wing}
    ]


def tools_used(root: Path = ROOT) -> list[str]:
    """Return the imports by which the product needs what only made its files."""
    return [
        f"{path.relative_to(root)} imports {name}"
        for path in [root / "run_bench.py", *(path for room in PRODUCT for path in files(room, root))]
        for name, _ in imports(path, root)
        if name.split(".")[0] == "tools"
    ]


def circle(root: Path = ROOT) -> list[str]:
    """Return modules that import each other in a circle, also where functions do; empty if there is none."""
    known = {module_of(path, root): path for room in ROOMS for path in files(room, root)}
    graph = {
        module: {name for name, _ in imports(path, root) if name in known and name != module}
        for module, path in known.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


@pytest.mark.parametrize("wing", WINGS)
def test_a_wing_knows_no_other_room(wing: str) -> None:
    assert doors(wing) == []


def test_the_product_knows_no_tool() -> None:
    assert tools_used() == []


def test_no_modules_import_each_other() -> None:
    assert circle() == []


def test_every_file_fits_on_a_few_screens() -> None:
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for room in ROOMS
        for path in files(room)
    }
    too_long = {name: length for name, length in lengths.items() if length > LONGEST}
    assert too_long.keys() == LONGER_FOR_A_REASON.keys(), too_long


def test_datasets_need_no_torch() -> None:
    heavy = {"torch", "torchvision", "open_clip"}
    assert [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files("datasets")
        for name, _ in imports(path)
        if name.split(".")[0] in heavy
    ] == []


def test_metrics_need_numpy_and_scipy_only() -> None:
    allowed = {"metrics", "numpy", "scipy", *sys.stdlib_module_names}
    assert [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files("metrics")
        for name, at_once in imports(path)
        if at_once and name.split(".")[0] not in allowed
    ] == []


@pytest.mark.parametrize("room", ROOMS)
def test_the_rooms_are_those_of_this_checkout(room: str) -> None:
    # Hugging Face's package is called `datasets` too.
    found = importlib.util.find_spec(room)
    assert found is not None and found.origin is not None
    assert Path(found.origin) == ROOT / room / "__init__.py"


def test_these_tests_see_doors_and_circles(tmp_path: Path) -> None:
    for room in ROOMS:
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").touch()
    one, two = tmp_path / "methods/one.py", tmp_path / "methods/two.py"
    one.write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import bench\nfrom methods import two\n"
    )
    two.write_text("import os\n")
    (tmp_path / "run_bench.py").touch()
    assert doors("methods", tmp_path) == circle(tmp_path) == tools_used(tmp_path) == []
    two.write_text("def later():\n    from metrics.image import auroc\n    import methods.one\n")
    assert doors("methods", tmp_path) == ["methods/two.py imports metrics.image"]
    assert set(circle(tmp_path)) == {"methods.one", "methods.two"}
    assert ("methods.one", False) in imports(two, tmp_path)
    (tmp_path / "tools/three.py").touch()
    (tmp_path / "bench/four.py").write_text("def later():\n    from tools import three\n")
    (tmp_path / "run_bench.py").write_text("import tools\n")
    assert tools_used(tmp_path) == [
        "run_bench.py imports tools",
        "bench/four.py imports tools.three",
    ]
