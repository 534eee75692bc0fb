"""Mutation testing: change the product one small step at a time and see whether the tests notice.

    python tests/mutate.py metrics/keys.py metrics/image.py:40 --tests tests/metrics

makes every mutant of the named files (or of one line) in a temporary copy of the checkout: comparisons
flipped, constants moved by one, `and`/`or` and arithmetic exchanged, `not` dropped, conditions negated,
keyword arguments, dictionary entries and list elements removed, results replaced by None, statements
deleted. Each mutant is tried on those of the tests that ran its line, the quickest first (a line that only a
cache or a shared fixture runs is ascribed to the first test that needed it); the report says how many were
made and killed, and names each survivor by file and line. A survivor is a missing test, or a change that no
input can show: say which in the commit. Without `--tests` the tests beside the code are taken (`SUITES`). The
heavy libraries are imported once and every mutant runs in a fork, so a mutant costs about a second; one runs
at a time. POSIX only.
"""

from __future__ import annotations

import argparse
import ast
import copy
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SUITES = {
    "metrics/": ["tests/metrics", "tests/parity/test_metrics.py"],
    "methods/base.py": ["tests/methods/test_base.py"],
    "methods/learning.py": ["tests/methods/test_learning.py", "tests/methods/test_recipes.py"],
    "methods/maps.py": ["tests/methods/test_maps.py"],
    "methods/prompts.py": ["tests/methods/test_prompts.py"],
    "methods/states.py": ["tests/methods/test_states.py"],
    "methods/fill.py": ["tests/methods/test_fill.py"],
    "methods/weights/": ["tests/methods/test_weights.py"],
    "methods/": ["tests/methods", "tests/parity"],
    "bench/show/": ["tests/show"],
    "bench/store/marks.py": ["tests/show/test_exactness.py", "tests/show/test_cells.py"],
    "bench/store/": ["tests/bench/test_cells.py", "tests/bench/test_store.py"],
    "bench/": ["tests/bench"],
    "datasets/": ["tests/datasets"],
}
_HEAVY = "pytest hypothesis scipy.ndimage sklearn.metrics skimage.measure PIL.Image torchvision open_clip"
_UNUSED = "cacheprovider xdist anyio unraisableexception threadexception"

_COMPARE: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
}


@dataclass(frozen=True)
class Mutant:
    """One changed file."""

    file: str
    line: int
    what: str
    source: str


def _alternatives(  # noqa: PLR0912 (one case an operator)
    node: ast.AST,
) -> Iterator[tuple[str, Callable[[Any], ast.AST]]]:
    """Yield (what changes, how a copy of the node becomes its replacement)."""
    match node:
        case ast.Compare():
            for index, operator in enumerate(node.ops):
                for other in _COMPARE[type(operator)]:

                    def flip(new: ast.Compare, index: int = index, other: type[ast.cmpop] = other) -> ast.AST:
                        new.ops[index] = other()
                        return new

                    yield f"{type(operator).__name__} -> {other.__name__}", flip
        case ast.Constant(value=bool()):
            yield f"{node.value} -> {not node.value}", lambda new: ast.Constant(not new.value)
        case ast.Constant(value=int() | float()):
            yield f"{node.value} + 1", lambda new: ast.Constant(new.value + 1)
            yield f"{node.value} - 1", lambda new: ast.Constant(new.value - 1)
        case ast.BoolOp():
            other = ast.Or if isinstance(node.op, ast.And) else ast.And
            yield f"{type(node.op).__name__} -> {other.__name__}", lambda new: ast.BoolOp(other(), new.values)
            for index in range(len(node.values)):

                def without(new: ast.BoolOp, index: int = index) -> ast.AST:
                    del new.values[index]
                    return new if len(new.values) > 1 else new.values[0]

                yield f"condition {index + 1} dropped", without
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert()):
            yield f"{type(node.op).__name__} dropped", lambda new: new.operand
        case ast.BinOp() | ast.AugAssign() if type(node.op) in _ARITHMETIC:

            def exchange(new: ast.BinOp) -> ast.AST:
                new.op = _ARITHMETIC[type(new.op)]()
                return new

            yield f"{type(node.op).__name__} exchanged", exchange
        case ast.Call():
            for index, keyword in enumerate(node.keywords):

                def omit(new: ast.Call, index: int = index) -> ast.AST:
                    del new.keywords[index]
                    return new

                yield f"argument {keyword.arg or '**'} removed", omit
        case ast.Dict():
            for index, key in enumerate(node.keys):

                def remove(new: ast.Dict, index: int = index) -> ast.AST:
                    del new.keys[index], new.values[index]
                    return new

                yield f"entry {ast.unparse(key) if key else '**'} removed", remove
        case ast.List(ctx=ast.Load()):
            for index in range(len(node.elts)):

                def shorten(new: ast.List, index: int = index) -> ast.AST:
                    del new.elts[index]
                    return new

                yield f"element {index} removed", shorten
    yield from _of_statements(node)


