"""Training of a method that keeps something of its source, whether or not it learns besides."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from bench.demo.untrained import write_untrained
from bench.run.execute import execute
from bench.run.features import FeatureCache
from bench.run.library import Library
from bench.run.machine import Machine
from bench.run.protocol import MethodRequest, parse_methods
from bench.store.cells import CellStore
from bench.store.digests import sha256
from bench.store.trained import read_trained
from bench.study.job import TrainJob, differences, make_job
from bench.study.train import TrainListener, train
from datasets.meta import open_dataset
from methods import states
from tests.bench.conftest import make_mvtec_layout


@pytest.fixture
def library(tmp_path: Path) -> Library:
    root = tmp_path / "weights"
    write_untrained(MethodRequest("mrad", "mini"), ["something"], root)
    shutil.rmtree(root / "mrad")
    return Library(root, sha256)


JobMaker = Callable[[str], TrainJob]


@pytest.fixture
def job_for(library: Library, data: Path) -> JobMaker:
    def job(variant: str) -> TrainJob:
        (request,) = parse_methods(["mrad:mini"], {"variant": variant})
        return make_job(request, [open_dataset(data)], 111, library)

    return job


class Stopped(Exception):  # noqa: N818
    pass


class Watch(TrainListener):
    """Notes what happens, and ends the training in the middle of an epoch."""

    def __init__(self, stop_in: int = 99) -> None:
        self.stop_in, self.begun, self.seen = stop_in, [], 0

    def remembered(self, images: int, of: int) -> None:
        assert of == 16
        self.seen += images

    def epoch(self, number: int, epochs: int, images: int) -> None:
        self.begun.append(number)

    def batch(self, images: int, loss: float) -> None:
        if self.begun[-1] == self.stop_in:
            raise Stopped


def _kept(path: Path) -> dict[str, torch.Tensor]:
    return {name: each for name, each in load_file(path).items() if name.startswith("bank.")}


def test_a_method_that_only_remembers_is_written_with_an_empty_curve(job_for: JobMaker) -> None:
    job, watch = job_for("tf"), Watch()
    out = train(job, Machine(), sha256, watch)
    record = read_trained(out)
    assert record is not None and record.loss == [] and record.recipe["stages"] == []
    assert len(record.images) == 16 and watch.seen == 16 and watch.begun == []
    bank = load_file(out)
    assert bank.keys() == _kept(out).keys()
    assert bank["bank.image_labels"].tolist() == [0] * 4 + [1] * 4 + [0] * 4 + [1] * 4
    assert len(bank["bank.patch_keys"]) > 16
    assert not list(out.parent.glob("*.progress"))
    assert differences(job, sha256) == []
    # Written without chance: again the same file, whatever the machine's threads.
    content = out.read_bytes()
    out.unlink()
    assert train(job, Machine(workers=0), sha256).read_bytes() == content


@pytest.mark.parametrize(
    ("variant", "stop_in", "stages"), [("ft", 1, [1]), ("clip", 2, [1, 5]), ("clip", 4, [1, 5])]
)
def test_interrupted_training_ends_with_the_same_bits(
    variant: str, stop_in: int, stages: list[int], job_for: JobMaker
) -> None:
    job = job_for(variant)
    straight = load_file(train(job, Machine(), sha256))
    record = read_trained(job.out)
    assert record is not None and [stage["epochs"] for stage in record.recipe["stages"]] == stages
    assert len(record.loss) == sum(stages)
    bank = {name for name in straight if name.startswith("bank.")}
    assert len(bank) == 4 and len(straight) > 4
    job.out.unlink()
    with pytest.raises(Stopped):
        train(job, Machine(), sha256, Watch(stop_in))
    resumed = Watch()
    again = load_file(train(job, Machine(workers=0), sha256, resumed))
    assert resumed.begun[0] == stop_in
    assert resumed.seen == (16 if stop_in == 1 else 0)  # what was kept comes from the saved state
    assert straight.keys() == again.keys()
    for name, tensor in straight.items():
        assert torch.equal(tensor, again[name]), name


def test_every_epochs_file_can_be_scored_with(job_for: JobMaker) -> None:
    job = job_for("clip")
    out = train(job, Machine(), sha256)
    epochs = sorted(out.parent.glob("*.epochs/*.safetensors"))
    assert len(epochs) == 6
    for path in epochs:
        model = job.request.detector.load({**job.files, "learned": path}, **job.options)
        assert len(model.kept()["bank.image_keys"]) == 16


def test_features_are_shared_by_the_variants_and_by_looking_and_training(
    job_for: JobMaker, tmp_path: Path
) -> None:
    cache = FeatureCache(tmp_path / "features", 10**9)
    banks = [_kept(train(job_for(variant), Machine(cache=cache), sha256)) for variant in ("tf", "ft", "clip")]
    assert len(list((tmp_path / "features").rglob("*.safetensors"))) == 16
    assert len(list((tmp_path / "features").iterdir())) == 1
    for name, each in banks[0].items():
        assert all(torch.equal(each, other[name]) for other in banks[1:]), name


@pytest.mark.parametrize("variant", ["tf", "clip"])
def test_what_was_remembered_is_refused_under_any_name(
    variant: str, job_for: JobMaker, plan_for: Any, data: Path, tmp_path: Path
) -> None:
    train(job_for(variant), Machine(), sha256)
    (tmp_path / "runs").mkdir()
    key = open_dataset(data).key

    def refusals(folder: Path) -> list[str]:
        plan = plan_for("mrad:mini", folder=folder, source=key, overrides={"variant": variant})
        return [refusal.reason for refusal in plan.refused]

    assert f"includes {key}" in refusals(data)[0]
    copy = Path(shutil.copytree(data, tmp_path / "renamed"))
    assert "100% of these very images" in refusals(copy)[0]
    other = make_mvtec_layout(tmp_path / "others", ("plate",), seed=1)
    plan = plan_for("mrad:mini", folder=other, source=key, overrides={"variant": variant})
    assert not plan.refused
    store = CellStore(tmp_path / "runs")
    execute(plan, store, Machine())
    (cell,) = store
    assert cell["config"]["options"]["variant"] == variant


def test_a_file_without_its_bank_is_no_file(job_for: JobMaker) -> None:
    job = job_for("tf")
    out = train(job, Machine(), sha256)
    with safe_open(out, framework="pt") as file:
        assert json.loads(file.metadata()["zsad-bench"])["method"] == "mrad"
    whole = load_file(out)
    states.write({name: each for name, each in whole.items() if name != "bank.patch_labels"}, out)
    with pytest.raises(ValueError, match="1 names are missing"):
        job.request.detector.load({**job.files, "learned": out}, **job.options)
