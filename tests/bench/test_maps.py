"""Maps kept beside a cell: how far they are from the method's, and that no other map passes for one."""

import json
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from bench.cli import main
from bench.errors import BenchError
from bench.run.execute import execute
from bench.run.machine import Machine
from bench.run.plan import Plan, summary
from bench.store.cells import CellStore, identify
from bench.store.maps import SIDE, KeptMaps, MapsToKeep, are_kept, largest_size
from methods.base import Prediction
from methods.registry import find
from metrics import Counts, Curve, PixelCounts

Planner = Callable[..., Plan]
CPU = Machine(batch_size=3)


def rows(count: int, first: float = 0.5) -> dict[str, Any]:
    """Return what of a cell its maps belong to."""
    scores = [{"image": f"{number}.png", "label": 1, "score": first + number} for number in range(count)]
    return {"key": "0123456789", "scores": scores}


def write(path: Path, maps: np.ndarray, cell: dict[str, Any]) -> KeptMaps:
    keeper = MapsToKeep()
    for batch in np.array_split(maps, 2):
        keeper.add(batch)
    keeper.write(path, cell["key"], cell["scores"])
    return KeptMaps(path, cell)


def smooth_maps(count: int, size: int, scale: float = 1.0) -> np.ndarray:
    """Return maps whose values reach over many powers of ten, as those of a sharp softmax do."""
    rng = np.random.default_rng(0)
    coarse = [Image.fromarray(rng.random((9, 9), np.float32)) for _ in range(count)]
    return np.stack([scale * np.asarray(each.resize((size, size))) ** 6 - 0.3 for each in coarse])


@pytest.mark.parametrize("scale", [1.0, 1e-4, 3e5])
def test_a_map_of_kept_size_moves_by_less_than_a_four_thousandth_of_its_range(
    tmp_path: Path, scale: float
) -> None:
    maps = smooth_maps(5, 64, scale)
    kept = write(tmp_path / "maps.zip", maps, rows(5))
    for number, whole in enumerate(maps):
        moved = np.abs(kept.read(f"{number}.png") - whole)
        height, span = whole - whole.min(), np.ptp(whole)
        rounding = 2e-7 * np.abs(whole).max()
        assert span / 10000 < moved.max() <= span / 4000 + rounding
        # The lower, the finer.
        assert (moved <= span / 4095 * (np.sqrt(height / span) + 2e-4) + rounding).all()
    ranges = np.ptp(maps, axis=(1, 2))
    assert ranges.max() / 8000 < kept.error < ranges.max() / 4000 + rounding


def test_a_larger_map_is_averaged_and_the_error_is_measured_at_its_full_size(tmp_path: Path) -> None:
    maps = smooth_maps(3, 518)
    kept = write(tmp_path / "maps.zip", maps, rows(3))
    assert (kept.map_size, kept.side) == (518, SIDE)
    errors = []
    for number, whole in enumerate(maps):
        small = kept.read(f"{number}.png")
        assert small.mean() == pytest.approx(whole.mean(), abs=1e-3)
        back = np.asarray(Image.fromarray(small).resize((518, 518), Image.Resampling.BILINEAR))
        errors.append(np.abs(back - whole).max())
    assert kept.error == pytest.approx(max(errors), rel=1e-5)
    assert 0 < kept.error < 0.05 * np.ptp(maps)
    flat = write(tmp_path / "flat.zip", np.full((2, 300, 300), 7, np.float32), rows(2))
    assert (flat.read("1.png") == 7).all() and flat.error == 0