def _of_statements(node: ast.AST) -> Iterator[tuple[str, Callable[[Any], ast.AST]]]:
    match node:
        case ast.If() | ast.While() | ast.IfExp() if not isinstance(node.test, ast.Compare | ast.UnaryOp):

            def negate(new: ast.If) -> ast.AST:
                new.test = ast.UnaryOp(ast.Not(), new.test)
                return new

            yield "condition negated", negate
        case ast.Return(value=ast.expr()) if not _is_none(node.value):
            yield "returns None", lambda new: ast.Return(ast.Constant(None))
        case ast.Expr() if not isinstance(node.value, ast.Constant):
            yield "statement deleted", lambda new: ast.Pass()
        case ast.AugAssign() | ast.Raise() | ast.Continue() | ast.Break() | ast.Delete():
            yield "statement deleted", lambda new: ast.Pass()
        case ast.Assign() if not any(isinstance(target, ast.Name) for target in node.targets):
            yield "statement deleted", lambda new: ast.Pass()


def _is_none(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.Assert) or (
        isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    )


def _children(node: ast.AST) -> Iterator[tuple[ast.AST, str, int | None]]:
    """Yield (child, field, place in the field's list); annotations and messages are left alone."""
    if _for_types(node):
        return
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "bases") or isinstance(node, ast.Raise):
            continue
        if isinstance(value, ast.AST):
            yield value, name, None
        elif isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, ast.AST):
                    yield item, name, index


def mutants(path: str, source: str, line: int | None = None) -> Iterator[Mutant]:
    """Yield all mutants of a file, or of one line of it."""
    tree = ast.parse(source)

    def walk(node: ast.AST, steps: tuple[tuple[str, int | None], ...]) -> Iterator[Mutant]:
        at = getattr(node, "lineno", None)
        if at is not None and line in (None, at) and not _for_types(node):
            for what, change in _alternatives(node):
                new = copy.deepcopy(tree)
                above: Any = new
                for name, index in steps[:-1]:
                    above = getattr(above, name) if index is None else getattr(above, name)[index]
                name, index = steps[-1]
                place = getattr(above, name)
                if index is None:
                    setattr(above, name, change(place))
                else:
                    place[index] = change(place[index])
                yield Mutant(path, at, what, ast.unparse(ast.fix_missing_locations(new)))
        for child, name, index in _children(node):
            yield from walk(child, (*steps, (name, index)))

    yield from walk(tree, ())


class _Coverage:
    """A pytest plugin: which lines of one file each test runs. Lines run while importing belong to none."""

    def __init__(self, file: Path) -> None:
        self.file, self.current = str(file), ""
        self.lines: dict[int, set[str]] = {}
        self.seconds: dict[str, float] = {}

    def _local(self, frame: FrameType, event: str, arg: Any) -> Any:
        self.lines.setdefault(frame.f_lineno, set()).add(self.current)
        return self._local

    def _trace(self, frame: FrameType, event: str, arg: Any) -> Any:
        return self._local(frame, event, arg) if frame.f_code.co_filename == self.file else None

    def start(self) -> None:
        """Begin, before anything of the product is imported."""
        sys.settrace(self._trace)
        threading.settrace(self._trace)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.current = nodeid

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration

    def pytest_sessionfinish(self) -> None:
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]


