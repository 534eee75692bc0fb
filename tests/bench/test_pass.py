"""One pass over a class for all tasks on it: what is done once, what stays apart, and what memory allows."""

import dataclasses
import itertools
import pickle
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from bench.run import reading
from bench.run.execute import Listener, Worker, execute
from bench.run.features import FeatureCache
from bench.run.machine import Machine
from bench.run.plan import ModelSpec, Plan, Task
from bench.run.planner import make_plan
from bench.run.protocol import parse_methods
from bench.store.cells import CellStore
from bench.store.digests import sha256
from datasets.meta import open_dataset
from methods import registry
from methods.backbones import mini
from methods.base import ZeroShotDetector
from methods.pictures import NetworkInput
from methods.sharing import encoder_of
from methods.source import Source
from metrics import memory_estimate

OWN = '''
import torch
from methods.base import Prediction, ZeroShotDetector


class Grey(ZeroShotDetector):
    """The grey value."""

    title = "Grey {name}"
    defaults = {{"image_size": 28, "sign": 1.0}}
    presets = {{"negative": {{"sign": -1.0}}}}
    encoder_options = ("image_size",)
    {more}

    def encode(self, images):
        return {{"grey": images.mean(dim=1)}}

    def score(self, features, prompts):
        maps = self.options["sign"] * features["grey"]
        return Prediction(maps.amax(dim=(1, 2)), maps)
'''


@pytest.fixture(autouse=True)
def own_methods(tmp_path: Path) -> Iterator[Callable[[str, str], None]]:
    """Return a function that writes a method of one's own into a folder that is looked in."""
    folder = tmp_path / "own"
    folder.mkdir()

    def write(name: str, more: str = "") -> None:
        (folder / f"{name}.py").write_text(OWN.format(name=name, more=more.replace("\n", "\n    ")))
        registry._scan.cache_clear()
        registry.use_folders([folder])

    yield write
    registry.use_folders(None)
    registry._scan.cache_clear()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("weights")
    mini.install(root)
    return root


@pytest.fixture
def plan(data: Path, tmp_path: Path, weights: Path) -> Callable[..., Plan]:
    def plan(*methods: str) -> Plan:
        store = CellStore(tmp_path / "none")
        requests = parse_methods(methods, {})
        made = make_plan(requests, [open_dataset(data)], store, weights_root=weights, digest=sha256)
        assert not made.refused
        return made

    return plan