def test_the_file_stays_below_the_plans_size_also_for_noise(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for size in (32, 300):
        write(tmp_path / "maps.zip", rng.random((4, size, size), np.float32), rows(4))
        taken, most = (tmp_path / "maps.zip").stat().st_size, largest_size(4, size)
        assert taken < most
    assert taken > most / 2
    write(tmp_path / "smooth.zip", smooth_maps(4, 518), rows(4))
    assert (tmp_path / "smooth.zip").stat().st_size < largest_size(4, 518) / 2


def test_same_maps_make_the_same_file(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name, smooth_maps(2, 40), rows(2))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("what", ["key", "score", "image"])
def test_maps_of_another_computation_are_refused(tmp_path: Path, what: str) -> None:
    path, cell = tmp_path / "maps.zip", rows(2)
    write(path, smooth_maps(2, 40), cell)
    assert are_kept(path, cell)
    other = rows(2)
    if what == "key":
        other["key"] = "9876543210"
    else:
        other["scores"][1][what] = {"score": 0.25, "image": "other.png"}[what]
    with pytest.raises(BenchError, match=r"maps\.zip: these maps are of another computation .*--save-maps"):
        KeptMaps(path, other)
    assert not are_kept(path, other)


def repacked(path: Path, change: Callable[[dict[str, bytes]], None], how: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    change(content)
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, data in content.items():
            archive.writestr(name, data)


def about(**values: Any) -> Callable[[dict[str, bytes]], None]:
    def change(content: dict[str, bytes]) -> None:
        content["about.json"] = json.dumps(json.loads(content["about.json"]) | values).encode()

    return change


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-40]),
        lambda path: path.write_bytes(b"no archive"),
        lambda path: repacked(path, lambda content: content.pop("00001.png")),
        lambda path: repacked(path, lambda content: content.update({"00002.png": b"more"})),
        lambda path: repacked(path, lambda content: None, zipfile.ZIP_DEFLATED),
        lambda path: repacked(path, lambda content: content.update({"00001.png": bytes(1 << 20)})),
        lambda path: repacked(path, lambda content: content.update({"about.json": b"[]"})),
        lambda path: repacked(path, lambda content: content.update({"about.json": b" " * 50_000 + b"{}"})),
        lambda path: repacked(path, about(low=[0.0])),
        lambda path: repacked(path, about(high=[float("nan"), 1.0])),
        lambda path: repacked(path, about(side=4000, map_size=4000)),
        lambda path: repacked(path, about(side="forty")),
        lambda path: repacked(path, about(schema=1)),
        lambda path: repacked(path, about(error={})),
        lambda path: repacked(path, about(curves={"fpr": [0.5]})),
        lambda path: repacked(path, about(curves={name: [2] for name in Curve._fields})),
        lambda path: repacked(path, about(curves={name: [0.5] * len(name) for name in Curve._fields})),
    ],
)
def test_a_damaged_file_is_one_clear_error(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    path, cell = tmp_path / "maps.zip", rows(2)
    write(path, smooth_maps(2, 40), cell)
    spoil(path)
    with pytest.raises(BenchError, match=r"maps\.zip: damaged \(.*\); repeat the cell's `run` command"):
        KeptMaps(path, cell)
    assert not are_kept(path, cell)


def counted(path: Path) -> tuple[Counts, dict[str, Any]]:
    """Write a file of two maps with masks; return the counts that went in, and the cell."""
    cell, keeper, counts = rows(2), MapsToKeep(), PixelCounts()
    maps, masks = smooth_maps(2, 40), np.zeros((2, 40, 40), np.uint8)
    masks[1, 3:9, 4:20] = 1
    keeper.add(maps)
    for each, mask in zip(maps, masks, strict=True):
        keeper.add_pixels(each, mask)
        counts.add(each, mask)
    keeper.write(path, cell["key"], cell["scores"])
    found = counts.result()
    assert found is not None
    return found, cell


def test_counts_of_pixels_come_back_as_they_were(tmp_path: Path) -> None:
    expected, cell = counted(tmp_path / "maps.zip")
    found = KeptMaps(tmp_path / "maps.zip", cell).counts()
    assert found is not None
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        assert (ours == theirs).all()
    assert write(tmp_path / "plain.zip", smooth_maps(2, 40), cell).counts() is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content.update({"counts": content["counts"][:-4]}),
        lambda content: content.update(
            {"counts": np.float32(np.nan).tobytes() * (len(content["counts"]) // 4)}
        ),
        lambda content: content.pop("counts"),
    ],
)
def test_damaged_counts_are_one_clear_error(tmp_path: Path, spoil: Callable[[Any], Any]) -> None:
    path = tmp_path / "maps.zip"
    _, cell = counted(path)
    repacked(path, spoil)
    with pytest.raises(BenchError, match=r"maps\.zip: damaged \(.*\); repeat the cell's `run` command"):
        KeptMaps(path, cell).counts()


def test_a_damaged_picture_is_found_when_it_is_read(tmp_path: Path) -> None:
    path, cell = tmp_path / "maps.zip", rows(2)
    write(path, smooth_maps(2, 40), cell)
    whole = path.read_bytes()
    place = whole.rindex(b"IDAT") + 20
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    kept = KeptMaps(path, cell)
    assert kept.read("0.png").shape == (40, 40)
    with pytest.raises(BenchError, match="damaged"):
        kept.read("1.png")
    write(path, smooth_maps(2, 40), cell)
    other = tmp_path / "other.zip"
    write(other, smooth_maps(2, 50), cell)
    with zipfile.ZipFile(other) as archive:
        larger = archive.read("00001.png")
    repacked(path, lambda content: content.update({"00001.png": larger}))
    with pytest.raises(BenchError, match=r"I;16 of \(50, 50\)"):
        KeptMaps(path, cell).read("1.png")
    path.unlink()
    with pytest.raises(BenchError, match="no kept maps"):
        KeptMaps(path, cell)


def maps_of(images: Tensor) -> Prediction:
    maps = images.mean(dim=1)
    return Prediction(maps.amax(dim=(1, 2)), maps)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find("chance"), "forward", lambda self, images, prompts: maps_of(images))


