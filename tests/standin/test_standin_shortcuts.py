"""No statistic of a whole picture, nor of its file, tells normal from anomalous stand-ins."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from datasets.catalog import CATALOG
from datasets.images import read_image
from datasets.meta import open_dataset
from datasets.prepare import prepare
from datasets.standin import KEYS, generate

WITH_NORMAL = [key for key in KEYS if "image" in CATALOG[key].levels]


def trivial_scores(image: Path) -> dict[str, float]:
    colours = np.asarray(read_image(image), dtype=float)
    grey = colours.mean(axis=2)
    windows = np.lib.stride_tricks.sliding_window_view(grey, (5, 5))[::2, ::2]
    edges = 4 * grey[1:-1, 1:-1] - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    return {
        "mean brightness": grey.mean(),
        "standard deviation": grey.std(),
        "mean local variance": windows.var(axis=(2, 3)).mean(),
        "high-frequency energy": (edges**2).mean(),
        "mean saturation": (colours.max(axis=2) - colours.min(axis=2)).mean(),
        "border brightness": border.mean(),
        "bytes per pixel": image.stat().st_size / grey.size,
        "pixels": grey.size,
    }


def trivial_aurocs(folders: dict[str, Path], data: Path) -> dict[str, dict[str, float]]:
    """Return dataset -> score -> image AUROC, mean over classes."""
    table = {}
    for key in WITH_NORMAL:
        per_class = []
        for cls in open_dataset(prepare(key, folders[key], data)).classes:
            scores = [trivial_scores(sample.image) for sample in cls.samples]
            labels = [sample.label for sample in cls.samples]
            per_class.append(
                {name: roc_auc_score(labels, [score[name] for score in scores]) for name in scores[0]}
            )
        table[key] = {name: float(np.mean([row[name] for row in per_class])) for name in per_class[0]}
    return table


@pytest.mark.slow
def test_trivial_scores_are_near_chance(tmp_path: Path) -> None:
    table = trivial_aurocs(generate(tmp_path / "raw", keys=WITH_NORMAL), tmp_path / "data")
    for key, row in table.items():
        for name, auroc in row.items():
            assert 0.3 <= auroc <= 0.7, f"{name} on {key}: {auroc:.3f}\n{table}"
    for name in table["mvtec"]:
        mean = np.mean([row[name] for row in table.values()])
        assert 0.4 <= mean <= 0.6, f"{name}: {mean:.3f}"
