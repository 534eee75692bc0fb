"""Golden files: which there are, and the report of how far the suite is from each quantity.

A test that takes an argument `<folder>_case` runs once per golden file in `--golden-dir`/<folder>, one with
`answering_case` once per file with image scores, one with `dino_case` once per such file on DINO.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.run.precision import GOLDENS, GoldenDrift, write
from benchmarks.precision import golden_table, write_page

TRUE_WIDTH = 768  # of the published networks' towers; the others' files describe small ones
FOLDERS = sorted(path.stem.removeprefix("test_") for path in Path(__file__).parent.glob("test_*.py"))


@dataclass
class Golden:
    """One golden file: `about` is its .json, `arrays` its .npz."""

    path: Path
    about: dict[str, Any]

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        with np.load(self.path.with_suffix(".npz"), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}

    @property
    def width(self) -> int:
        """The width of the widest tower in the description; 0 if it names none."""
        return _widest(self.about)

    @property
    def answers(self) -> bool:
        """Whether it holds image scores of pictures, so that it describes a whole method."""
        with np.load(self.path.with_suffix(".npz"), allow_pickle=False) as archive:
            names = archive.files
        scores = any("image_scores" in name or name.startswith("scores_") for name in names)
        return scores and not {"images_u8", "image_0"}.isdisjoint(names)

    def tensor(self, name: str) -> torch.Tensor:
        return torch.from_numpy(self.arrays[name])


@dataclass
class Worst:
    deviation: float
    tolerance: float
    where: str
    checked: int = 1


@dataclass
class Deviations:
    """Collects the largest absolute deviation of every quantity, over all golden files of a folder."""

    worst: dict[tuple[str, str], Worst] = field(default_factory=dict)

    def check(self, golden: Golden, quantity: str, got: Any, want: Any, tolerance: float) -> None:
        """Record max |got - want| under `quantity` and fail beyond `tolerance` (absolute)."""
        got = np.asarray(got.detach().cpu() if isinstance(got, torch.Tensor) else got, dtype=np.float64)
        want = np.asarray(want.detach().cpu() if isinstance(want, torch.Tensor) else want, dtype=np.float64)
        assert got.shape == want.shape, (
            f"{golden.path.name}: {quantity} has shape {got.shape}, not {want.shape}"
        )
        assert np.isfinite(got).all(), f"{golden.path.name}: {quantity} is not finite"
        deviation = float(np.abs(got - want).max()) if got.size else 0.0
        key = (golden.path.parent.name, quantity)
        seen = self.worst.get(key)
        if seen is None:
            self.worst[key] = Worst(deviation, tolerance, golden.path.stem)
        else:
            seen.checked += 1
            if deviation / max(tolerance, 1e-300) > seen.deviation / max(seen.tolerance, 1e-300):
                seen.deviation, seen.tolerance, seen.where = deviation, tolerance, golden.path.stem
        assert deviation <= tolerance, (
            f"{golden.path.name}: {quantity} is off by {deviation:.3g} > {tolerance:.3g}"
        )


_DEVIATIONS = Deviations()
_DRIFTS: list[GoldenDrift] = []


@pytest.fixture
def drifts() -> list[GoldenDrift]:
    """Return what collects how far lower precision moves the answers of golden files' networks."""
    return _DRIFTS


@pytest.fixture
def deviations() -> Iterator[Deviations]:
    return _DEVIATIONS


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for folder in FOLDERS:
        name, root = f"{folder}_case", metafunc.config.getoption("--golden-dir") / folder
        if name not in metafunc.fixturenames:
            continue
        cases = _cases(root)
        if not cases:
            reason = f"no golden files in {root}"
            cases = [pytest.param(None, id="none", marks=pytest.mark.skip(reason=reason))]
        metafunc.parametrize(name, cases)
    for name in {"answering_case", "dino_case"} & {*metafunc.fixturenames}:
        root = metafunc.config.getoption("--golden-dir")
        found = [case for folder in FOLDERS for case in _cases(root / folder, f"{folder}-")]
        some = [case for case in found if case.values[0].answers]
        dino = [case for case in some if "dino" in json.dumps(case.values[0].about)]
        metafunc.parametrize(name, some if name == "answering_case" else dino)


def _cases(root: Path, prefix: str = "") -> list[Any]:
    cases = []
    for path in sorted(root.glob("*.json")):
        if path.with_suffix(".npz").exists():
            golden = Golden(path, json.loads(path.read_text(encoding="utf-8")))
            marks = [pytest.mark.slow] if golden.width >= TRUE_WIDTH else []
            cases.append(pytest.param(golden, id=f"{prefix}{path.stem}", marks=marks))
    return cases


def _widest(about: Any) -> int:
    if isinstance(about, dict):
        own = about.get("embed_dim" if "depth" in about else "width")  # timm's word, and open_clip's
        return max([own if isinstance(own, int) else 0, *map(_widest, about.values())])
    return 0


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if _DRIFTS:
        terminalreporter.section("drift in lower precision, in percent")
        terminalreporter.write_line(golden_table(_DRIFTS))
    if _DRIFTS and config.getoption("--write-drift"):
        write(_DRIFTS, GOLDENS)
        write_page()
    if not _DEVIATIONS.worst:
        return
    terminalreporter.section("largest deviation from the golden files")
    width = max(len(f"{folder} {quantity}") for folder, quantity in _DEVIATIONS.worst)
    for (folder, quantity), worst in sorted(_DEVIATIONS.worst.items()):
        terminalreporter.write_line(
            f"{folder + ' ' + quantity:<{width}}  {worst.deviation:9.2e} of {worst.tolerance:7.1e} allowed"
            f"  ({worst.checked} arrays, worst in {worst.where})"
        )
