"""Methods whose answers need the whole class: judged together in bounded memory, or finished at its end."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.demo.trial import try_method
from bench.results import frame, read
from bench.run.execute import execute
from bench.run.features import FeatureCache
from bench.run.machine import Machine
from bench.run.plan import Plan
from bench.run.protocol import MethodRequest
from bench.show import build, render
from bench.store.cells import CellStore
from methods import registry
from methods.base import Prediction, ZeroShotDetector, joined
from methods.image_set import ImageSet


class Odd(ZeroShotDetector):
    """How far an image is from the mean of all of them."""

    title = "Odd one out"
    defaults = {"image_size": 28}
    encoder_options = ("image_size",)
    transductive = True

    def encode(self, images: Tensor) -> dict[str, Tensor]:
        return {"grey": images.mean(dim=1), "unused": images}

    def judge(self, images: ImageSet, prompt: str) -> Iterator[Prediction]:
        order = sorted(range(len(images)), key=lambda index: images.digests[index])
        total = torch.stack([images.features([index], ["grey"])["grey"][0] for index in order]).mean(dim=0)
        for start in range(0, len(images), 3):
            some = range(start, min(start + 3, len(images)))
            maps = (images.features(some, ["grey"])["grey"] - total).abs()
            yield Prediction(maps.mean(dim=(1, 2)), maps)


class Peak(ZeroShotDetector):
    """The brightest pixel, scaled over the class."""

    title = "Peak"
    defaults = {"image_size": 28}
    class_normalised = True

    def forward(self, images: Tensor, prompts: Sequence[str]) -> Prediction:
        maps = images.mean(dim=1)
        peak = maps.amax(dim=(1, 2))
        return Prediction(torch.zeros(len(images)), maps, {"peak": peak})

    def finish(self, also: Mapping[str, Tensor]) -> Tensor:
        peak = also["peak"]
        return (peak - peak.min()) / (peak.max() - peak.min())


class Grey(ZeroShotDetector):
    """The grey value, in two steps."""

    title = "Grey"
    defaults = {"image_size": 28}
    encoder_options = ("image_size",)

    def encode(self, images: Tensor) -> dict[str, Tensor]:
        return {"grey": images.mean(dim=1)}

    def score(self, features: dict[str, Tensor], prompts: Sequence[str]) -> Prediction:
        return Prediction(features["grey"].float().amax(dim=(1, 2)), features["grey"].float())


Runner = Callable[..., dict[str, dict[str, Any]]]


@pytest.fixture
def run(plan_for: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    def run(
        method: type[ZeroShotDetector], machine: Machine, name: str = "runs"
    ) -> dict[str, dict[str, Any]]:
        monkeypatch.setattr(MethodRequest, "detector", method)
        store = CellStore(tmp_path / "runs")
        outcome = execute(plan_for("chance", force=True), store, machine)
        assert not outcome.failed, outcome.failed
        return {cell["class"]: cell for cell in store}

    return run


def scores(cells: Mapping[str, Mapping[str, Any]]) -> list[float]:
    return [row["score"] for name in sorted(cells) for row in cells[name]["scores"]]


def test_the_answer_depends_on_no_batch_and_no_budget(run: Runner, tmp_path: Path) -> None:
    cells = run(Odd, Machine(batch_size=8))
    whole = scores(cells)
    assert len(set(whole)) > 8
    assert cells["bolt"]["setting"] == "transductive"
    assert cells["bolt"]["timing"]["encode_s"] >= 0
    assert cells["bolt"]["metrics"]["pixel_auroc"] is not None
    cache = FeatureCache(tmp_path / "features", 10**9)
    for machine in (
        Machine(batch_size=1, workers=0),
        Machine(batch_size=3),
        Machine(memory=2 * 4 * 28 * 28 * 4 * 3),  # three images in memory, the others on disk
        Machine(memory=0),
        Machine(cache=cache),
        Machine(cache=cache),
    ):
        assert scores(run(Odd, machine)) == pytest.approx(whole, abs=1e-6)
    assert len(list((tmp_path / "features").rglob("*.safetensors"))) == 16


def test_whoever_watches_hears_of_encoding(run: Runner) -> None:
    heard: list[str] = []
    run(Odd, Machine(batch_size=3, note=heard.append))
    assert heard[:3] == [f"encoding, {count} of 8 images" for count in (0, 3, 6)]


def test_kept_features_are_of_one_precision_and_change_no_metric(
    plan_for: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MethodRequest, "detector", Grey)
    cache = FeatureCache(tmp_path / "features", 10**9)
    for number, machine in enumerate((Machine(), Machine(cache=cache), Machine(cache=cache))):
        for masks in ("resized", "native"):
            store = CellStore(tmp_path / f"{number}")
            assert not execute(plan_for("chance", force=True, masks=masks), store, machine).failed
    metrics = [
        sorted(str(cell["metrics"]) for cell in CellStore(tmp_path / f"{number}")) for number in range(3)
    ]
    assert metrics[0] == metrics[1] == metrics[2]
    assert len(set(metrics[0])) == 4, "masks at their own size are another measurement"
    execute(
        plan_for("chance", force=True, precision="bfloat16"),
        CellStore(tmp_path / "half"),
        Machine(cache=cache),
    )
    assert len(list((tmp_path / "features").iterdir())) == 2


def test_a_few_loose_images_are_one_set() -> None:
    images = torch.rand(5, 3, 28, 28)
    answer = Odd()(images, ["a"] * 5)
    torch.testing.assert_close(
        answer.scores, (images.mean(1) - images.mean(1).mean(0)).abs().mean(dim=(1, 2))
    )
    turned = Odd()(images.flip(0), ["a"] * 5)
    torch.testing.assert_close(turned.maps.flip(0), answer.maps)


class First(Odd):
    """Depends on which image is given first."""

    def judge(self, images: ImageSet, prompt: str) -> Iterator[Prediction]:
        maps = images.features(range(len(images)))["grey"]
        yield Prediction(maps.mean(dim=(1, 2)), maps - maps[0])


class Hasty(Odd):
    """Leaves out images where memory is short."""

    def judge(self, images: ImageSet, prompt: str) -> Iterator[Prediction]:
        for answer in super().judge(images, prompt):
            yield answer if images.budget else answer._replace(maps=answer.maps + 1)


class Jumpy(Odd):
    """Whose second picture's score rests on a rounding."""

    def judge(self, images: ImageSet, prompt: str) -> Iterator[Prediction]:
        whole = joined(list(super().judge(images, prompt)))
        jump = torch.tensor([float(index == 1) for index in range(len(images))])
        yield whole._replace(scores=whole.scores + (jump if images.budget else 0))

    def unsettled(self, images: ImageSet) -> list[int]:
        return [1, len(images) - 2]


