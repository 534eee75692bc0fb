"""Training: by the recipe, resumable to the bit, from kept features, and remembered by what it saw."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from bench.demo.untrained import write_untrained
from bench.errors import BenchError
from bench.run.execute import execute
from bench.run.features import FeatureCache
from bench.run.library import Library
from bench.run.machine import Machine
from bench.run.plan import Permissions, Settings
from bench.run.protocol import MethodRequest, parse_methods
from bench.store.cells import CellStore
from bench.store.digests import sha256
from bench.store.trained import read_trained
from bench.study.cross import plan_cross
from bench.study.job import TrainJob, make_job
from bench.study.train import TrainListener, train
from datasets.meta import open_dataset
from methods.learning import Milestones
from methods.registry import find
from tests.bench.conftest import make_mvtec_layout

METHODS = ("tipsomaly", "vand", "anomalyclip", "adaclip", "crane", "vcpclip", "faprompt", "visualad", "cops")


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of small untrained encoders, made once."""
    root = tmp_path_factory.mktemp("weights")
    for method in METHODS:
        write_untrained(MethodRequest(method, "mini"), ["something"], root)
    return root


@pytest.fixture
def weights(frozen: Path, tmp_path: Path) -> Path:
    """Return a copy of the small encoders that a test may train into."""
    return Path(shutil.copytree(frozen, tmp_path / "weights"))


JobMaker = Callable[..., TrainJob]


@pytest.fixture
def job_for(weights: Path, data: Path) -> JobMaker:
    def job(method: str, *, seed: int = 111, source: Path = data) -> TrainJob:
        return make_job(MethodRequest(method, "mini"), [open_dataset(source)], seed, Library(weights, sha256))

    return job


class StoppedError(Exception):
    pass


class StopAfter(TrainListener):
    """Ends the training, as a kill would, in the middle of an epoch."""

    def __init__(self, epoch: int) -> None:
        self.last, self.epochs_begun, self.losses = epoch, 0, []

    def epoch(self, number: int, epochs: int, images: int) -> None:
        self.epochs_begun = number

    def batch(self, images: int, loss: float) -> None:
        self.losses.append(loss)
        if self.epochs_begun > self.last:
            raise StoppedError