def _pytest(tree: Path, arguments: list[str], limit: float, plugin: _Coverage | None = None) -> int | None:
    """Run pytest in a fork, in `tree`; returns its exit code, None past the limit of seconds."""
    child = os.fork()
    if child == 0:
        os.setsid()
        os.chdir(tree)
        sys.path[:] = [str(tree), *(entry for entry in sys.path if Path(entry or ".").resolve() != ROOT)]
        sys.dont_write_bytecode = plugin is None
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        code = 99
        with suppress(BaseException):
            import hypothesis  # noqa: PLC0415 (the fork's own)
            import pytest  # noqa: PLC0415

            phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]  # no search for a smaller example
            hypothesis.settings.register_profile("mutants", phases=phases, database=None, derandomize=True)
            hypothesis.settings.load_profile("mutants")

            if plugin:
                plugin.start()
            options = ["-x", "-q", *(word for name in _UNUSED.split() for word in ("-p", f"no:{name}"))]
            code = int(pytest.main([*options, *arguments], plugins=[plugin] if plugin else None))
            if plugin:
                lines = {number: sorted(tests) for number, tests in plugin.lines.items()}
                (tree / ".coverage.json").write_text(json.dumps([lines, plugin.seconds]))
        os._exit(code)
    end = time.monotonic() + limit
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            with suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)  # what the tests left running
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _copy(to: Path) -> None:
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "-co", "--exclude-standard"],
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)


def _try_file(
    tree: Path, file: str, line: int | None, every: int, tests: list[str]
) -> list[tuple[Mutant, str]]:
    """Try all mutants of one file; returns each with `killed`, `survived` or `not run`."""
    place = tree / file
    original = place.read_text(encoding="utf-8")
    if _pytest(tree, tests, 3600, _Coverage(place)) != 0:
        raise SystemExit(f"{file}: its tests fail without any mutation: {' '.join(tests)}")
    known, seconds = json.loads((tree / ".coverage.json").read_text())
    lines = {int(number): tests for number, tests in known.items()}
    limit = 10 + 5 * sum(seconds.values())
    spans = _spans(original)
    found = []
    for mutant in islice(mutants(file, original, line), 0, None, every):
        ran = {test for number in spans[mutant.line] for test in lines.get(number, ())}
        if not ran:
            found.append((mutant, "not run"))
        else:
            first = sorted(seconds if "" in ran else ran, key=lambda test: seconds.get(test, 0.0))
            place.unlink()
            place.write_text(mutant.source, encoding="utf-8")
            for compiled in place.parent.glob(f"__pycache__/{place.stem}.*"):
                compiled.unlink()
            found.append((mutant, "survived" if _pytest(tree, first, limit) == 0 else "killed"))
        if found[-1][1] != "killed":
            code = original.splitlines()[mutant.line - 1].strip()
            print(f"{found[-1][1]}: {file}:{mutant.line}: {mutant.what}: {code}", flush=True)
    place.write_text(original, encoding="utf-8")
    return found


def _spans(source: str) -> dict[int, set[int]]:
    """Return for each line those of the innermost statement around it: tracing knows only some of them."""
    spans: dict[int, set[int]] = {}
    for node in ast.walk(ast.parse(source)):  # breadth first: inner statements come later
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None)
            last = body[0].lineno - 1 if body else node.end_lineno or node.lineno
            for number in range(node.lineno, max(last, node.lineno) + 1):
                spans[number] = set(range(node.lineno, max(last, node.lineno) + 1))
    return spans


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("files", nargs="+", help="files, folders or FILE:LINE, from the checkout's root")
    parser.add_argument("--tests", nargs="+", help="tests to try every mutant on; default: those beside it")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="try each N-th mutant only")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    for module in _HEAVY.split():
        __import__(module)
    gc.freeze()  # what the libraries made is not looked through again in every fork
    total: dict[str, int] = {"killed": 0, "survived": 0, "not run": 0}
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree = Path(folder).resolve()
        _copy(tree)
        for word in arguments.files:
            name, _, line = word.partition(":")
            inside = sorted((ROOT / name).rglob("*.py")) if (ROOT / name).is_dir() else [ROOT / name]
            for path in inside:
                file = path.relative_to(ROOT).as_posix()
                suite = next((tests for start, tests in SUITES.items() if file.startswith(start)), ["tests"])
                at, suite = int(line) if line else None, arguments.tests or suite
                found = _try_file(tree, file, at, arguments.every, suite)
                count = {kind: sum(how == kind for _, how in found) for kind in total}
                total = {kind: total[kind] + count[kind] for kind in total}
                _tell(file, count)
    _tell("all", total)


def _tell(what: str, count: dict[str, int]) -> None:
    told = ", ".join(f"{number} {kind}" for kind, number in count.items())
    print(f"{what}: {sum(count.values())} made, {told}", flush=True)


if __name__ == "__main__":
    main()
