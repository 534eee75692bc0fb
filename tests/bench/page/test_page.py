"""The page without a browser: size, sameness, what is drawn of a class, what stops it."""

import base64
import gzip
import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.cli import main
from bench.show.page import LARGEST
from bench.show.page.curves import POINTS, counts, curves, telling
from tests.bench.conftest import make_mvtec_layout
from tests.bench.page.grid import cell, write_grid

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.slow
def test_the_whole_grid_stays_below_five_megabytes(extra: None, tmp_path: Path) -> None:
    assert write_grid(tmp_path / "results") == 792
    page = tmp_path / "report.html"
    assert main(["report", "--results", str(tmp_path / "results"), "--out", str(page)]) == 0
    assert page.stat().st_size < 5_000_000 < LARGEST


def test_the_same_cells_give_the_same_bytes(report: Path, results: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.html"
    assert main(["report", "--results", str(results), "--out", str(again)]) == 0
    assert again.read_bytes() == report.read_bytes()


def test_positives_are_counted_at_each_distinct_score() -> None:
    labels = np.array([1, 0, 1, 0, 1], bool)
    scores = np.array([0.9, 0.5, 0.5, 0.1, 0.1], np.float32)
    tp, fp, thresholds = counts(labels, scores)
    assert tp.tolist() == [1, 2, 3]
    assert fp.tolist() == [0, 1, 2]
    assert thresholds.tolist() == scores[[0, 1, 3]].tolist()


def test_curves_end_where_they_must_and_pass_the_f1max_threshold() -> None:
    of_class = cell("vand", "mvtec", "bottle")
    drawn = curves(of_class)
    assert drawn is not None
    labels = np.array([row["label"] for row in of_class["scores"]])
    scores = np.array([row["score"] for row in of_class["scores"]])
    called = scores >= drawn["threshold"]
    tp, fp = (called & (labels == 1)).sum(), (called & (labels == 0)).sum()
    recall, precision = tp / (labels == 1).sum(), tp / (tp + fp)
    assert drawn["at"] == pytest.approx([fp / (labels == 0).sum(), recall, recall, precision], abs=1e-4)
    f1 = 2 * precision * recall / (precision + recall)
    assert f1 == pytest.approx(of_class["metrics"]["image_f1max"], abs=1e-6)
    (fpr, tpr), (recalls, precisions) = drawn["roc"], drawn["pr"]
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1], recalls[-1]) == (0, 0, 1, 1, 1)
    assert precisions[-1] == pytest.approx((labels == 1).mean(), abs=1e-4)
    assert all(len(points) <= POINTS for points in (fpr, tpr, recalls, precisions))
    # The thinned curve still has the area of the whole one.
    area = np.trapezoid(tpr, fpr)
    assert area == pytest.approx(of_class["metrics"]["image_auroc"], abs=0.005)
    assert (sum(drawn["normal"]), sum(drawn["anomalous"])) == (90, 110)


def test_a_class_without_image_level_has_no_curves() -> None:
    of_class = cell("vand", "isic", "skin")
    assert curves(of_class) is None
    assert telling(of_class) == {}


def test_best_and_worst_are_farthest_on_either_side_of_the_threshold() -> None:
    of_class = cell("vand", "mvtec", "bottle")
    rows = [("a", 0, 0.1), ("b", 1, 0.7), ("c", 1, 0.2), ("d", 0, 0.55), ("e", 1, 0.6)]
    of_class["scores"] = [{"image": name, "label": label, "score": score} for name, label, score in rows]
    of_class["details"]["image_f1max_threshold"] = 0.6
    chosen = {which: row["image"] for which, row in telling(of_class).items()}
    assert chosen == {"best": "a", "median": "d", "worst": "c"}


def test_no_extra_and_no_cells_are_said_in_one_line(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "report.html"
    assert main(["report", "--results", str(tmp_path), "--out", str(out)]) == 2
    assert capsys.readouterr().err.startswith("error: no cells yet")
    found = importlib.metadata.distribution

    def without(name: str) -> importlib.metadata.Distribution:
        if name == "itables":
            raise importlib.metadata.PackageNotFoundError(name)
        return found(name)

    monkeypatch.setattr("bench.show.page.libraries.distribution", without)
    assert main(["report", "--results", str(results), "--out", str(out)]) == 2
    assert capsys.readouterr().err == (
        "error: the page needs itables: bring the environment up to date with `pip install -e .`\n"
    )
    assert not out.exists()


def test_a_site_has_small_copies_beside_the_page(
    extra: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_mvtec_layout(tmp_path / "data" / "parts", classes=("bolt",))
    site, results = tmp_path / "site", str(tmp_path / "results")
    words = ["--data-root", str(tmp_path / "data"), "--results", results]
    ran = ["run", "--methods", "chance", "--datasets", str(data), "--device", "cpu", *words]
    assert main(ran) == 0
    assert main(["report", "--site", str(site), *words]) == 0
    assert "3 images stand beside the page. No anomaly maps are kept" in capsys.readouterr().out
    copies = sorted((site / "images").iterdir())
    assert len(copies) == 3
    assert {Image.open(path).size for path in copies} == {(56, 40)}
    text = (site / "index.html").read_text(encoding="utf-8")
    packed = re.search('id="data">([^<]*)<', text)
    assert packed
    cells = json.loads(gzip.decompress(base64.b64decode(packed[1])))["cells"]
    named = {row["file"] for cell in cells for row in cell["telling"].values()}
    assert named == {f"images/{path.name}" for path in copies}
    assert main(["report", "--site", str(site), "--data-root", str(tmp_path), "--results", results]) == 0
    assert "0 images stand beside the page; 3 are not under the data root" in capsys.readouterr().out


def test_the_page_loads_no_torch() -> None:
    code = "import sys, bench.show.page; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