@pytest.mark.parametrize("method", METHODS)
def test_training_lowers_the_loss_and_ends_with_the_same_bits_if_it_is_interrupted(
    method: str, job_for: JobMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = find(method).recipe
    assert recipe is not None
    short = tuple(replace(stage, epochs=3, batch_size=4) for stage in recipe.stages)
    monkeypatch.setattr(find(method), "recipe", replace(recipe, stages=short))
    job = job_for(method, source=make_mvtec_layout(tmp_path / "few", count=2))
    whole = StopAfter(99)
    straight = load_file(train(job, Machine(), sha256, whole))
    record = read_trained(job.out)
    assert record is not None
    assert len(record.loss) == job.epochs >= 3
    assert record.loss[-1]["total"] < record.loss[0]["total"]
    assert record.source == f"{job.folders[0].key}~111"
    assert len(record.images) == 8
    assert record.untrained_backbone
    assert [stage["epochs"] for stage in record.recipe["stages"]] == [job.epochs]
    job.out.unlink()
    with pytest.raises(StoppedError):
        train(job, Machine(), sha256, StopAfter(1))
    assert not job.out.exists()
    resumed = StopAfter(99)
    again = load_file(train(job, Machine(workers=0), sha256, resumed))
    assert straight.keys() == again.keys()
    for name, tensor in straight.items():
        assert torch.equal(tensor, again[name]), name
    assert len(resumed.losses) == len(whole.losses) * (job.epochs - 1) / job.epochs, "it began anew"


@pytest.fixture
def two_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give AA-CLIP two short stages, the second with a rate that falls after its first epoch."""
    method = find("aaclip")
    assert method.recipe is not None
    text, image = (replace(stage, epochs=2, batch_size=4) for stage in method.recipe.stages)
    stages = (text, replace(image, schedule=Milestones((5,), 0.1)))
    monkeypatch.setattr(method, "recipe", replace(method.recipe, stages=stages))


@pytest.mark.usefixtures("two_stages")
def test_training_in_stages_goes_on_wherever_it_stopped(job_for: JobMaker, weights: Path) -> None:
    write_untrained(MethodRequest("aaclip", "mini"), ["something"], weights)
    job = job_for("aaclip")
    whole = StopAfter(99)
    straight = load_file(train(job, Machine(), sha256, whole))
    kept = sorted((job.out.parent / f"{job.out.stem}.epochs").iterdir())
    assert [path.name for path in kept] == [f"epoch_{number}.safetensors" for number in (1, 2, 3, 4)]
    (first, second), last = (load_file(path) for path in kept[:2]), load_file(kept[3])
    for name, tensor in straight.items():
        assert torch.equal(last[name], tensor)
        # The image tower waits for the texts, and the texts stay as they became.
        assert torch.equal(first[name], second[name]) == name.startswith("image_adapter.")
        assert torch.equal(second[name], last[name]) == name.startswith("text_adapter.")
    for stopped in (1, 2, 3):
        job.out.unlink()
        with pytest.raises(StoppedError):
            train(job, Machine(), sha256, StopAfter(stopped))
        resumed = StopAfter(99)
        again = load_file(train(job, Machine(workers=0), sha256, resumed))
        assert all(torch.equal(tensor, again[name]) for name, tensor in straight.items()), stopped
        assert len(resumed.losses) == len(whole.losses) * (4 - stopped) / 4


def test_what_others_must_train_is_not_trained_here(weights: Path, data: Path) -> None:
    write_untrained(MethodRequest("aaclip", "mini"), ["something"], weights)
    request = MethodRequest("aaclip", "mini", {"official": True})
    job = make_job(request, [open_dataset(data)], 111, Library(weights, sha256))
    with pytest.raises(ValueError, match="train without `official`"):
        train(job, Machine(), sha256)
    assert not job.out.parent.exists()


def test_another_seed_gives_other_weights(job_for: JobMaker) -> None:
    one, other = (load_file(train(job_for("tipsomaly", seed=seed), Machine(), sha256)) for seed in (1, 2))
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_kept_features_change_nothing_and_spare_the_encoder(job_for: JobMaker, tmp_path: Path) -> None:
    job = job_for("tipsomaly")
    plain = load_file(train(job, Machine(), sha256))
    cache = FeatureCache(tmp_path / "features", 10**9)
    for _ in range(2):
        job.out.unlink()
        kept = load_file(train(job, Machine(cache=cache), sha256))
        for name, tensor in plain.items():
            torch.testing.assert_close(tensor, kept[name], atol=2e-5, rtol=0)
    assert len(list((tmp_path / "features").rglob("*.safetensors"))) == 16


def test_a_full_cache_is_no_obstacle(job_for: JobMaker, tmp_path: Path) -> None:
    job = job_for("tipsomaly")
    cache = FeatureCache(tmp_path / "features", limit=100_000)
    train(job, Machine(cache=cache), sha256)
    assert cache.used <= 100_000
    assert sum(path.stat().st_size for path in (tmp_path / "features").rglob("*")) < 200_000


def test_a_feature_file_torn_while_it_is_needed_stops_nothing(job_for: JobMaker, tmp_path: Path) -> None:
    job = job_for("tipsomaly")
    cache = FeatureCache(tmp_path / "features", 10**9)
    whole = load_file(train(job, Machine(cache=cache), sha256))
    for path in (tmp_path / "features").rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:100])
    job.out.unlink()
    again = load_file(train(job, Machine(cache=cache), sha256))
    for name, tensor in whole.items():
        torch.testing.assert_close(tensor, again[name], atol=2e-5, rtol=0)


def test_a_cache_that_cannot_be_written_costs_only_itself(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    cache = FeatureCache(tmp_path / "file" / "features", 10**6)
    assert not cache.has("key", "ab" * 32)
    assert cache.read("key", "ab" * 32) is None
    with pytest.warns(UserWarning, match="features are not kept: cannot write"):
        assert not cache.write("key", "ab" * 32, {"x": torch.ones(3)})
    assert not cache.write("key", "ab" * 32, {"x": torch.ones(3)})


def test_a_torn_feature_file_is_computed_anew(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, 10**6)
    cache.write("key", "ab" * 32, {"x": torch.ones(3)})
    (path,) = tmp_path.rglob("*.safetensors")
    path.write_bytes(path.read_bytes()[:20])
    assert cache.read("key", "ab" * 32) is None
    assert not path.exists()


def test_a_source_without_masks_is_refused(job_for: JobMaker, tmp_path: Path) -> None:
    bare = make_mvtec_layout(tmp_path / "bare")
    shutil.rmtree(bare / "bolt" / "ground_truth")
    with pytest.raises(BenchError, match=r"bare-\w+/bolt has none"):
        job_for("vand", source=bare)


def test_what_was_trained_on_is_refused_under_any_name(
    job_for: JobMaker, plan_for: Any, data: Path, tmp_path: Path
) -> None:
    train(job_for("tipsomaly"), Machine(), sha256)
    (tmp_path / "runs").mkdir()

    def refusals(folder: Path, **more: Any) -> list[str]:
        plan = plan_for("tipsomaly:mini", folder=folder, source=open_dataset(data).key, **more)
        return [refusal.reason for refusal in plan.refused]

    assert f"includes {open_dataset(data).key}" in refusals(data)[0]
    copy = Path(shutil.copytree(data, tmp_path / "renamed"))
    assert "100% of these very images" in refusals(copy)[0]
    shutil.rmtree(copy / "gear")
    assert "100% of these very images" in refusals(copy)[0], "a subset too"
    allowed = plan_for(
        "tipsomaly:mini", folder=copy, source=open_dataset(data).key, allow=Permissions(seen=True)
    )
    assert {mark for task in allowed.tasks for mark in task.marks} == {"seen", "untrained"}


def test_a_partial_overlap_is_measured_and_marked(
    job_for: JobMaker, plan_for: Any, data: Path, tmp_path: Path
) -> None:
    train(job_for("tipsomaly"), Machine(), sha256)
    other = make_mvtec_layout(tmp_path / "other", ("plate",), count=6, seed=1)
    for path in (other / "plate" / "test" / "good").iterdir():
        if path.name in {"000.png", "001.png"}:
            shutil.copy(data / "bolt" / "test" / "good" / path.name, path)
    plan = plan_for("tipsomaly:mini", folder=other, source=open_dataset(data).key)
    assert not plan.refused
    store = CellStore(tmp_path / "runs")
    execute(plan, store, Machine())
    (cell,) = store
    assert "overlap" in cell["marks"]
    assert cell["details"]["overlap_images"] == 2


def test_features_serve_several_prompt_sets(plan_for: Any, weights: Path, tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path / "features", 10**9)
    store = CellStore(tmp_path / "runs")
    for overrides in ({}, {"sigma": "0"}, {"local_evidence": "false"}):
        execute(plan_for("tipsomaly:mini", overrides=overrides), store, Machine(cache=cache))
    assert len(list((tmp_path / "features").rglob("*.safetensors"))) == 16
    kept = {cell["key"]: cell["metrics"] for cell in store}
    assert len(kept) == 6
    fresh = CellStore(tmp_path / "fresh")
    execute(plan_for("tipsomaly:mini", force=True), fresh, Machine())
    for cell in fresh:
        for name, value in cell["metrics"].items():
            assert kept[cell["key"]][name] == pytest.approx(value, abs=1e-3), name


def test_cross_trains_what_is_missing_and_marks_the_diagonal(
    weights: Path, data: Path, tmp_path: Path
) -> None:
    other = make_mvtec_layout(tmp_path / "others", ("plate",), seed=1)
    folders = [open_dataset(data), open_dataset(other)]
    library = Library(weights, sha256)
    study = plan_cross(parse_methods(["vand:mini"], {}), folders, folders, (), library)
    assert len(study.jobs) == len(study.missing) == 2
    for job in study.missing:
        train(job, Machine(), sha256)
    assert not study.missing
    store = CellStore(tmp_path / "runs")
    plan = study.evaluation(store, library, Settings())
    execute(plan, store, Machine())
    seen = {(cell["source"], cell["dataset"]): "seen" in cell["marks"] for cell in store}
    one, two = (folder.key for folder in folders)
    assert seen == {
        (f"{one}~111", one): True,
        (f"{one}~111", two): False,
        (f"{two}~111", one): False,
        (f"{two}~111", two): True,
    }
    assert len(study.evaluation(store, library, Settings()).tasks) == 0