def test_a_run_keeps_every_map_under_the_same_key(known: None, plan_for: Planner, tmp_path: Path) -> None:
    store = CellStore(tmp_path / "runs")
    plain, plan = plan_for("chance"), plan_for("chance", save_maps=True)
    assert [task.cell.key for task in plan.tasks] == [task.cell.key for task in plain.tasks]
    assert plan.maps_size() == 2 * largest_size(8, 224)
    assert plain.maps_size() == 0
    assert f"kept maps take at most {round(plan.maps_size() / 2**20)} MiB" in summary(plan)
    assert not execute(plan, store, CPU).failed
    for task in plan.tasks:
        cell = store.read(task.cell)
        assert cell is not None
        kept = KeptMaps(store.maps_path(task.cell), cell)
        model = find("chance").load({}, **task.spec.options)
        for sample in task.samples:
            whole = maps_of(model.preprocess(Image.open(sample.image).convert("RGB"))[None]).maps[0]
            assert np.abs(kept.read(sample.name) - whole.numpy()).max() < np.ptp(whole.numpy()) / 4000


@pytest.mark.parametrize("masks", ["resized", "native"])
def test_pixel_curves_of_whole_maps_stand_beside_the_kept_ones(
    known: None, plan_for: Planner, tmp_path: Path, masks: str
) -> None:
    store = CellStore(tmp_path / "runs")
    assert not execute(plan_for("chance", save_maps=True, masks=masks), store, CPU).failed
    for cell in store:
        curve = KeptMaps(store.maps_path(identify(cell)), cell).curve
        assert curve is not None
        fpr, recall, overlap = (np.append(0, values) for values in (curve.fpr, curve.recall, curve.overlap))
        values = cell["metrics"]
        assert np.trapezoid(recall, fpr) == pytest.approx(values["pixel_auroc"], abs=3e-3)
        up_to = np.linspace(0, 0.3, 1000)
        area = np.trapezoid(np.interp(up_to, fpr, overlap), up_to) / 0.3
        assert area == pytest.approx(values["pixel_aupro_exact"], abs=3e-3)
        f1 = 2 * curve.precision * curve.recall / (curve.precision + curve.recall)
        assert f1.max() == pytest.approx(values["pixel_f1max"], abs=3e-3)