def content(root: Path) -> dict[str, dict[str, Any]]:
    """Return the cells without what tells of their making, by method, column and class."""
    return {
        f"{cell['method']}:{cell['preset']}/{cell['class']}": {
            name: value for name, value in cell.items() if name not in ("timing", "provenance")
        }
        for cell in CellStore(root)
    }


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count pictures decoded, inputs made and masks resized."""
    counts: Counter[str] = Counter()

    def count(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def counting(*arguments: Any, **named: Any) -> Any:
            counts[name] += 1
            return real(*arguments, **named)

        monkeypatch.setattr(owner, name, counting)

    for name in ("read_image", "read_truth", "resize_mask"):
        count(reading, name)
    count(NetworkInput, "resize")
    return counts


def test_a_picture_is_read_once_and_each_distinct_input_made_once(
    plan: Callable[..., Plan], tmp_path: Path, counted: Counter[str]
) -> None:
    made = plan("faprompt:mini", "anomalyclip:mini", "tipsomaly:mini", "chance")
    outcome = execute(made, CellStore(tmp_path / "runs"), Machine(batch_size=3))
    assert not outcome.failed
    # Two classes of eight images, two of them looked over before the first. CLIP's input, TIPS's, chance's.
    assert counted["read_image"] == 16 + 2
    assert counted["resize"] == 3 * (16 + 2)
    # Eight images have a mask, at 140 and at 224 pixels; the others need none made.
    assert counted["read_truth"] == 8
    assert counted["resize_mask"] == 2 * 8


def test_tasks_of_a_pass_get_the_cells_that_they_get_alone(
    plan: Callable[..., Plan], data: Path, tmp_path: Path
) -> None:
    for path in data.rglob("003*.png"):
        path.unlink()
    small = ("vand", "vcpclip", "anomalyclip", "faprompt", "tipsomaly", "musc", "aaclip")
    methods = (*(f"{method}:mini" for method in small), "chance", "oracle")
    assert not execute(plan(*methods), CellStore(tmp_path / "together"), Machine(batch_size=3)).failed
    for method in methods:
        assert not execute(plan(method), CellStore(tmp_path / "alone"), Machine(batch_size=3)).failed
    together, alone = content(tmp_path / "together"), content(tmp_path / "alone")
    assert len(together) == 2 * len(methods)
    assert together == alone


@pytest.mark.parametrize(
    ("methods", "encodings"),
    [
        (("grey", "grey:negative"), 1),
        (("vand:mini", "vcpclip:mini"), 1),
        (("anomalyclip:mini", "faprompt:mini"), 1),
        (("vcpclip:mini", "anomalyclip:mini"), 2),
        (("grey", "white"), 2),
    ],
)
def test_what_has_one_encoder_is_encoded_once(
    plan: Callable[..., Plan],
    own_methods: Callable[[str], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    methods: tuple[str, ...],
    encodings: int,
) -> None:
    own_methods("grey")
    own_methods("white")
    sizes = sizes_encoded(monkeypatch)
    assert not execute(plan(*methods), CellStore(tmp_path / "runs"), Machine()).failed
    assert sum(sizes) == encodings * (16 + 4)  # two looked over, together and each by itself


def sizes_encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the number of images of each encoding."""
    sizes: list[int] = []
    encoded = ZeroShotDetector.encoded

    def counting(self: ZeroShotDetector, images: Tensor) -> dict[str, Tensor]:
        sizes.append(len(images))
        return encoded(self, images)

    monkeypatch.setattr(ZeroShotDetector, "encoded", counting)
    return sizes


