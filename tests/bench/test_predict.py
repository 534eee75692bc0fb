"""Pictures of one's own: how they are read, what is written, what is never overwritten."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bench.cli import main
from bench.errors import BenchError
from bench.predict import Answer, LoadedMethod, as_rgb, load_method
from bench.run.execute import execute
from bench.run.machine import Machine
from bench.run.threshold import threshold_from
from bench.store.cells import CellId, CellStore
from methods.backbones import mini
from methods.base import Prediction, ZeroShotDetector
from tests.bench.conftest import make_mvtec_layout


class Mean(ZeroShotDetector):
    """The mean brightness is the score."""

    title = "Mean"
    defaults = {"image_size": 8}

    def forward(self, images: torch.Tensor, prompts: Sequence[str]) -> Prediction:
        maps = images.mean(dim=1)
        if maps.shape[0] > 1 and (maps.amax(dim=(1, 2)) > 0.99).any():
            raise RuntimeError("white spoils its batch")
        maps = torch.where(maps.amax(dim=(1, 2), keepdim=True) == 0, torch.nan, maps)
        return Prediction(maps.mean(dim=(1, 2)), maps, {"largest": maps.amax(dim=(1, 2))})


class OfSet(Mean):
    """A score relative to the set."""

    transductive = True

    def forward(self, images: torch.Tensor, prompts: Sequence[str]) -> Prediction:
        if len(images) < 2:
            raise ValueError("a set of 1 image: at least 2 are needed")
        maps = images.mean(dim=1) - images.mean()
        return Prediction(maps.mean(dim=(1, 2)), maps)


class OfClass(Mean):
    class_normalised = True


def loaded(kind: type[ZeroShotDetector]) -> LoadedMethod:
    return LoadedMethod(kind(), torch.device("cpu"), untrained=False)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Return a function that runs `predict` with the method Mean (or another) in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZSAD_CACHE", str(tmp_path / "cache"))

    def predict(*words: object, kind: type[ZeroShotDetector] = Mean) -> int:
        def load(*_: Any, **__: Any) -> LoadedMethod:
            return LoadedMethod(
                kind(), torch.device("cpu"), untrained=False, identity={"method": kind.__name__}
            )

        monkeypatch.setattr("bench.cli.predict.load_request", load)
        return main(["predict", "--method", "chance", *map(str, words)])

    return predict


def grey(path: Path, level: int, size: tuple[int, int] = (20, 10)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level, level, level)).save(path)
    return path


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "scores.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_depth_is_read_by_its_rule() -> None:
    deep = np.full((4, 6), 100 * 256 + 255, np.uint16)
    for picture in (
        np.full((4, 6), 100, np.uint8),
        np.full((4, 6, 1), 100, np.uint8),
        np.dstack([np.full((4, 6, 3), 100, np.uint8), np.zeros((4, 6), np.uint8)]),
        deep,
        deep.byteswap().view(deep.dtype.newbyteorder()),
        np.full((4, 6, 3), 100 / 255, np.float32),
        np.full((4, 6), 100 / 255, np.float64),
        Image.fromarray(deep),
        Image.fromarray(deep.astype(np.int32)),
        Image.new("F", (6, 4), 100 / 255),
        Image.new("L", (6, 4), 100),
        Image.new("RGBA", (6, 4), (100, 100, 100, 0)),
        Image.new("RGB", (6, 4), (100, 100, 100)).quantize(4),
    ):
        image = as_rgb(picture)
        assert (image.mode, image.size) == ("RGB", (6, 4))
        assert image.getcolors() == [(24, (100, 100, 100))]
    assert as_rgb(np.array([[True, False]])).getcolors() == [(1, (255, 255, 255)), (1, (0, 0, 0))]
    colours = np.array([[[1, 2, 3, 4]]], np.uint8)
    assert as_rgb(colours).getpixel((0, 0)) == (1, 2, 3)


@pytest.mark.parametrize(
    ("picture", "said"),
    [
        (np.full((4, 4), 1.5), "scale it to 0..1"),
        (np.full((4, 4), -0.1), "scale it to 0..1"),
        (np.array([[0.5, np.nan]]), "scale it to 0..1"),
        (np.zeros((4, 4), np.int64), "no known scale"),
        (np.zeros((3, 4, 5), np.uint8), "channels last"),
        (np.zeros((0, 4), np.uint8), "shape"),
        (np.zeros(4, np.uint8), "shape"),
        (Image.fromarray(np.full((2, 2), 70_000, np.int32)), "no known scale"),
    ],
)
def test_a_picture_without_a_scale_is_refused(picture: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        as_rgb(picture)


def test_files_and_opened_pictures_are_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x112] = 6
    stored = Image.new("RGB", (20, 10))
    stored.paste((200, 0, 0), (0, 0, 10, 10))
    stored.save(tmp_path / "turned.png", exif=exif)
    for picture in (tmp_path / "turned.png", Image.open(tmp_path / "turned.png")):
        image = as_rgb(picture)
        assert image.size == (10, 20)
        assert (image.getpixel((5, 2)), image.getpixel((5, 17))) == ((200, 0, 0), (0, 0, 0))
    assert loaded(Mean)(str(tmp_path / "turned.png"), "nut").image.size == (10, 20)


def test_an_answer_holds_no_picture_of_a_file_and_shows_itself(tmp_path: Path) -> None:
    answer = loaded(Mean)(grey(tmp_path / "a.png", 100, (300, 200)), "nut")
    assert answer.picture == tmp_path / "a.png"
    assert answer.score == pytest.approx(100 / 255, abs=1e-6)
    assert answer.also == {"largest": pytest.approx(100 / 255, abs=1e-6)}
    assert answer._repr_png_().startswith(b"\x89PNG")
    assert answer.overlay().size == (300, 200)


def test_side_by_side_outlines_what_reaches_the_contour() -> None:
    amap = np.zeros((8, 8), np.float32)
    amap[2:5, 2:5] = 1
    picture = Image.new("RGB", (400, 400), (90, 90, 90))
    answer = Answer(picture, "nut", 1.0, amap)
    shown = np.asarray(answer.side_by_side())
    left = shown[:, :400]
    changed = (left != 90).any(axis=2)
    assert 0 < changed.mean() < 0.05  # a line, not a tint
    assert not changed[175, 175]  # inside the region
    found = np.argwhere(changed)
    assert found.min() > 60 and found.max() < 290
    heat = shown[:, -400:].astype(int).sum(axis=2)
    assert heat[175, 175] > 600
    assert heat[390, 390] < 100
    assert (np.asarray(answer.side_by_side(contour=2.0))[:, :400] == 90).all()
    assert answer.side_by_side(0, 10).getpixel((400 + 8 + 175, 175)) != (*shown[175, 400 + 8 + 175],)
    large = Answer(Image.new("RGB", (3000, 1500)), "nut", 1.0, amap).side_by_side()
    assert large.height == 512


def test_stream_gives_failures_away_and_goes_on(tmp_path: Path) -> None:
    paths = [grey(tmp_path / f"{level}.png", level) for level in (10, 255, 20, 0, 30)]
    (tmp_path / "torn.png").write_bytes(paths[0].read_bytes()[:40])
    paths.insert(1, tmp_path / "torn.png")
    failed: dict[str, str] = {}
    answers = loaded(Mean).stream(
        [(path, "nut") for path in paths],
        3,
        lambda path, error: failed.update({Path(str(path)).stem: str(error)}),
    )
    scores = {Path(str(answer.picture)).stem: answer.score for answer in answers}
    assert scores == {str(n): pytest.approx(n / 255, abs=1e-6) for n in (10, 255, 20, 30)}
    assert failed.keys() == {"torn", "0"}
    assert "not finite" in failed["0"] and "torn.png" in failed["torn"]
    with pytest.raises(ValueError, match=r"torn\.png"):
        loaded(Mean).many(paths, "nut")


def test_stream_holds_one_batch_of_pictures(tmp_path: Path) -> None:
    path = grey(tmp_path / "a.png", 10)
    taken = 0

    def endless() -> Any:
        nonlocal taken
        while True:
            taken += 1
            yield path, "nut"

    stream = loaded(Mean).stream(endless(), 4)
    for _ in range(9):
        next(stream)
    assert taken < 25


def test_a_transductive_method_judges_the_pictures_of_a_name_together(tmp_path: Path) -> None:
    dark, light, other = (grey(tmp_path / f"{level}.png", level) for level in (51, 153, 204))
    named = [(dark, "nut"), (other, "bolt"), (light, "nut"), (light, "bolt")]
    answers = list(loaded(OfSet).stream(named, batch_size=1))
    assert [(answer.name, answer.picture) for answer in answers] == [
        *(("nut", dark), ("nut", light)),
        *(("bolt", other), ("bolt", light)),
    ]
    assert [answer.score for answer in answers] == pytest.approx([-0.2, 0.2, 0.1, -0.1], abs=1e-6)
    with pytest.raises(ValueError, match="at least 2 are needed"):
        loaded(OfSet)(dark, "nut")


def test_a_set_too_small_is_said_once_and_another_set_is_another_call(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for level in (51, 153, 204):
        grey(tmp_path / f"p/{level}.png", level)
    assert run("p", "--classes", "p/204.png=bolt", kind=OfSet) == 1
    error = capsys.readouterr().err
    assert error.count("at least 2 are needed") == 1 and "as one set" in error
    assert len(rows(tmp_path / "predictions")) == 2
    assert run("p/51.png", "p/204.png", kind=OfSet) == 2
    assert "other pictures" in capsys.readouterr().err


def test_a_class_normalised_method_has_raw_quantities_only(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = grey(tmp_path / "a.png", 51)
    answer = loaded(OfClass)(path, "nut")
    assert answer.score is None and answer.also["largest"] == pytest.approx(0.2)
    assert run("a.png", kind=OfClass) == 0
    assert "loose pictures have none" in capsys.readouterr().err
    (row,) = rows(tmp_path / "predictions")
    assert row["score"] == "" and float(row["largest"]) == pytest.approx(0.2)
    assert run("a.png", "--threshold", 1, "--force", kind=OfClass) == 2


def test_predict_writes_a_row_a_map_and_a_picture_each(run: Callable[..., int], tmp_path: Path) -> None:
    grey(tmp_path / "p/a.jpg", 102)
    grey(tmp_path / "p/a.png", 51)
    grey(tmp_path / "p/a_2.png", 153)
    grey(tmp_path / "p/sub/A.png", 204)
    assert run("p", "p/a.png", "--threshold", 0.5, "--batch-size", 3) == 0
    found = {row["image"]: row for row in rows(tmp_path / "predictions")}
    assert {name: (float(row["score"]), row["verdict"]) for name, row in found.items()} == {
        "p/a.jpg": (pytest.approx(0.4), "normal"),
        "p/a.png": (pytest.approx(0.2), "normal"),
        "p/a_2.png": (pytest.approx(0.6), "anomalous"),
        "p/sub/A.png": (pytest.approx(0.8), "anomalous"),
    }
    stems = [row["files"] for row in found.values()]
    assert len({stem.casefold() for stem in stems}) == 4
    for row in found.values():
        amap = np.asarray(Image.open(tmp_path / "predictions" / f"{row['files']}_map.tiff"))
        assert amap.dtype == np.float32 and float(amap.mean()) == pytest.approx(float(row["score"]))
        assert Image.open(tmp_path / "predictions" / f"{row['files']}_overlay.png").height == 10


def test_the_same_call_goes_on_and_another_one_is_refused(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grey(tmp_path / "p/a.png", 51)
    out = tmp_path / "p/predictions"
    assert run("p", "--out", "p/predictions") == 0
    before = {path: path.stat().st_mtime_ns for path in out.iterdir() if path.suffix in (".tiff", ".csv")}
    assert run("p", "--out", "p/predictions") == 0
    assert "1 of 1 pictures have their answers here" in capsys.readouterr().err
    assert before == {path: path.stat().st_mtime_ns for path in before}
    grey(tmp_path / "p/b.png", 102)
    with (out / "scores.csv").open("a") as file:
        file.write("p/b.png,half a r")  # killed while writing
    assert run("p", "--out", "p/predictions") == 0
    assert [row["image"] for row in rows(out)] == ["p/a.png", "p/b.png"]
    grey(tmp_path / "p/b.png", 204)  # another picture of the same name
    assert run("p", "--out", "p/predictions") == 0
    assert [float(row["score"]) for row in rows(out)] == pytest.approx([0.2, 0.4, 0.8], abs=1e-3)
    assert rows(out)[2]["files"] == "b_2"
    capsys.readouterr()
    assert run("p", "--out", "p/predictions", "--threshold", 0.3) == 2
    assert "other threshold" in capsys.readouterr().err
    assert len(rows(out)) == 3
    assert run("p", "--out", "p/predictions", "--threshold", 0.3, "--force") == 0
    assert [row["verdict"] for row in rows(out)] == ["normal", "anomalous"]


def test_files_that_are_there_get_company_not_replaced(run: Callable[..., int], tmp_path: Path) -> None:
    grey(tmp_path / "a.png", 51)
    mine = grey(tmp_path / "out/a_overlay.png", 7)
    kept = mine.read_bytes()
    assert run("a.png", "--out", "out") == 0
    assert mine.read_bytes() == kept
    assert rows(tmp_path / "out")[0]["files"] == "a_2"
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/scores.csv").write_text("mine\n")
    assert run("a.png", "--out", "foreign") == 2
    assert (tmp_path / "foreign/scores.csv").read_text() == "mine\n"


def test_bad_pictures_are_named_and_the_others_done(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for level in (10, 0, 30):
        grey(tmp_path / f"p/{level}.png", level)
    (tmp_path / "p/torn.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "p/line\nbreak.png").write_bytes(b"nothing")
    grey(tmp_path / "p/name\udcff.png", 40)
    assert run("p") == 1
    error = capsys.readouterr().err
    assert "torn.jpg" in error and "0.png" in error and "line\\nbreak.png" in error
    assert "3 of 6 pictures have no answer" in error
    assert [row["image"] for row in rows(tmp_path / "predictions")] == [
        *("p/10.png", "p/30.png", "p/name\\udcff.png"),
    ]


def test_hidden_files_and_earlier_predictions_are_no_pictures(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grey(tmp_path / "p/a.png", 51)
    (tmp_path / "p/._a.png").write_bytes(b"\0\5\x16\7")
    grey(tmp_path / "p/.ipynb_checkpoints/a-checkpoint.png", 51)
    grey(tmp_path / "p/__MACOSX/a.png", 51)
    (tmp_path / "p/a.heic").write_bytes(b"?")
    assert run("p", "--out", "p/one") == 0
    assert "1 files that are no pictures" in capsys.readouterr().err
    assert run("p", "--out", "p/two") == 0
    assert len(rows(tmp_path / "p/one")) == len(rows(tmp_path / "p/two")) == 1
    assert run("p", "--out", "p") == 2
    assert run("p/one") == 2


def test_names_by_folder_and_by_list(run: Callable[..., int], tmp_path: Path) -> None:
    for name in ("a/1.png", "a/deep/2.png", "b/3.png", "4.png"):
        grey(tmp_path / "p" / name, 51)
    words = ("--classes", "metal nut", "--classes", "p/a=bottle", "--classes", "p/a/deep/2.png=cap")
    assert run("p", *words) == 0
    assert {row["image"]: row["object"] for row in rows(tmp_path / "predictions")} == {
        "p/4.png": "metal nut",
        "p/a/1.png": "bottle",
        "p/a/deep/2.png": "cap",
        "p/b/3.png": "metal nut",
    }
    (tmp_path / "p/list.csv").write_text(
        "\ufeffimage,object\na/1.png,bottle\nb/3.png,cable\n", encoding="utf-8"
    )
    assert run("--classes", "p/list.csv", "--out", "listed") == 0
    assert {row["image"]: row["object"] for row in rows(tmp_path / "listed")} == {
        "p/a/1.png": "bottle",
        "p/b/3.png": "cable",
    }
    (tmp_path / "p/list.csv").write_text("a/1.png,bottle\ngone.png,cable\n")
    assert run("--classes", "p/list.csv", "--out", "gone") == 1
    assert len(rows(tmp_path / "gone")) == 1


BAD = [
    (("--batch-size", "0", "a.png"), "--batch-size 0: must be at least 1"),
    (("--classes", " ", "a.png"), "write a name"),
    (("--classes", "a.png= ", "a.png"), "write a name"),
    (("--classes", "nowhere=nut", "a.png"), "nowhere"),
    (("--classes", "nowhere.csv", "a.png"), "nowhere.csv"),
    ((), "name pictures or folders"),
    (("nowhere.jpg",), "nowhere.jpg"),
    (("--at", "f1max", "a.png"), "--threshold-from"),
    (("--threshold", "nan", "a.png"), "must be a number"),
    (("--threshold-from", "nowhere", "mvtec", "a.png"), "nowhere"),
    (("--threshold-from", ".", "mvtec", "a.png"), "no finished cell of 'mvtec'"),
]


@pytest.mark.parametrize(("words", "said"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_a_bad_call_gets_one_line_and_writes_nothing(
    run: Callable[..., int],
    tmp_path: Path,
    words: tuple[str, ...],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    grey(tmp_path / "a.png", 51)
    assert run(*words) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "predictions").exists()


def cell(scores: Sequence[tuple[int, float]], name: str = "nut", **changes: Any) -> dict[str, Any]:
    config = {
        "options": {"image_size": 8},
        "method_version": 1,
        "weights": {},
        "precision": "float32",
        **changes.pop("config", {}),
    }
    identity = CellId(changes.pop("method", "mean"), changes.pop("source", None), "parts", name, config)
    return {
        "key": identity.key,
        "method": identity.method,
        "source": identity.source,
        "dataset": "parts",
        "dataset_title": "Parts",
        "class": name,
        "config": config,
        "marks": [],
        "scores": [{"image": str(n), "label": label, "score": s} for n, (label, s) in enumerate(scores)],
    }


IDENTITY = {
    "method": "mean",
    "method_version": 1,
    "source": None,
    "options": {"image_size": 8},
    "weights": {},
}
SCORES = [(0, 0.125), (0, 0.25), (0, 0.375), (0, 0.75), (1, 0.5), (1, 0.875), (1, 0.9375)]


def test_threshold_at_f1max_and_at_a_false_positive_rate() -> None:
    found = threshold_from([cell(SCORES)], IDENTITY, "parts/nut", "f1max")
    assert found.value == 0.5  # 3 of 3 found, one false alarm: F1 6/7
    assert (found.verdict(0.5), found.verdict(0.4999)) == ("anomalous", "normal")
    assert [found.share_below(score) for score in (0.0, 0.25, 0.26, 1.0)] == [0, 0.25, 0.5, 1]
    for rate, wrong in ((0, 0), (0.24, 0), (0.25, 1), (0.5, 2), (0.99, 3)):
        found = threshold_from([cell(SCORES)], IDENTITY, "Parts", f"fpr={rate}")
        assert sum(found.verdict(score) == "anomalous" for label, score in SCORES if not label) == wrong
    pooled = threshold_from([cell(SCORES), cell([(0, 0.8125), (1, 0.9)], "bolt")], IDENTITY, "parts", "fpr=0")
    assert 0.8125 < pooled.value < 0.8126
    assert "2 classes pooled: 5 normal, 4 anomalous" in pooled.said


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (cell(SCORES, method="median"), "there is median"),
        (cell(SCORES, source="visa"), "add --source visa"),
        (cell(SCORES, config={"options": {"image_size": 9}}), "image_size=9"),
        (cell(SCORES, config={"options": {}}), "--set"),
        (cell(SCORES, config={"method_version": 2}), "another version"),
        (cell(SCORES, config={"weights": {"vision": "ab"}}), "other weights files"),
        (cell(SCORES, config={"precision": "float16"}), "float16"),
        (cell(SCORES, "bolt"), "no finished cell of 'parts/nut'"),
        (cell([(1, 0.5)]), "no normal images"),
        (cell([(0, 0.5)]), "--at fpr="),
        ({**cell(SCORES), "key": "0" * 10}, "edited"),
    ],
)
def test_only_cells_of_the_very_same_method_give_a_threshold(other: dict[str, Any], said: str) -> None:
    with pytest.raises(BenchError, match=said.replace("+", r"\+")):
        threshold_from([other], IDENTITY, "parts/nut", "f1max")


def test_two_states_of_a_class_and_unknown_rates_are_refused() -> None:
    other = cell([(0, 0.5), (1, 0.6)], config={"prompt": "other"})
    with pytest.raises(BenchError, match="two cells of parts/nut"):
        threshold_from([cell(SCORES), other], IDENTITY, "parts", "f1max")
    for at in ("fpr=1", "fpr=x", "0.1", "fpr=-0.1", "fpr=nan", "auroc"):
        with pytest.raises(BenchError, match="use f1max, or fpr=X"):
            threshold_from([cell(SCORES)], IDENTITY, "parts", at)


def test_a_threshold_from_a_run_holds_for_the_run_s_own_images(
    plan_for: Any,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZSAD_CACHE", str(tmp_path / "cache"))
    mini.install(tmp_path / "weights")
    execute(plan_for("clip:mini"), CellStore(tmp_path / "runs"), Machine())
    (stored,) = (found for found in CellStore(tmp_path / "runs") if found["class"] == "bolt")
    words = (
        "--method",
        "clip:mini",
        "--classes",
        "bolt",
        "--threshold-from",
        ".",
        "parts/bolt",
        "--at",
        "fpr=0.25",
    )
    assert main(["predict", *words, str(data / "bolt/test")]) == 0
    assert "fpr=0.25 of parts/bolt: 4 normal, 4 anomalous" in capsys.readouterr().err
    predicted = {
        Path(row["image"]).relative_to(data).as_posix(): row for row in rows(tmp_path / "predictions")
    }
    for row in stored["scores"]:
        mine = predicted[row["image"]]
        assert float(mine["score"]) == pytest.approx(row["score"], abs=1e-5)
    normal = [row for name, row in predicted.items() if "/good/" in name]
    assert sorted(float(row["normals_below"]) for row in normal)[0] == 0
    assert sum(row["verdict"] == "anomalous" for row in normal) <= 1


def test_the_oracle_cannot_be_asked(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="truth"):
        load_method("oracle", weights_root=tmp_path, device="cpu")


def test_make_mvtec_layout_pictures_are_found_once(run: Callable[..., int], tmp_path: Path) -> None:
    pictures = make_mvtec_layout(tmp_path / "own", ("bolt",)) / "bolt" / "test"
    assert run(pictures, pictures / "good" / "000.png", "--out", "out") == 0
    assert len(rows(tmp_path / "out")) == 8