@pytest.mark.parametrize(
    ("method", "failed"),
    [
        (Odd, set()),
        (First, {"order of images", "order of images encoded by 1"}),
        (Hasty, {"with 0 bytes of memory"}),
        (Jumpy, set()),
    ],
)
def test_try_asks_the_whole_set(
    method: type[ZeroShotDetector], failed: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MethodRequest, "detector", method)
    findings = {each.what: each for each in try_method(MethodRequest("chance"), tmp_path)}
    assert {what for what, each in findings.items() if each.ok is False} == failed
    assert "batch of 1 as batch of all" not in findings
    assert findings["encoded by 1 as all at once"].ok
    if method is Jumpy:
        assert findings["image scores not compared"].found.endswith("those of 2, 7")


def test_a_judge_must_answer_for_every_image(
    run: Runner, monkeypatch: pytest.MonkeyPatch, plan_for: Callable[..., Plan], tmp_path: Path
) -> None:
    full = Odd.judge

    def judge(self: Odd, images: ImageSet, prompt: str) -> Iterator[Prediction]:
        *parts, last = full(self, images, prompt)
        yield from parts
        yield Prediction(last.scores[:1], last.maps[:1])

    monkeypatch.setattr(Odd, "judge", judge)
    monkeypatch.setattr(MethodRequest, "detector", Odd)
    outcome = execute(plan_for("chance", force=True), CellStore(tmp_path / "runs"), Machine())
    assert "Odd.judge left 1 images without an answer" in outcome.failed[0][1]