def test_sources_of_one_method_are_scored_on_one_encoding(
    data: Path, tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, folders, requests = (
        CellStore(tmp_path / "runs"),
        [open_dataset(data)],
        parse_methods(["anomalyclip:mini"], {}),
    )
    first, second = (
        make_plan(requests, folders, store, weights_root=weights, digest=sha256, source=Source.parse(source))
        for source in ("mvtec", "visa")
    )
    sizes = sizes_encoded(monkeypatch)
    both = dataclasses.replace(first, tasks=(*first.tasks, *second.tasks))
    assert len(execute(both, store, Machine()).finished) == 4
    assert sum(sizes) == 16 + 4


@pytest.mark.parametrize("pair", [("vand", "vcpclip"), ("anomalyclip", "faprompt")])
def test_methods_that_claim_one_encoder_have_the_same_features(pair: Sequence[str], weights: Path) -> None:
    images = torch.rand(2, 3, 140, 140, generator=torch.Generator().manual_seed(0))
    found = []
    for key in pair:
        detector = registry.find(key)
        options = detector.resolve(detector.preset("mini").options)
        files = {role: weights / file.name for role, file in detector.files(options, "mvtec~111").items()}
        files |= {
            role: weights / file.name
            for role, file in detector.files(options, f"mvtec~{detector.recipe.seed}").items()
        }
        model = detector.load(files, **options).eval().requires_grad_(False)
        found.append((encoder_of(model), model.encode(images)))
    (said, one), (other_said, other) = found
    assert said == other_said
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_derived_method_has_an_encoder_of_its_own(weights: Path) -> None:
    vand = registry.find("vand")
    derived = type("Derived", (vand,), {})
    models = [cls.__new__(cls) for cls in (vand, derived)]
    for model in models:
        torch.nn.Module.__init__(model)
        model.options = vand.resolve({})
    assert encoder_of(models[0]) != encoder_of(models[1])
    assert encoder_of(models[1])["name"].endswith("Derived")


def test_features_are_kept_for_all_methods_with_their_encoder(
    plan: Callable[..., Plan], tmp_path: Path, counted: Counter[str]
) -> None:
    machine = Machine(cache=FeatureCache(tmp_path / "features", 10**9))
    assert not execute(plan("anomalyclip:mini"), CellStore(tmp_path / "runs"), machine).failed
    counted.clear()
    assert not execute(plan("faprompt:mini"), CellStore(tmp_path / "runs"), machine).failed
    assert counted["read_image"] == 2, "only those that are looked over"
    assert not execute(plan("faprompt:mini"), CellStore(tmp_path / "plain"), Machine()).failed
    kept = {key: cell for key, cell in content(tmp_path / "runs").items() if key.startswith("faprompt")}
    assert kept == content(tmp_path / "plain")


FAILING = {
    "nan": "def forward(self, i, p): return Prediction(i.mean((1, 2, 3)) * float('nan'), i.mean(1))",
    "late": """calls = 0
def forward(self, i, p):
    self.calls += 1
    if self.calls > 4: raise RuntimeError('worn out')
    return Prediction(i.amax((1, 2, 3)), i.mean(1))""",
    "shape": "def forward(self, i, p): return Prediction(i.mean((1, 2)), i.mean(1))",
    "exits": "@classmethod\ndef load(cls, files, **options): raise SystemExit('no licence')",
    "late input": """calls = 0
def preprocess(self, image):
    type(self).calls += 1
    if self.calls > 4: raise RuntimeError('fogged')
    return super().preprocess(image)""",
    "input": "def preprocess(self, image): raise RuntimeError('no such lens')",
}


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("nan", "NaN or infinity"),
        ("late", "worn out"),
        ("shape", "asks for"),
        ("exits", "no licence"),
        ("input", "no such lens"),
        ("late input", "fogged"),
    ],
)
def test_a_task_that_fails_leaves_the_pass_and_the_others_go_on(
    plan: Callable[..., Plan],
    own_methods: Callable[..., None],
    tmp_path: Path,
    kind: str,
    reason: str,
) -> None:
    own_methods("good")
    own_methods("broken", FAILING[kind])
    outcome = execute(plan("broken", "good", "chance"), CellStore(tmp_path / "runs"), Machine(batch_size=2))
    assert {cell.method for cell, _ in outcome.failed} == {"broken"}
    assert len(outcome.failed) == 2
    assert all(reason in why for _, why in outcome.failed)
    assert {cell.method for cell in outcome.finished} == {"good", "chance"}
    execute(plan("good", "chance"), CellStore(tmp_path / "without"), Machine(batch_size=2))
    assert content(tmp_path / "runs") == content(tmp_path / "without")


def test_an_encoder_that_fails_takes_its_own_tasks_alone_with_it(
    plan: Callable[..., Plan], own_methods: Callable[..., None], tmp_path: Path
) -> None:
    own_methods("good")
    broken = """
    seen = []
    def encoded(self, images):
        self.seen.append(len(images))
        if len(self.seen) > 4:
            raise RuntimeError("burnt out")
        return super().encoded(images)
    """
    own_methods("broken", broken.strip().replace("\n    ", "\n"))
    made = plan("good", "broken", "broken:negative", "chance")
    outcome = execute(made, CellStore(tmp_path / "runs"), Machine(batch_size=2))
    assert [(cell.method, "burnt out" in why) for cell, why in outcome.failed] == 4 * [("broken", True)]
    assert {cell.method for cell in outcome.finished} == {"good", "chance"} and len(outcome.finished) == 4


def test_a_picture_that_cannot_be_read_fails_all_tasks_on_its_class_alike(
    plan: Callable[..., Plan], tmp_path: Path, data: Path
) -> None:
    made = plan("anomalyclip:mini", "chance")
    (data / "bolt/test/spot/001.png").write_bytes(b"no picture")
    outcome = execute(made, CellStore(tmp_path / "runs"), Machine(batch_size=2))
    assert sorted((cell.method, cell.class_key) for cell, _ in outcome.failed) == [
        ("anomalyclip", "bolt"),
        ("chance", "bolt"),
    ]
    (reason,) = {why for _, why in outcome.failed}
    assert "001.png" in reason
    assert {cell.class_key for cell in outcome.finished} == {"gear"}


