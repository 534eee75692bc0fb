"""What makes a cell, kept features or a training another one: every field, one by one."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import metrics
from bench.demo.untrained import write_untrained
from bench.run.features import FeatureCache, features_key
from bench.run.library import Library
from bench.run.machine import Machine
from bench.run.plan import Plan, Settings
from bench.run.planner import make_plan
from bench.run.protocol import MethodRequest, parse_methods
from bench.store.cells import CellStore
from bench.store.digests import sha256
from bench.study.job import TrainJob, make_job
from bench.study.train import TrainListener, train
from datasets.meta import open_dataset
from methods.base import Features, Prediction, ZeroShotDetector
from methods.registry import find

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("weights")
    write_untrained(MethodRequest("vand", "mini"), ["something"], root)
    return root


# ---- cells

OTHER_SETTINGS = {
    "precision": "bfloat16",
    "masks": "native",
    "mask_threshold": 127,
    "metrics_mode": "streaming",
    "aupro_flavour": "numpy2",
    "limit": 3,
}


def keys(plan: Plan) -> list[str]:
    assert not plan.refused
    return [task.cell.key for task in plan.tasks]


def all_differ(plan: Plan, other: Plan) -> bool:
    return not set(keys(plan)) & set(keys(other)) and len(keys(plan)) == len(keys(other)) > 0


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Settings)])
def test_every_setting_is_in_the_cells_key(plan_for: Callable[..., Plan], field: str) -> None:
    assert all_differ(plan_for("chance"), plan_for("chance", **{field: OTHER_SETTINGS[field]}))


def test_options_are_in_the_cells_key(plan_for: Callable[..., Plan]) -> None:
    assert all_differ(plan_for("chance"), plan_for("chance", overrides={"seed": "1"}))


def test_the_versions_are_in_the_cells_key(
    plan_for: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = plan_for("chance")
    monkeypatch.setattr(find("chance"), "version", find("chance").version + 1)
    of_method = plan_for("chance")
    assert all_differ(before, of_method)
    monkeypatch.setattr(metrics, "VERSION", metrics.VERSION + 1)
    assert all_differ(of_method, plan_for("chance"))


@pytest.fixture
def plan_with(weights: Path, data: Path, tmp_path: Path) -> Callable[..., Plan]:
    """Return a planner of one method with weights, for which the class names and digests can be given."""

    def plan(digest: Callable[[Path], str] = sha256, prompts: dict[str, str] | None = None) -> Plan:
        folder = open_dataset(data)
        classes = tuple(
            dataclasses.replace(each, prompt=(prompts or {}).get(each.key, each.prompt))
            for each in folder.classes
        )
        return make_plan(
            parse_methods(["vand:mini"], {}),
            [dataclasses.replace(folder, classes=classes)],
            CellStore(tmp_path / "runs"),
            weights_root=weights,
            digest=digest,
        )

    return plan


def test_the_prompt_is_in_its_own_classes_key(plan_with: Callable[..., Plan]) -> None:
    before, after = keys(plan_with()), keys(plan_with(prompts={"gear": "cog"}))
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, False]


def test_every_weight_file_is_in_the_cells_key(plan_with: Callable[..., Plan]) -> None:
    plan = plan_with()
    files = plan.tasks[0].spec.files
    assert set(files) == {"vision", "learned"}
    for file in files.values():

        def digest(path: Path, changed: Path = file) -> str:
            return "f" * 64 if path == changed else sha256(path)

        assert all_differ(plan, plan_with(digest))


def test_the_data_are_in_their_own_classes_key(plan_with: Callable[..., Plan], data: Path) -> None:
    before = keys(plan_with())
    for file in ("bolt/test/good/000.png", "bolt/ground_truth/spot/000_mask.png"):
        changed = data / file
        pixels = Image.open(changed)
        pixels.putpixel((0, 0), 255 if "mask" in file else (1, 2, 3))
        pixels.save(changed)
        after = keys(plan_with())
        assert [old == new for old, new in zip(before, after, strict=True)] == [False, True]
        before = after


def test_method_source_dataset_and_class_are_in_the_cells_key(plan_for: Callable[..., Plan]) -> None:
    (cell, *_) = (task.cell for task in plan_for("chance").tasks)
    others = [
        dataclasses.replace(cell, **{field: "another"})
        for field in ("method", "source", "dataset", "class_key")
    ]
    assert len({cell.key, *(other.key for other in others)}) == 5


def test_batch_size_folder_and_device_are_in_no_key(plan_for: Callable[..., Plan], tmp_path: Path) -> None:
    (cell, *_) = (task.cell for task in plan_for("chance").tasks)
    assert not {"device", "batch_size", "workers"} & set(cell.config)
    assert str(tmp_path) not in repr(cell.config)


# ---- kept features


class Frozen(ZeroShotDetector):
    """Encodes with two of its three options."""

    title = "Frozen"
    defaults = {"image_size": 8, "layers": (1, 2), "sigma": 4.0}
    encoder_options = ("image_size", "layers")

    def encode(self, images: torch.Tensor) -> Features:
        return {"mean": images.mean(dim=1)}

    def score(self, features: Features, prompts: Any) -> Prediction:
        return Prediction(features["mean"].amax(dim=(1, 2)), features["mean"])


class Thawed(Frozen):
    """Has the same options, and may compute anything."""

    title = "Thawed"


def key(
    method: type[ZeroShotDetector] = Frozen, precision: str = "float32", device: str = "cpu", **changes: Any
) -> str:
    model = method(**changes.pop("options", {}))
    model.version = changes.pop("version", 1)  # type: ignore[misc]
    model.encoder_precision = precision
    weights = {"clip": "ab", "text": "cd", **changes}
    found = features_key(model, "frozen", weights, torch.device(device))
    assert found is not None
    return found


def test_whatever_changes_features_changes_their_key() -> None:
    others = [
        key(method=Thawed),
        key(version=2),
        key(options={"image_size": 9}),
        key(options={"layers": (1, 3)}),
        key(clip="other"),
        key(text="other"),
        key(vision="one more"),
        key(precision="bfloat16"),
        key(device="cuda"),
    ]
    assert len({key(), *others}) == 1 + len(others)


def test_what_changes_no_feature_does_not_change_their_key() -> None:
    assert key(learned="any") == key()
    assert key(options={"sigma": 0.0}) == key()
    assert key(device="cuda:1") == key(device="cuda:0")
    assert key(text="cd", clip="ab") == key()


def test_features_that_depend_on_what_is_learned_have_no_key() -> None:
    class Prompted(Frozen):
        encoder_options = None

    assert features_key(Prompted(), "prompted", {}, CPU) is None


def test_a_full_cache_keeps_to_its_limit_in_bytes(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, limit=120)
    assert cache.write("key", "aa", {"x": torch.zeros(10), "y": torch.zeros(20)}), "120 bytes fit exactly"
    assert cache.used == 120
    assert not cache.write("key", "bb", {"x": torch.zeros(1)})
    assert cache.has("key", "aa")
    assert not cache.has("key", "bb")
    assert not cache.has("other", "aa")


# ---- a training that goes on


class StopError(Exception):
    pass


class Stop(TrainListener):
    """Notes the epoch that begins first; ends the training as the epoch after `last` begins."""

    def __init__(self, last: int) -> None:
        self.last, self.first = last, 0

    def epoch(self, number: int, *rest: Any) -> None:
        self.first = self.first or number
        if number > self.last:
            raise StopError


@pytest.fixture
def begun(weights: Path, data: Path) -> TrainJob:
    """Return a training that was ended after its first epoch."""
    job = make_job(MethodRequest("vand", "mini"), [open_dataset(data)], 111, Library(weights, sha256))
    for left in job.out.parent.glob(f"{job.out.name}*.progress"):
        left.unlink()
    with pytest.raises(StopError):
        train(job, Machine(workers=0), sha256, Stop(1))
    return job


def first_epoch(job: TrainJob, digest: Callable[[Path], str] = sha256) -> int:
    listener = Stop(0)
    with pytest.raises(StopError):
        train(job, Machine(workers=0), digest, listener)
    return listener.first


def test_a_training_goes_on_only_as_the_same_one(begun: TrainJob, monkeypatch: pytest.MonkeyPatch) -> None:
    assert first_epoch(begun) == 2
    changed = {
        "frozen weights": dataclasses.replace(begun, digests={**begun.digests, "vision": "f" * 64}),
        "options": dataclasses.replace(begun, options={**begun.options, "temperature": 0.02}),
        "source": dataclasses.replace(begun, source=dataclasses.replace(begun.source, seed=112)),
    }
    for what, job in changed.items():
        assert first_epoch(job) == 1, what

    def digest(path: Path) -> str:
        return "f" * 64 if path.name == "000_mask.png" else sha256(path)

    assert first_epoch(begun, digest) == 1, "data"
    detector = begun.request.detector
    with monkeypatch.context() as patch:
        patch.setattr(detector, "version", detector.version + 1)
        assert first_epoch(begun) == 1, "version"
    with monkeypatch.context() as patch:
        learned = detector.learned
        patch.setattr(detector, "learned", lambda model: dict(reversed(learned(model).items())))
        assert first_epoch(begun) == 1, "order of what is learned"
    for field, value in (("learning_rate", 0.5), ("weight_decay", 0.5), ("betas", (0.1, 0.2))):
        with monkeypatch.context() as patch:
            (stage,) = detector.recipe.stages
            recipe = dataclasses.replace(
                detector.recipe, stages=(dataclasses.replace(stage, **{field: value}),)
            )
            patch.setattr(detector, "recipe", recipe)
            assert first_epoch(begun) == 1, field
    assert first_epoch(begun) == 2, "and none of these was lost or saved"