def test_scores_are_finished_over_the_class(run: Runner) -> None:
    cells = run(Peak, Machine(batch_size=3))
    for cell in cells.values():
        assert cell["setting"] == "class-normalised"
        final = [row["score"] for row in cell["scores"]]
        peaks = [row["also"]["peak"] for row in cell["scores"]]
        assert min(final) == 0.0
        assert max(final) == 1.0
        assert final.index(1.0) == peaks.index(max(peaks))
        assert cell["metrics"]["image_auroc"] == cell["also"]["peak"]["image_auroc"]


def test_a_trial_asks_for_the_scores_of_the_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MethodRequest, "detector", Peak)
    found = {each.what: each for each in try_method(MethodRequest("peak"), tmp_path)}
    assert found["scores range"].found == "0 to 1"
    assert found["batch of 1 as batch of all"].ok and found["order of images"].ok
    # Who scales over the batch instead of the class is found out.
    monkeypatch.setattr(Peak, "forward", _over_the_batch)
    found = {each.what: each for each in try_method(MethodRequest("peak"), tmp_path)}
    assert found["batch of 1 as batch of all"].ok is False


def _over_the_batch(self: Peak, images: Tensor, prompts: Sequence[str]) -> Prediction:
    maps = images.mean(dim=1)
    peak = maps.amax(dim=(1, 2)) - maps.max()
    return Prediction(peak, maps, {"peak": peak})


def test_cells_say_at_birth_what_tables_need(
    run: Runner, plan_for: Callable[..., Plan], tmp_path: Path
) -> None:
    cells = run(registry.find("chance"), Machine())
    for cell in cells.values():
        assert cell["setting"] == "inductive"
        assert cell["protocol_source"] is True
        assert cell["target"] == cell["dataset"]
    # A cell of an earlier version lacks them: it is completed without being computed again.
    (path,) = (tmp_path / "runs").rglob("bolt.*.json")
    old = json.loads(path.read_text())
    whole = dict(old)
    for name in ("setting", "protocol_source", "target"):
        del old[name]
    path.write_text(json.dumps(old))
    plan = plan_for("chance")
    assert not plan.tasks
    assert json.loads(path.read_text()) == old, "a plan writes nothing"
    execute(plan, CellStore(tmp_path / "runs"), Machine())
    assert json.loads(path.read_text()) == whole


def test_a_class_that_is_gone_leaves_the_table_and_comes_back(
    run: Runner, plan_for: Callable[..., Plan], data: Path, tmp_path: Path
) -> None:
    run(registry.find("chance"), Machine())
    store = CellStore(tmp_path / "runs")
    shutil.move(data / "gear", tmp_path / "gear")
    execute(plan_for("chance"), store, Machine())
    assert {cell["class"]: cell.get("gone", False) for cell in store} == {"bolt": False, "gear": True}
    table = build(read(store), "per-class")
    left_out = f"gone from the dataset since it was measured: {next(iter(store))['dataset']}/gear"
    assert left_out in render(table)
    assert set(frame(tmp_path)["class"]) == {"bolt"}
    shutil.move(tmp_path / "gear", data / "gear")
    plan = plan_for("chance")
    assert not plan.tasks
    execute(plan, store, Machine())
    assert set(frame(tmp_path)["class"]) == {"bolt", "gear"}


def test_parts_join_with_their_further_scores() -> None:
    parts = [Prediction(torch.ones(n), torch.ones(n, 2, 2), {"x": torch.arange(float(n))}) for n in (1, 2)]
    whole = joined(parts)
    assert whole.maps.shape == (3, 2, 2)
    assert whole.also["x"].tolist() == [0.0, 0.0, 1.0]
