"""The page without a browser: size, sameness, what is drawn of a class, what stops it."""

import base64
import gzip
import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.cli import main
from bench.results import read
from bench.show import select
from bench.show.curves import counts, telling
from bench.show.page import LARGEST, add_images, content
from bench.show.page.curves import POINTS, curves, pixel_curves
from bench.show.pictures import outlined, tinted
from bench.store.cells import CellStore
from datasets.catalog import CATALOG
from tests.bench.conftest import make_mvtec_layout
from tests.bench.page.grid import DATASETS, METHODS, cell, write
from tests.show.figures.conftest import Measured

ROOT = Path(__file__).resolve().parents[3]


def test_the_whole_grid_would_stay_below_five_megabytes(report: Path) -> None:
    data, part = len(data_of(report)), len(packed(report))
    whole = len(METHODS) * sum(len(CATALOG[key].classes) for key in DATASETS)
    assert whole == 792 > part
    assert report.stat().st_size + data * (whole / part - 1) < 5_000_000 < LARGEST


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


def test_the_matrix_says_nothing_of_methods_that_learn_nothing(tmp_path: Path) -> None:
    for method in ("vand", "winclip"):
        write(tmp_path, cell(method, "btad", "01"))
    cells = read(CellStore(tmp_path / "runs"))
    tables = content(select(cells, methods=["winclip", "vand", "x"])).tables
    assert len(tables["methods"]) == 2
    assert {each["method"] for each in tables["cross"]["sections"]} == {"VAND"}
    assert "no cells of x" in tables["cross"]["notes"]
    assert not any("winclip" in note.casefold() for note in tables["cross"]["notes"])


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


def data_of(page: Path) -> str:
    """Return what differs from page to page: all but libraries, style and script."""
    found = re.search('id="data">([^<]*)<', page.read_text(encoding="utf-8"))
    assert found
    return found[1]


def packed(page: Path) -> list[dict[str, Any]]:
    """Return the cells as the page's script finds them."""
    cells: list[dict[str, Any]] = json.loads(gzip.decompress(base64.b64decode(data_of(page))))["cells"]
    return cells


def test_a_site_has_small_pictures_beside_the_page(
    extra: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_mvtec_layout(tmp_path / "data" / "parts", classes=("bolt",))
    site, results = tmp_path / "site", str(tmp_path / "results")
    words = ["--data-root", str(tmp_path / "data"), "--results", results]
    ran = ["run", "--methods", "chance", "--datasets", str(data), "--device", "cpu", *words]
    assert main(ran) == 0
    assert main(["report", "--site", str(site), *words]) == 0
    said = capsys.readouterr().out
    assert "3 small pictures stand beside the page; 1 of 1 cells have no kept maps to lay over." in said
    copies = sorted((site / "images").iterdir())
    assert {Image.open(path).size for path in copies} == {(56, 40)}
    (cell,) = packed(site / "index.html")
    assert {row["file"] for row in cell["telling"].values()} == {f"images/{path.name}" for path in copies}
    assert all(row["heat"] is None for row in cell["telling"].values())
    assert cell["pixel"] is None
    assert main(["report", "--site", str(site), "--data-root", str(tmp_path), "--results", results]) == 0
    said = capsys.readouterr().out
    assert "0 small pictures stand beside the page; 3 images are not under the data root, or have" in said
    assert main([*ran, "--save-maps"]) == 0
    assert main(["report", "--site", str(site), *words]) == 0
    assert "6 small pictures stand beside the page.\n" in capsys.readouterr().out
    (cell,) = packed(site / "index.html")
    assert set(cell["pixel"]) == {"roc", "pr", "pro"}
    assert len({row["heat"] for row in cell["telling"].values()} | {None}) == 4


def test_pictures_show_the_outline_of_the_truth_and_the_heat_of_the_class(
    measured: Measured, tmp_path: Path
) -> None:
    page = content(select(measured.cells), measured.images)
    shown, _ = add_images(page, measured.cells, measured.images, tmp_path)
    for on_page in shown.cells:
        (of_cell,) = (each for each in measured.cells if each["key"] == on_page["key"])
        kept = measured.images.maps(of_cell)
        for row in on_page["telling"].values():
            whole = Image.open(measured.data / "parts" / row["image"]).convert("RGB")
            mask = measured.images.mask(of_cell, row["image"])
            assert mask is not None
            for address, expected in (
                (row["file"], outlined(whole, mask > 0) if mask.any() else whole),
                (row["heat"], tinted(whole, kept.read(row["image"]), kept.low.min(), kept.high.max())),
            ):
                expected.save(tmp_path / "expected.jpg", quality=85)
                assert (tmp_path / address).read_bytes() == (tmp_path / "expected.jpg").read_bytes()


def test_pictures_in_the_page_stop_where_their_room_ends(
    extra: None, measured: Measured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    words = ["report", "--images", "--results", str(measured.results), "--data-root", str(measured.data)]
    out = tmp_path / "report.html"
    assert main([*words, "--out", str(out)]) == 0
    assert "had no room" not in capsys.readouterr().out
    found = [
        row[name] for cell in packed(out) for row in cell["telling"].values() for name in ("file", "heat")
    ]
    assert all(address.startswith("data:image/jpeg;base64,") for address in found)
    monkeypatch.setattr("bench.show.page.images.ROOM_INSIDE", 5000)
    assert main([*words, "--out", str(out)]) == 0
    assert re.search(r"\d+ small pictures stand in the page; \d+ had no room in it", capsys.readouterr().out)
    found = [
        row[name] for cell in packed(out) for row in cell["telling"].values() for name in ("file", "heat")
    ]
    assert 0 < sum(len(address) for address in {*found} if address) <= 5000


def test_pixel_curves_of_the_page_have_the_areas_of_the_metrics(measured: Measured) -> None:
    for of_cell in measured.cells:
        curve = measured.images.maps(of_cell).curve
        assert curve is not None
        drawn = pixel_curves(curve)
        assert all(len(points) <= 40 for line in drawn.values() for points in line)
        fpr, recall = drawn["roc"]
        assert np.trapezoid(recall, fpr) == pytest.approx(of_cell["metrics"]["pixel_auroc"], abs=5e-3)
        rates, overlaps = drawn["pro"]
        up_to = np.linspace(0, 0.3, 1000)
        area = np.trapezoid(np.interp(up_to, rates, overlaps), up_to) / 0.3
        assert area == pytest.approx(of_cell["metrics"]["pixel_aupro_exact"], abs=0.02)


def test_the_page_loads_no_torch() -> None:
    modules = "bench.show.page, bench.show.figures.gallery, bench.show.figures.curves"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