def test_a_class_without_masks_keeps_its_maps_too(plan_for: Planner, tmp_path: Path, data: Path) -> None:
    shutil.rmtree(data / "bolt" / "ground_truth")
    store = CellStore(tmp_path / "runs")
    execute(plan_for("chance", save_maps=True), store, CPU)
    kept = {cell["class"]: KeptMaps(store.maps_path(identify(cell)), cell) for cell in store}
    assert {name: maps.curve is not None for name, maps in kept.items()} == {"bolt": False, "gear": True}


def test_finished_cells_without_maps_are_computed_again_and_the_plan_says_so(
    known: None, plan_for: Planner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = CellStore(tmp_path / "runs")
    execute(plan_for("chance"), store, CPU)
    assert not list(store.root.rglob("*.zip"))
    again = plan_for("chance", save_maps=True)
    assert "2 of these cells are here and are computed again, for their maps are not kept" in summary(again)
    execute(again, store, CPU)
    after = plan_for("chance", save_maps=True)
    assert (len(after.tasks), len(after.done)) == (0, 2)
    assert "computed again" not in summary(after)
    # Computed anew by changed code, without maps: the old ones are not the new cell's.
    changed = lambda self, images, prompts: maps_of(2 * images)  # noqa: E731
    monkeypatch.setattr(find("chance"), "forward", changed)
    execute(plan_for("chance", force=True), store, CPU)
    assert len(plan_for("chance", save_maps=True).tasks) == 2
    forced = plan_for("chance", save_maps=True, force=True)
    assert len(forced.tasks) == 2 and not any(task.here for task in forced.tasks)


def test_kept_maps_move_no_number(plan_for: Planner, tmp_path: Path) -> None:
    found = []
    for save_maps in (False, True):
        store = CellStore(tmp_path / f"runs{save_maps}")
        execute(plan_for("chance", "oracle", save_maps=save_maps), store, CPU)
        found.append([(cell["key"], cell["metrics"], cell["scores"], cell["details"]) for cell in store])
    assert found[0] == found[1]


def test_the_flag_shows_the_size_before_and_writes_after(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "--methods", "chance", "--datasets", str(data), "--results", str(tmp_path / "results")]
    words += ["--device", "cpu", "--save-maps"]
    assert main([*words, "--dry-run"]) == 0
    (size,) = re.findall(r"kept maps take at most ([\d,]+) MiB", capsys.readouterr().out)
    assert int(size) == round(2 * largest_size(8, 224) / 2**20)
    assert main(words) == 0
    files = sorted((tmp_path / "results" / "runs").rglob("*.zip"))
    assert [path.name.replace(".maps.zip", ".json") for path in files] == sorted(
        path.name for path in (tmp_path / "results" / "runs").rglob("*.json")
    )
    capsys.readouterr()
    assert main(words) == 0
    assert "0 to compute" in capsys.readouterr().out


def test_a_disk_that_refuses_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BenchError, match="--results"):
        write(tmp_path / "file" / "maps.zip", smooth_maps(2, 40), rows(2))


def test_a_class_normalised_methods_final_scores_are_those_that_are_tied(
    plan_for: Planner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = find("chance")

    def forward(self: object, images: Tensor, prompts: list[str]) -> Prediction:
        return maps_of(images)._replace(also={"raw": images.mean(dim=(1, 2, 3))})

    monkeypatch.setattr(method, "class_normalised", True)
    monkeypatch.setattr(method, "forward", forward)
    monkeypatch.setattr(
        method, "finish", lambda self, also: torch.argsort(also["raw"]).float(), raising=False
    )
    store = CellStore(tmp_path / "runs")
    assert not execute(plan_for("chance", save_maps=True), store, CPU).failed
    assert all(are_kept(store.maps_path(identify(cell)), cell) for cell in store)
