"""The qualitative grid: which images are chosen, what stands in its tiles, what stops it."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import bench.demo.demo
from bench.cli import main
from bench.demo.standin import stand_in_folders
from bench.errors import BenchError
from bench.results import read
from bench.run.execute import execute
from bench.run.machine import Machine
from bench.run.protocol import MethodRequest
from bench.show.curves import pick, telling
from bench.show.figures.gallery import GalleryRow, Heat, draw_gallery, gallery_rows
from bench.show.images import Images
from bench.show.pictures import coloured, tinted
from bench.store.maps import KeptMaps
from methods.backbones import mini
from tests.show.figures.conftest import Measured, measure


def cell(*scores: float, normal: float = 0.0) -> dict[str, Any]:
    """Return a cell whose anomalous images a, b, c... have these scores."""
    rows = [{"image": "good", "label": 0, "score": normal}]
    rows += [
        {"image": name, "label": 1, "score": score} for name, score in zip("abcde", scores, strict=False)
    ]
    return {"scores": rows, "details": {"image_f1max_threshold": 0.5}, "metrics": {"image_f1max": 0.9}}


def test_best_median_and_worst_go_by_the_mean_of_ranks() -> None:
    # Ranks by the first method: a 5, b 4, c 3, d 2, e 1; by the second: a 4, b 5, c 3, d 2, e 1.
    cells = [cell(0.9, 0.8, 0.5, 0.2, 0.1), cell(80, 90, 50, 20, 10)]
    assert [pick(cells, which) for which in ("best", "median", "worst")] == ["b", "c", "e"]
    # Two on scales of their own that find e best: a 9 + 2, b 9 + 4, c 6 + 6, d 4 + 8, e 2 + 10.
    cells += 2 * [cell(1e-4, 2e-4, 3e-4, 4e-4, 5e-4)]
    assert [pick(cells, which) for which in ("best", "worst")] == ["b", "a"]


def test_disagreement_is_the_largest_distance_of_ranks() -> None:
    cells = [cell(0.9, 0.8, 0.5, 0.2, 0.1), cell(0.9, 0.8, 0.5, 0.2, 0.95)]
    assert pick(cells, "disagreement") == "e"
    # Equal scores share a rank: nobody disagrees, and the first name is taken.
    assert pick([cell(1, 1, 1), cell(2, 2, 2)], "disagreement") == "a"
    assert pick([cell(1, 1, 1), cell(2, 2, 2)], "best") == "c"


def test_only_anomalous_images_that_all_methods_have_are_picked() -> None:
    assert pick([cell(0.9, 0.8, normal=5), cell(0.1, 0.2, normal=5)], "best") == "b"
    assert pick([cell(0.9, 0.8, 0.1), cell(0.8, 0.9)], "worst") == "a"
    assert pick([cell()], "best") is None


def test_one_methods_picks_are_the_anomalous_ones_that_tell_most() -> None:
    rows = telling(cell(0.9, 0.8, 0.51, 0.2, 0.1, normal=0.45))
    assert [rows[which]["image"] for which in ("best", "median", "worst")] == ["a", "c", "e"]
    assert telling(cell(0.9, 0.3, normal=0.45))["median"]["image"] == "good"


def row(count: int = 2, **changes: Any) -> GalleryRow:
    mask = np.zeros((30, 40), np.uint8)
    mask[:15] = 1
    ramp = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    known: dict[str, Any] = {
        "title": "MVTec",
        "subtitle": "bottle",
        "image": Image.new("RGB", (40, 30), (0, 200, 0)),
        "mask": mask,
        "heats": [Heat(ramp, 0, 1) for _ in range(count)],
    }
    return GalleryRow(**known | changes)


def tiles(figure: Any) -> dict[str, Any]:
    return {image.get_label(): image for image in figure.axes[0].images}


def pixels(figure: Any, place: str) -> np.ndarray:
    return np.asarray(tiles(figure)[place].get_array())


def texts(figure: Any) -> list[str]:
    found = [text for axes in figure.axes for text in axes.texts]
    return [text.get_text().replace("\n", " ") for text in (*found, *figure.texts) if text.get_text()]


def test_tiles_show_image_truth_and_maps_between_the_ends_of_their_scale() -> None:
    ramp = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    other = [Heat(ramp, 0, 1), Heat(ramp, 0, 100), None]
    figure = draw_gallery([row(3), row(title="VisA", heats=other)], ["A", "B", "C"], 6.875, "map")
    assert figure.get_size_inches()[0] == 6.875
    assert (pixels(figure, "0,0") == (0, 200, 0)).all()
    truth = pixels(figure, "1,1")
    assert (truth[:150] == 255).all() and (truth[170:] == 0).all()
    image = Image.new("RGB", (320, 320), (0, 200, 0))
    for place, high in (("0,2", 1), ("1,3", 100)):
        assert (pixels(figure, place) == np.asarray(tinted(image, ramp, 0, high))).all()
    assert set(tiles(figure)) == {f"{down},{across}" for down in range(2) for across in range(5)} - {"1,4"}
    left, right, low, high = tiles(figure)["1,0"].get_extent()
    above, beside = (tiles(figure)[place].get_extent() for place in ("0,0", "1,1"))
    assert right - left == pytest.approx(high - low)
    assert (above[0], above[1], beside[2], beside[3]) == (left, right, low, high)
    assert 0 < above[2] - high < 0.05 and 0 < beside[0] - right < 0.05
    words = texts(figure)
    for text in ("image", "ground truth", "A", "B", "C", "MVTec", "VisA", "bottle", "n/a"):
        assert text in words
    assert "each map from its own lowest to its highest value" in words


def test_colours_rise_in_brightness_between_the_ends_of_the_scale() -> None:
    light = coloured(np.linspace(0, 1, 20, dtype=np.float32)[None], 0.2, 0.8)[0].astype(int).sum(axis=1)
    assert light[0] == light[3] and light[-1] == light[-4]
    assert (np.diff(light[4:16]) > 0).all()
    assert (
        coloured(np.zeros((2, 2), np.float32), 0, 0) == coloured(np.zeros((1, 1), np.float32), 0, 1)
    ).all()


@pytest.mark.parametrize(("width", "methods"), [(3.25, 3), (3.25, 9), (6.875, 16), (14, 16)])
def test_nothing_leaves_the_figure_or_covers_a_tile(width: float, methods: int) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415

    names = ["AnomalyCLIP", "Tipsomaly (no-local-evidence)", "VAND"] * 6
    long = row(methods, title="CVC-ClinicDB", subtitle="a_class_with_a_long_name/test/spot/000.png")
    figure = draw_gallery([row(methods), long], names[:methods], width, "common")
    renderer = FigureCanvasAgg(figure).get_renderer()
    inside, (tile, *_) = figure.bbox, tiles(figure).values()
    for text in figure.axes[0].texts:
        box = text.get_window_extent(renderer)
        assert box.y0 >= inside.y0 and box.y1 <= inside.y1 + 1, text.get_text()
        if text.get_gid() == "head":
            assert box.width <= tile.get_window_extent(renderer).width * 1.15, text.get_text()
        if text.get_rotation() == 0:
            covered = [
                place for place, each in tiles(figure).items() if _overlap(box, each.get_window_extent())
            ]
            assert not covered, text.get_text()


def _overlap(one: Any, other: Any) -> bool:
    return (
        min(one.x1, other.x1) - max(one.x0, other.x0) > 1
        and min(one.y1, other.y1) - max(one.y0, other.y0) > 1
    )


def test_rows_hold_the_cells_own_images_masks_and_maps(measured: Measured) -> None:
    rows = gallery_rows(measured.columns, measured.images, picks=["best", "worst"], most=4)
    assert [each.subtitle for each in rows] == ["bolt, best", "bolt, worst", "gear, best", "gear, worst"]
    cells = {(cell["method"], cell["class"]): cell for cell in measured.cells}
    both = [cells["chance", "gear"], cells["oracle", "gear"]]
    name = pick(both, "worst")
    assert name is not None
    folder = measured.data / "parts"
    assert (np.asarray(rows[3].image) == np.asarray(Image.open(folder / name).convert("RGB"))).all()
    truth = folder / name.replace("test", "ground_truth").replace(".png", "_mask.png")
    assert rows[3].mask is not None
    assert (rows[3].mask == (np.asarray(Image.open(truth)) > 0)).all()
    for heat, method in zip(rows[3].heats, ("chance", "oracle"), strict=True):
        assert heat is not None
        of_cell = cells[method, "gear"]
        (path,) = measured.store.root.rglob(f"gear.{of_cell['key']}.maps.zip")
        assert (heat.scores == KeptMaps(path, of_cell).read(name)).all()
        assert (heat.low, heat.high) == (heat.scores.min(), heat.scores.max())


def test_a_common_scale_spans_all_images_of_the_class(measured: Measured) -> None:
    rows = gallery_rows(measured.columns, measured.images, classes=["bolt"], scale="common")
    (only,) = rows
    for heat, column in zip(only.heats, measured.columns, strict=True):
        of_class = next(cell for cell in column.cells if cell["class"] == "bolt")
        maps = [measured.images.heat(of_class, each["image"]) for each in of_class["scores"]]
        assert heat is not None
        assert heat.low == pytest.approx(min(map(np.min, maps)), abs=1e-6)
        assert heat.high == pytest.approx(max(map(np.max, maps)), abs=1e-6)


def test_images_are_named_as_in_the_cells_or_by_the_end_of_it(measured: Measured) -> None:
    names = ["bolt/test/good/001.png", "gear/test/spot/003.png"]
    rows = gallery_rows(measured.columns, measured.images, names=names)
    assert [each.subtitle for each in rows] == names
    assert rows[0].mask is not None and not rows[0].mask.any()
    with pytest.raises(BenchError, match=r"--images 001.png: there is more than one .*write more"):
        gallery_rows(measured.columns, measured.images, names=["001.png"])
    (one,) = gallery_rows(measured.columns, measured.images, names=["spot/002.png"], classes=["bolt"])
    assert one.subtitle == "bolt/test/spot/002.png"
    with pytest.raises(BenchError, match=r"no image 'bolt/test/spot/009\.png'; did you mean"):
        gallery_rows(measured.columns, measured.images, names=["bolt/test/spot/009.png"])


def test_few_rows_are_spread_over_the_datasets(measured: Measured, tmp_path: Path) -> None:
    columns, images = measured.columns, measured.images
    assert [each.subtitle for each in gallery_rows(columns, images, most=1)] == ["bolt, median"]
    twice = gallery_rows(columns, images, picks=["best", "worst"], most=3)
    assert [each.subtitle for each in twice] == ["bolt, best", "bolt, worst", "gear, best"]


def test_what_is_not_here_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = measure(tmp_path / "own")
    words = ["figure", "gallery", "--results", str(own.results), "--out", str(tmp_path / "grid")]

    def complaint(*more: str) -> str:
        assert main([*words, *more]) == 2
        assert not (tmp_path / "grid.pdf").exists()
        return capsys.readouterr().err

    capsys.readouterr()
    there = ("--data-root", str(own.data))
    assert "/bolt is not below" in complaint("--data-root", str(tmp_path))
    assert "did you mean 'gear'?" in complaint(*there, "--classes", "gaer")
    assert "name more with --methods" in complaint(*there, "--methods", "chance", "--pick", "disagreement")
    picture = own.data / "parts" / "bolt" / "test" / "spot" / "001.png"
    whole = picture.read_bytes()
    Image.new("RGB", (56, 40)).save(picture)
    assert "/bolt below" in (said := complaint(*there)) and "changed since it was measured" in said
    picture.write_bytes(whole)
    for path in own.results.rglob("bolt*.zip"):
        path.unlink()
    assert "there are no kept maps; repeat the cell's `run` command with --save-maps" in complaint(*there)
    assert main([*words, *there, "--classes", "gear"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"wrote {tmp_path / 'grid.pdf'}",
        f"wrote {tmp_path / 'grid.png'}",
    ]


def test_the_demo_shows_the_first_class_of_what_has_masks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZSAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        bench.demo.demo,
        "stand_in_folders",
        lambda root, **_: stand_in_folders(root, keys=("headct", "mpdd", "isic"), scale="tiny"),
    )
    monkeypatch.setattr(bench.demo.demo, "demo_requests", lambda: [MethodRequest("clip", "mini")])
    drawn: list[GalleryRow] = []
    monkeypatch.setattr(
        bench.demo.demo, "draw_gallery", lambda rows, *rest: drawn.extend(rows) or draw_gallery(rows, *rest)
    )
    demo = bench.demo.demo.Demo(tmp_path)
    mini.install(demo.weights)
    plan = demo.prepare()
    kept = [task.cell for task in plan.tasks if task.save_maps]
    assert len({cell.dataset for cell in kept}) == len(kept) == 3 < len(plan.tasks)
    assert not execute(plan, demo.store, Machine()).failed
    paths = demo.draw_gallery(read(demo.store))
    assert [path.name for path in paths] == ["gallery.pdf", "gallery.png"]
    assert [each.title for each in drawn] == ["MPDD", "ISIC"]
    for each in drawn:
        assert each.mask is not None and each.mask.any()
        assert len(each.heats) == 1 and each.heats[0] is not None and each.heats[0].scores.std() > 0


def test_a_name_that_cannot_be_printed_leads_to_its_files(measured: Measured, tmp_path: Path) -> None:
    results, data = tmp_path / "results", tmp_path / "data"
    shutil.copytree(measured.data / "parts" / "gear", data / "parts" / "ge\u202ear")
    words = ["run", "--methods", "chance", "--datasets", str(data / "parts"), "--save-maps"]
    assert main([*words, "--device", "cpu", "--results", str(results)]) == 0
    own = Measured(tmp_path)
    (shown,) = gallery_rows(own.columns, Images(own.store, own.cells, data))
    assert shown.subtitle == "ge\\u202ear, median"
