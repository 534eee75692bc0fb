"""A small dataset in MVTec layout, and a plan for it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.cli import main
from bench.run.plan import Permissions, Plan, Settings
from bench.run.planner import make_plan
from bench.run.protocol import parse_methods
from bench.store.cells import CellStore
from bench.store.digests import sha256
from datasets.meta import open_dataset
from methods.source import Source


def make_mvtec_layout(
    root: Path, classes: tuple[str, ...] = ("bolt", "gear"), count: int = 4, seed: int = 0
) -> Path:
    """Write `count` normal and `count` anomalous noisy pictures a class, each defect a bright square."""
    rng = np.random.default_rng(seed)
    for name in classes:
        for label, species in enumerate(("good", "spot")):
            for index in range(count):
                pixels = rng.integers(60, 120, (40, 56, 3), dtype=np.uint8)
                mask = np.zeros((40, 56), np.uint8)
                if label:
                    top, left = rng.integers(4, 28), rng.integers(4, 40)
                    mask[top : top + 9, left : left + 9] = 255
                    pixels[mask > 0] = 250
                image = root / name / "test" / species / f"{index:03}.png"
                image.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(image)
                if label:
                    truth = root / name / "ground_truth" / species / f"{index:03}_mask.png"
                    truth.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(mask).save(truth)
    return root


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a dataset folder `parts` with two classes of four normal and four anomalous pictures."""
    return make_mvtec_layout(tmp_path / "parts")


Run = Callable[..., int]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs the command line in an empty folder; it gives the exit code."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZSAD_CACHE", str(tmp_path / "cache"))
    return lambda *words: main([str(word) for word in words])


Planner = Callable[..., Plan]


@pytest.fixture
def plan_for(tmp_path: Path, data: Path) -> Planner:
    """Return a function that plans methods on the small dataset, with cells below `tmp_path/runs`."""

    def plan(
        *methods: str,
        folder: Path = data,
        overrides: dict[str, str] | None = None,
        source: str | None = None,
        force: bool = False,
        device: str = "cpu",
        allow: Permissions | None = None,
        save_maps: bool = False,
        **settings: object,
    ) -> Plan:
        return make_plan(
            parse_methods(methods, overrides or {}),
            [open_dataset(folder)],
            CellStore(tmp_path / "runs"),
            weights_root=tmp_path / "weights",
            digest=sha256,
            settings=Settings(**settings),  # type: ignore[arg-type]
            source=Source.parse(source) if source else None,
            allow=allow,
            force=force,
            keeps_maps=lambda folder, data: save_maps,
            device=device,
        )

    return plan
