"""Every method on an imitated CUDA device, as a run, a training and a prediction take it.

What would fail on the first GPU fails here: a tensor left on the CPU, a wrong dtype under autocast, a NumPy
view of the device's memory. Nothing is left out but what `tests.imitated_cuda` names.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.demo.demo import demo_requests
from bench.demo.untrained import write_untrained
from bench.predict import load_method
from bench.run.execute import execute
from bench.run.features import FeatureCache
from bench.run.library import Library
from bench.run.machine import Machine, choose_device
from bench.run.plan import Settings
from bench.run.planner import make_plan
from bench.run.protocol import MethodRequest
from bench.store.cells import CellStore
from bench.store.digests import sha256
from bench.store.trained import read_trained
from bench.study.job import TrainJob, make_job
from bench.study.train import train
from datasets.meta import open_dataset
from datasets.samples import Folder
from methods.backbones import mini
from methods.maps import gaussian_smooth
from methods.registry import keys
from tests.bench.conftest import make_mvtec_layout
from tests.imitated_cuda import CUDA, ForAutograd, OnCuda, imitated_cuda

REQUESTS = demo_requests()
LEARNING = [each for each in REQUESTS if each.rules.recipe is not None]
NAMED = "cuda:0"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("weights")
    mini.install(root)
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Return one class of three normal and three anomalous pictures."""
    return open_dataset(make_mvtec_layout(tmp_path_factory.mktemp("data") / "parts", ("bolt",), count=3))


@pytest.fixture(autouse=True, scope="module")
def _possible() -> None:
    try:
        with imitated_cuda():
            assert torch.zeros(1).to(CUDA).new_tensor(1.0).is_cuda
    except (AttributeError, RuntimeError) as error:
        pytest.skip(f"this PyTorch cannot name a device that it has not: {error}")


def cells_of(
    requests: list[MethodRequest],
    folder: Folder,
    weights: Path,
    root: Path,
    machine: Machine,
    precision: str = "float32",
) -> list[dict[str, Any]]:
    """Return the cells of the requests in their order, all of them finished."""
    plan = make_plan(
        requests,
        [folder],
        CellStore(root),
        weights_root=weights,
        digest=sha256,
        settings=Settings(precision),
        device=machine.device.type,
    )
    assert not plan.refused
    outcome = execute(plan, CellStore(root), machine)
    traces = [path.read_text(encoding="utf-8") for path in root.rglob("*.failed.json")]
    assert not outcome.failed, "\n".join(traces).replace("\\n", "\n")
    return [cell for task in plan.tasks if (cell := CellStore(root).read(task.cell)) is not None]


def scores_of(cell: dict[str, Any]) -> np.ndarray:
    return np.array([row["score"] for row in cell["scores"]])


def moved(one: dict[str, Any], other: dict[str, Any]) -> float:
    """Return the largest difference of a score, as a share of the range."""
    return float(np.abs(scores_of(one) - scores_of(other)).max() / np.ptp(scores_of(other)))


def test_every_method_is_here() -> None:
    assert {each.key for each in REQUESTS} == set(keys())


@pytest.fixture(scope="module")
def exact(
    folder: Folder, weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[MethodRequest], dict[str, Any]]:
    """Return a function that gives a method's cell of the CPU, computed once."""
    root, known = tmp_path_factory.mktemp("cpu"), dict[str, dict[str, Any]]()

    def of(asked: MethodRequest) -> dict[str, Any]:
        if asked.word not in known:
            (known[asked.word],) = cells_of([asked], folder, weights, root, Machine())
        return known[asked.word]

    return of


@pytest.mark.parametrize(
    "precision",
    ["bfloat16", *(pytest.param(word, marks=pytest.mark.slow) for word in ("float32", "float16"))],
)
@pytest.mark.parametrize("asked", REQUESTS, ids=lambda each: each.word)
def test_a_run(
    asked: MethodRequest,
    precision: str,
    folder: Folder,
    weights: Path,
    tmp_path: Path,
    exact: Callable[[MethodRequest], dict[str, Any]],
) -> None:
    with imitated_cuda():
        machine = Machine(choose_device(NAMED), batch_size=4)
        (cell,) = cells_of([asked], folder, weights, tmp_path, machine, precision)
    assert cell["provenance"]["device"] == "an imitated GPU"
    assert cell["timing"]["peak_gpu_bytes"]
    least, most = (0, 1e-4) if precision == "float32" or not asked.preset else (1e-5, 0.2)
    assert least <= moved(cell, exact(asked)) <= most


@pytest.mark.slow
@pytest.mark.parametrize("asked", [each for each in REQUESTS if each.preset], ids=lambda each: each.word)
def test_a_run_of_every_preset(asked: MethodRequest, folder: Folder, tmp_path: Path) -> None:
    """What a preset changes beside the network, on the small network with untrained weights."""
    method, small = asked.detector, asked.detector.preset(asked.preset).options
    others = [method.preset(name).options for name in method.presets if name != asked.preset]
    changes = [{name: value for name, value in each.items() if name not in small} for each in others]
    several = [MethodRequest(asked.key, asked.preset, each) for each in changes if each]
    for each in several:
        write_untrained(each, [folder.target], tmp_path / "weights")
    if several:
        with imitated_cuda():
            machine = Machine(choose_device(NAMED), batch_size=4)
            cells_of(several, folder, tmp_path / "weights", tmp_path / "runs", machine, "bfloat16")