def test_a_method_may_make_its_input_in_its_own_way(
    plan: Callable[..., Plan], own_methods: Callable[..., None], tmp_path: Path
) -> None:
    own_methods("plain")
    own_methods(
        "upside_down",
        "def preprocess(self, image): return super().preprocess(image).flip(1) + 1",
    )
    assert not execute(plan("plain", "upside_down"), CellStore(tmp_path / "runs"), Machine()).failed
    cells = content(tmp_path / "runs")
    for name in ("bolt", "gear"):
        plain, turned = (
            [row["score"] for row in cells[f"{method}:None/{name}"]["scores"]]
            for method in ("plain", "upside_down")
        )
        assert turned == pytest.approx([score + 1 for score in plain])


def loads(plan: Plan, machine: Machine, root: Path) -> tuple[list[str], int]:
    """Return which models were loaded, in order, and the most tasks that any cell was computed with."""
    loaded: list[str] = []

    class Ear(Listener):
        def loading(self, spec: ModelSpec) -> None:
            loaded.append(str(spec))

    outcome = execute(plan, CellStore(root), machine, Ear())
    assert not outcome.failed and len(outcome.finished) == len(plan.tasks)
    return loaded, max(cell["timing"]["together"] for cell in CellStore(root))


def test_models_that_do_not_fit_together_take_the_classes_one_after_the_other(
    plan: Callable[..., Plan], tmp_path: Path
) -> None:
    made = plan("vcpclip:mini", "tipsomaly:mini", "anomalyclip:mini")
    everything = sum(
        path.stat().st_size for path in {path for task in made.tasks for path in task.spec.files.values()}
    )
    for name, room, together in (("all", 2 * everything, 3), ("two", 2 * everything - 2, 2), ("one", 0, 1)):
        loaded, most = loads(made, Machine(models=room), tmp_path / name)
        assert most == together, name
        assert len(loaded) == 3, "each is loaded once, for all classes"
        assert content(tmp_path / name) == content(tmp_path / "all")


@pytest.mark.parametrize("on", ["load", "encode"])
def test_models_that_turn_out_not_to_fit_together_are_asked_one_by_one(
    plan: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on: str
) -> None:
    made = plan("anomalyclip:mini", "tipsomaly:mini", "chance")
    execute(made, CellStore(tmp_path / "usual"), Machine())
    real, refused = registry.find("tipsomaly").load.__func__, [on == "load"]

    def load(cls: Any, files: Any, **options: Any) -> ZeroShotDetector:
        if any(refused):
            refused.clear()
            raise torch.cuda.OutOfMemoryError
        model: ZeroShotDetector = real(cls, files, **options)
        return model

    tipsomaly, encode = registry.find("tipsomaly"), registry.find("tipsomaly").encode
    tried: list[int] = []

    def small(self: ZeroShotDetector, images: Tensor) -> dict[str, Tensor]:
        tried.append(len(images))
        if on == "encode" and len(tried) <= 2:
            raise torch.cuda.OutOfMemoryError
        return encode(self, images)

    monkeypatch.setattr(tipsomaly, "load", classmethod(load))
    monkeypatch.setattr(tipsomaly, "encode", small)
    outcome = execute(made, CellStore(tmp_path / "short"), Machine())
    assert not outcome.failed
    assert content(tmp_path / "short") == content(tmp_path / "usual")
    together = {cell["method"]: cell["timing"]["together"] for cell in CellStore(tmp_path / "short")}
    assert together["tipsomaly"] == 1


