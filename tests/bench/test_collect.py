"""Images through a method: what a method may answer, and what happens where memory runs out."""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.run.execute import Outcome, execute
from bench.run.machine import Machine
from bench.run.plan import Plan
from bench.store.cells import CellStore
from methods.base import Prediction
from methods.registry import find

Answer = Callable[[Tensor], Prediction]


def answer(images: Tensor) -> Prediction:
    """Scores and maps that follow from each image alone, and a further score of the opposite order."""
    maps = images.mean(dim=1)
    scores = maps.amax(dim=(1, 2))
    return Prediction(scores, maps, {"darkest": -maps.amin(dim=(1, 2)), "opposite": -scores})


@pytest.fixture
def run(
    plan_for: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Outcome, dict[str, dict[str, Any]]]]:
    """Return a function that runs a method answering with the given function; gives outcome and cells."""

    def run(given: Answer, batch_size: int = 8, **settings: Any) -> tuple[Outcome, dict[str, dict[str, Any]]]:
        monkeypatch.setattr(find("chance"), "forward", lambda self, images, prompts: given(images))
        store = CellStore(Path(tempfile.mkdtemp(dir=tmp_path)))
        outcome = execute(plan_for("chance", force=True, **settings), store, Machine(batch_size=batch_size))
        return outcome, {cell["class"]: cell for cell in store}

    return run


Run = Callable[..., tuple[Outcome, dict[str, dict[str, Any]]]]


@pytest.mark.parametrize("largest", [1, 2, 5])
def test_a_batch_that_does_not_fit_is_halved(run: Run, largest: int) -> None:
    sizes: list[int] = []

    def small(images: Tensor) -> Prediction:
        sizes.append(len(images))
        if len(images) > largest:
            raise torch.cuda.OutOfMemoryError
        return answer(images)

    _, whole = run(answer)
    outcome, halved = run(small)
    assert not outcome.failed
    assert max(sizes) == 8
    looked_at = 4  # two images together and alone, before the first class
    assert sum(size for size in sizes if size <= largest) == 16 + looked_at
    for name, cell in whole.items():
        for part in ("scores", "metrics", "also", "details"):
            assert halved[name][part] == cell[part], part
    assert all(set(row["also"]) == {"darkest", "opposite"} for row in halved["bolt"]["scores"])
    assert len({row["also"]["darkest"] for row in halved["bolt"]["scores"]}) > 1


def test_one_image_that_does_not_fit_fails_with_advice(run: Run) -> None:
    def never(images: Tensor) -> Prediction:
        raise torch.cuda.OutOfMemoryError

    outcome, cells = run(never)
    assert not cells
    assert [("--device cpu" in reason) for _, reason in outcome.failed] == [True, True]


def test_a_wrong_shape_is_noticed_in_every_batch(run: Run) -> None:
    outcome, _ = run(lambda images: answer(images)._replace(scores=torch.zeros(min(len(images), 2))))
    assert all("the contract asks for (8,) and (8, 224, 224)" in reason for _, reason in outcome.failed)


@pytest.mark.parametrize("level", ["scores", "maps"])
def test_a_method_that_looks_at_its_batch_is_refused(run: Run, level: str) -> None:
    def batchwise(images: Tensor) -> Prediction:
        right = answer(images)
        values = getattr(right, level)
        return right._replace(**{level: values - values.mean(dim=0, keepdim=True)})

    outcome, cells = run(batchwise)
    assert not cells
    assert len(outcome.failed) == 2
    assert all(f"one by one ({level} move" in reason for _, reason in outcome.failed)


def test_it_is_refused_also_where_the_first_class_cannot_be_read(run: Run, data: Path) -> None:
    for path in (data / "bolt" / "test").rglob("*.png"):
        path.write_bytes(b"no picture")

    def batchwise(images: Tensor) -> Prediction:
        right = answer(images)
        return right._replace(scores=right.scores - right.scores.mean())

    outcome, cells = run(batchwise)
    assert not cells
    reasons = {cell.class_key: reason for cell, reason in outcome.failed}
    assert "000.png" in reasons["bolt"] and "one by one (scores move" in reasons["gear"]