def test_a_pass_of_several_methods_with_kept_features_and_a_class_on_disk(
    folder: Folder, weights: Path, tmp_path: Path, exact: Callable[[MethodRequest], dict[str, Any]]
) -> None:
    several = [each for each in REQUESTS if each.key in ("musc", "vand", "winclip", "mrad", "adaclip")]
    for number in range(2):  # features are computed, then read
        with imitated_cuda():
            cache = FeatureCache(tmp_path / "features", 10**9)
            machine = Machine(choose_device(NAMED), batch_size=4, cache=cache, memory=1 << 20)
            cells = cells_of(several, folder, weights, tmp_path / f"cuda-{number}", machine)
        assert [cell["method"] for cell in cells] == [each.key for each in several]
        assert all(moved(cell, exact(each)) <= 1e-4 for cell, each in zip(cells, several, strict=True))
    assert cache.used > 0


@pytest.mark.parametrize("asked", LEARNING, ids=lambda each: each.word)
def test_a_training(
    asked: MethodRequest, folder: Folder, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two epochs a stage, each one step: the second has the first's gradients in it."""
    stages = TrainJob.stages.fget  # type: ignore[attr-defined]
    monkeypatch.setattr(TrainJob, "stages", property(lambda job: tuple((each, 2) for each, _ in stages(job))))
    losses = []
    for number in range(2):
        library = Library(tmp_path / str(number), sha256)
        mini.install(library.root)
        job = make_job(asked, [folder], 7, library)
        if number:
            with imitated_cuda(ForAutograd):
                out = train(job, Machine(choose_device(NAMED)), sha256)
        else:
            out = train(job, Machine(), sha256)
        record = read_trained(out)
        assert record is not None
        losses.append(record.loss)
    for on_cuda, exact in zip(*reversed(losses), strict=True):
        assert on_cuda == pytest.approx(exact, rel=1e-3)


@pytest.mark.parametrize("word", ["clip:mini", "musc:mini", "aaclip:mini"])
def test_a_prediction(word: str, folder: Folder, weights: Path) -> None:
    pictures = [sample.image for sample in folder.classes[0].samples]
    exact = load_method(word, weights_root=weights, device="cpu").many(pictures, "bolt")
    with imitated_cuda():
        answers = load_method(word, weights_root=weights, device=NAMED).many(pictures, "bolt")
    for answer, other in zip(answers, exact, strict=True):
        assert (answer.score is None) == (other.score is None)
        if answer.score is not None:
            assert answer.score == pytest.approx(other.score, rel=1e-3, abs=1e-4)
        assert np.abs(answer.map - other.map).max() <= 1e-3 * np.ptp(other.map) + 1e-5


# --- the imitation itself ------------------------------------------------------------------------------


def faults() -> Iterator[tuple[str, Any]]:
    """Yield what a GPU refuses: what it says, and a function of a tensor on it."""
    yield "same device", lambda tensor: tensor + torch.ones(3)
    yield "same device", lambda tensor: tensor @ torch.ones(3)
    yield "same device", lambda tensor: torch.cat([tensor, torch.ones(1)])
    yield "same device", lambda tensor: torch.stack([tensor.sum(), torch.tensor(1.0)])
    yield "same device", lambda tensor: torch.ones(3)[tensor.long()]
    yield "same device", lambda tensor: torch.ones(3).index_add_(0, tensor.long(), torch.ones(3))
    yield "to numpy", lambda tensor: tensor.numpy()
    yield "to numpy", np.asarray
    yield "generator", lambda tensor: torch.randn(3, generator=torch.Generator(), device=tensor.device)
    yield "copy blocking", lambda tensor: tensor.to("cpu", non_blocking=True)
    yield "dense CPU", lambda tensor: tensor.pin_memory()


@pytest.mark.parametrize(("said", "fault"), list(faults()))
def test_the_imitation_refuses_what_a_gpu_refuses(said: str, fault: Any) -> None:
    with imitated_cuda(), pytest.raises((RuntimeError, TypeError, AssertionError), match=said):
        fault(torch.zeros(3, device=NAMED))


def test_the_imitation_allows_what_a_gpu_allows() -> None:
    with imitated_cuda():
        tensor = torch.tensor([1.0, 2.0, 3.0], device=NAMED)
        assert isinstance(tensor, OnCuda) and tensor.device == CUDA and not tensor.cpu().is_cuda
        assert (tensor * torch.tensor(2.0)).tolist() == [2, 4, 6]
        assert tensor[torch.tensor([2, 0])].tolist() == [3, 1]
        tensor[1] = torch.inf
        assert tensor.tolist() == [1, torch.inf, 3]
        assert np.asarray(tensor.cpu()).sum() == torch.inf
        with torch.autocast("cuda", torch.bfloat16):
            assert (tensor[None] @ tensor[:, None]).dtype == torch.bfloat16
            assert tensor.softmax(0).dtype == torch.float32
        maps = torch.rand(2, 20, 20)
        smooth = gaussian_smooth(maps.to(NAMED), 2.0)
        assert smooth.is_cuda and torch.allclose(smooth.cpu(), gaussian_smooth(maps, 2.0), atol=1e-6)
    assert not torch.cuda.is_available() or torch.cuda.get_device_name() != "an imitated GPU"