def test_frozen_weights_lie_in_memory_once(
    plan: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models: list[ZeroShotDetector] = []
    for key in ("vand", "vcpclip"):
        cls = registry.find(key)
        score = cls.score

        def watch(self: Any, features: Any, prompts: Any, score: Any = score) -> Any:
            models.append(self)
            return score(self, features, prompts)

        monkeypatch.setattr(cls, "score", watch)
    assert not execute(plan("vand:mini", "vcpclip:mini"), CellStore(tmp_path / "runs"), Machine()).failed
    one, other = (next(m for m in models if type(m).__name__ == name) for name in ("Vand", "VcpClip"))
    pairs = zip(one.model.named_parameters(), other.model.named_parameters(), strict=True)
    assert all(mine.data_ptr() == theirs.data_ptr() for (_, mine), (_, theirs) in pairs)
    buffers = list(zip(one.model.buffers(), other.model.buffers(), strict=True))
    assert buffers and all(mine.data_ptr() != theirs.data_ptr() for mine, theirs in buffers)


def test_metrics_side_by_side_are_bounded_and_the_plan_tells_it(plan: Callable[..., Plan]) -> None:
    made = plan("chance", "oracle", "vand:mini")
    chance, vand = memory_estimate(8 * 224**2), memory_estimate(8 * 140**2)
    assert made.metrics_memory() == 2 * (2 * chance + vand)
    assert [len(unit) for unit in made.units()] == [3, 3]
    for most, sizes in (
        (2 * chance + vand, [3, 3]),
        (2 * chance + vand - 1, [2, 1, 2, 1]),
        (chance, [1, 1, 1] * 2),
        (0, [1, 1, 1] * 2),
    ):
        units = made.units(most)
        assert [len(unit) for unit in units] == sizes
        needs = [sum(vand if task.cell.method == "vand" else chance for task in unit) for unit in units]
        assert made.metrics_memory(most) >= max(map(sum, itertools.pairwise(needs)))


def test_units_are_values_and_no_shard_splits_one(plan: Callable[..., Plan], tmp_path: Path) -> None:
    made = plan("chance", "oracle")
    with Worker(CellStore(tmp_path / "runs"), Machine()) as worker:
        for unit in pickle.loads(pickle.dumps(made.units())):
            worker.run(unit)
    assert len(worker.outcome.finished) == 4
    assert [[len(unit) for unit in made.shard(i, 3).units()] for i in (1, 2, 3)] == [[2], [2], []]


def test_seconds_of_a_pass_are_shared_out(
    plan: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = reading.Reader.__call__
    monkeypatch.setattr(
        reading.Reader, "__call__", lambda self, it: dataclasses.replace(read(self, it), seconds=300.0)
    )
    execute(plan("anomalyclip:mini", "faprompt:mini", "chance"), CellStore(tmp_path / "runs"), Machine())
    by_class: dict[str, list[dict[str, Any]]] = {}
    for cell in CellStore(tmp_path / "runs"):
        by_class.setdefault(cell["class"], []).append(cell["timing"])
    for timings in by_class.values():
        assert {timing["together"] for timing in timings} == {3}
        for timing in timings:
            assert timing["read_s"] == pytest.approx(8 * 300 / 3, abs=30)
        assert all(timing["inference_s"] > 0 for timing in timings)


def test_progress_counts_each_image_once_for_every_task(plan: Callable[..., Plan], tmp_path: Path) -> None:
    heard: Counter[str] = Counter()

    class Ear(Listener):
        def images(self, count: int) -> None:
            heard["images"] += count

        def task(self, task: Task) -> None:
            heard["tasks"] += 1

    made = plan("anomalyclip:mini", "musc:mini", "chance")
    assert not execute(made, CellStore(tmp_path / "runs"), Machine(batch_size=3), Ear()).failed
    assert heard == {"images": made.n_images, "tasks": 6}


def test_the_input_is_a_value(data: Path) -> None:
    image = Image.open(data / "bolt/test/good/000.png")
    one, other = NetworkInput(28), NetworkInput(28)
    assert one == other and hash(one) == hash(other)
    assert dataclasses.replace(one, resample=Image.Resampling.BICUBIC) != one
    resized = one.resize(image)
    assert resized.dtype == torch.uint8 and resized.shape == (3, 28, 28)
    expected = np.asarray(image.resize((28, 28), Image.Resampling.BILINEAR), np.float32) / 255
    assert np.array_equal(one(image).permute(1, 2, 0).numpy(), expected)
    assert torch.equal(one(image), one.normalise(resized[None])[0])