def test_every_image_comes_with_its_objects_name(
    plan_for: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: set[tuple[int, tuple[str, ...]]] = set()

    def forward(self: object, images: Tensor, prompts: list[str]) -> Prediction:
        told.add((len(images), tuple(prompts)))
        return answer(images)

    monkeypatch.setattr(find("chance"), "forward", forward)
    execute(plan_for("chance", force=True), CellStore(tmp_path / "runs"), Machine(batch_size=8))
    assert {(8, ("bolt",) * 8), (8, ("gear",) * 8)} <= told


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("level", ["scores", "maps"])
def test_an_answer_that_is_no_number_fails_and_names_the_image(run: Run, level: str, value: float) -> None:
    def broken(images: Tensor) -> Prediction:
        right = answer(images)
        getattr(right, level)[images.amax(dim=(1, 2, 3)).argmax()] = value
        return right

    outcome, cells = run(broken)
    assert not cells
    assert all("answered NaN or infinity for bolt/test/" in reason for _, reason in outcome.failed[:1])


def test_double_precision_is_refused_not_rounded(run: Run) -> None:
    outcome, _ = run(lambda images: answer(images)._replace(scores=answer(images).scores.double()))
    assert all("scores in float64; the contract asks for float32" in reason for _, reason in outcome.failed)


def test_a_method_that_exits_fails_its_classes_only(run: Run) -> None:
    outcome, _ = run(lambda images: sys.exit("out of here"))
    assert [reason for _, reason in outcome.failed] == ["SystemExit: out of here"] * 2


@pytest.mark.parametrize(
    "wrong",
    [
        lambda right: right._replace(scores=right.scores[:, None]),
        lambda right: right._replace(scores=right.scores[:-1]),
        lambda right: right._replace(scores=right.scores.mean()),
        lambda right: right._replace(maps=right.maps[:, None]),
        lambda right: right._replace(maps=right.maps[:-1]),
        lambda right: right._replace(maps=right.maps[:, :-1]),
        lambda right: right._replace(maps=right.maps[:, :, 1:]),
        lambda right: right._replace(maps=right.maps[:, ::2, ::2]),
    ],
)
def test_an_answer_of_another_shape_fails_its_class(
    run: Run, wrong: Callable[[Prediction], Prediction]
) -> None:
    outcome, cells = run(lambda images: wrong(answer(images)))
    assert not cells
    assert len(outcome.failed) == 2
    assert all("the contract asks for (2,) and (2, 224, 224)" in reason for _, reason in outcome.failed)


def test_further_scores_get_image_metrics_of_their_own(run: Run) -> None:
    _, cells = run(answer)
    for cell in cells.values():
        assert set(cell["also"]) == {"darkest", "opposite"}
        main, opposite = cell["metrics"], cell["also"]["opposite"]
        assert set(opposite) == {"image_auroc", "image_ap", "image_f1max"}
        assert main["image_auroc"] == 1.0, "the defects are the brightest of all"
        assert opposite["image_auroc"] == 0.0
        assert cell["also"]["darkest"]["image_auroc"] not in (0.0, 1.0)
        for row in cell["scores"]:
            assert row["also"]["opposite"] == -row["score"]


def test_without_further_scores_nothing_is_said_of_them(run: Run) -> None:
    _, cells = run(lambda images: answer(images)._replace(also={}))
    assert all(cell["also"] == {} and "also" not in cell["scores"][0] for cell in cells.values())


@pytest.mark.parametrize(
    ("settings", "label"),
    [
        ({}, None),
        ({"precision": "bfloat16"}, None),  # told apart in the table, by the settings
        ({"masks": "native"}, "native masks"),
        ({"mask_threshold": 127}, "masks > 127"),
        ({"metrics_mode": "streaming"}, "streaming"),
        ({"aupro_flavour": "torch_cpu"}, "torch_cpu"),
        ({"overrides": {"seed": "1"}, "mask_threshold": 1}, "seed=1,masks > 1"),
    ],
)
def test_unusual_settings_name_the_column(run: Run, settings: dict[str, Any], label: str | None) -> None:
    _, cells = run(answer, **settings)
    assert {cell["preset"] for cell in cells.values()} == {label}


def test_the_mask_threshold_reaches_the_masks(run: Run, data: Path) -> None:
    _, cells = run(answer)
    _, strict = run(answer, mask_threshold=255)
    assert cells["bolt"]["details"]["pixel_anomalous"] > 0
    assert strict["bolt"]["details"]["pixel_anomalous"] == 0
