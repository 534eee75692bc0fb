"""The qualitative grid: a tile for each image, mask and map, in formats that papers take."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bench.demo.demo
from bench.demo.standin import stand_in_folders
from bench.errors import BenchError
from bench.run.machine import Machine
from bench.run.protocol import MethodRequest
from bench.show.gallery import GalleryRow, draw_gallery
from bench.show.pictures import coloured
from methods.backbones import mini


def row(title: str = "MVTec") -> GalleryRow:
    mask = np.zeros((30, 40), np.uint8)
    mask[:15] = 1
    ramp = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    return GalleryRow(title, "bottle", Image.new("RGB", (40, 30), (0, 200, 0)), mask, [ramp, 5 * ramp])


def test_colours_rise_in_brightness_between_the_ends_of_the_scale() -> None:
    light = coloured(np.linspace(0, 1, 20, dtype=np.float32)[None], 0.2, 0.8)[0].astype(int).sum(axis=1)
    assert light[0] == light[3] and light[-1] == light[-4]
    assert (np.diff(light[4:16]) > 0).all()
    assert (
        coloured(np.zeros((2, 2), np.float32), 0, 0) == coloured(np.zeros((1, 1), np.float32), 0, 1)
    ).all()


def test_a_grid_shows_image_mask_and_a_map_for_each_method(tmp_path: Path) -> None:
    draw_gallery([row(), row("VisA")], ["WinCLIP", "AdaCLIP"], tmp_path / "grid.png")
    pixels = np.asarray(Image.open(tmp_path / "grid.png").convert("RGB")).astype(int)
    green = (pixels == (0, 200, 0)).all(axis=2)
    tops = np.flatnonzero(np.diff(green.any(axis=1).astype(int)) == 1)
    assert tops.size == 2
    assert (np.diff(green.any(axis=0).astype(int)) == 1).sum() == 1
    across = pixels[tops[0] + 100]
    filled = (across != 255).any(axis=1)  # here the mask is black
    assert (np.diff(filled.astype(int)) == 1).sum() == 4
    # Each map has its own scale: five times the scores look the same.
    starts = np.flatnonzero(np.diff(filled.astype(int)) == 1) + 1
    np.testing.assert_allclose(across[starts[2] + 50], across[starts[3] + 50], atol=6)


def test_a_pdf_keeps_its_letters(tmp_path: Path) -> None:
    draw_gallery([row()], ["WinCLIP", "AdaCLIP"], tmp_path / "grid.pdf")
    content = (tmp_path / "grid.pdf").read_bytes()
    assert content.startswith(b"%PDF") and b"/FontFile2" in content and b"/Type3" not in content
    assert [path.name for path in tmp_path.iterdir()] == ["grid.pdf"]
    (tmp_path / "file").touch()
    with pytest.raises(BenchError, match="--root"):
        draw_gallery([row()], ["WinCLIP", "AdaCLIP"], tmp_path / "file" / "grid.png", "--root")


def test_the_demo_draws_what_has_masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[GalleryRow] = []
    monkeypatch.setenv("ZSAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        bench.demo.demo,
        "stand_in_folders",
        lambda root: stand_in_folders(root, keys=("headct", "mpdd", "isic"), scale="tiny"),
    )
    monkeypatch.setattr(bench.demo.demo, "demo_requests", lambda: [MethodRequest("clip", "mini")])
    monkeypatch.setattr(bench.demo.demo, "draw_gallery", lambda rows, *_: drawn.extend(rows))
    demo = bench.demo.demo.Demo(tmp_path)
    mini.install(demo.weights)
    demo.draw_gallery(Machine(), tmp_path / "gallery.png")
    assert [each.title for each in drawn] == ["MPDD", "ISIC"]
    for each in drawn:
        assert each.mask.any() and len(each.maps) == 1 and each.maps[0].std() > 0
