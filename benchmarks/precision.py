"""What lower precision of the image encoders does to scores, maps and the numbers of a table.

    python -m benchmarks.precision --methods vand winclip          # a look
    python -m benchmarks.precision --write                         # results/precision.csv, docs/precision.md
    python -m benchmarks.precision --device cuda --write           # the same on a GPU, beside it

Every method with a small model runs on generated pictures, once in float32 and once in each precision asked
for. Several drawings of each stand-in dataset are pooled, so that single images weigh no more than in a real
one. `--precision auto` goes by the worst that was measured on any device.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from pathlib import Path

import numpy as np
import torch
from tabulate import tabulate

from bench.demo.demo import demo_requests
from bench.demo.standin import stand_in_folders
from bench.errors import BenchError
from bench.grouped import grouped
from bench.run.execute import execute
from bench.run.grouping import specs_of
from bench.run.machine import Machine, choose_device
from bench.run.models import LoadedModel
from bench.run.plan import Plan, Settings
from bench.run.planner import make_plan
from bench.run.precision import (
    HARMLESS,
    MEASURED,
    METRICS,
    Drift,
    GoldenDrift,
    measured_on_goldens,
    read,
    worst,
    write,
)
from bench.run.protocol import MethodRequest
from bench.store.cells import Cell, CellStore
from bench.store.digests import DigestCache
from benchmarks.common import parser_of
from datasets.images import read_image
from datasets.samples import Folder
from methods.backbones import mini
from methods.base import Prediction
from methods.precision import PRECISIONS
from methods.registry import card

PAGE = Path(__file__).resolve().parents[1] / "docs" / "precision.md"
MARK = "<!-- written by `python -m benchmarks.precision --write` -->\n"
GOLDEN_MARK = """## On the golden files' networks

The published architectures, several at their published width (`widest`), with generated weights: networks,
options and pictures of the golden files of parity, against float32. *score*: the largest difference in
percent of the largest score; *map*: in percent of the range of all maps. Generated weights do not tell
anomalies from the rest: metrics would say nothing here. Written by
`pytest tests/parity/test_precision.py --golden-dir DIR --write-drift`, which fails beyond its bounds.
"""
_device = attrgetter("device")
_MAPS = 6
"""Images of each class whose maps are compared."""


def main() -> None:
    """Measure, print and keep."""
    parser = parser_of(__doc__)
    small = [request.key for request in demo_requests() if request.preset]
    parser.add_argument("--methods", nargs="+", default=small, choices=small)
    parser.add_argument("--precision", nargs="+", default=["bfloat16", "float16"], choices=PRECISIONS[1:])
    parser.add_argument("--datasets", nargs="+", default=["visa", "mpdd", "headct", "isic"])
    parser.add_argument("--drawings", type=int, default=5, help="of each dataset, pooled")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--root", type=Path, help="keep pictures and cells here, and go on with them")
    parser.add_argument("--write", action="store_true", help=f"to {MEASURED.name} and {PAGE.name}")
    parsed = parser.parse_args()
    machine = Machine(choose_device(parsed.device), parsed.batch_size)
    drifts = []
    with tempfile.TemporaryDirectory(prefix="zsad-precision-") as temporary:
        root = parsed.root or Path(temporary)
        folders = pooled(root, parsed.datasets, parsed.drawings)
        for key in parsed.methods:
            for drift in measure(MethodRequest(key, "mini"), folders, parsed.precision, root, machine):
                print(tabulate([_row(drift)], headers="keys", tablefmt="github", floatfmt=".2g"), flush=True)
                drifts.append(drift)
                if parsed.write:
                    write([drift])
    print("\n" + table(drifts))
    if parsed.write:
        write_page()


def pooled(root: Path, keys: Sequence[str], drawings: int) -> list[Folder]:
    """Return the stand-in datasets, each with the images of so many drawings."""
    each = [stand_in_folders(root / f"drawn-{seed}", keys=keys, seed=seed) for seed in range(drawings)]
    return [together(alike) for alike in zip(*each, strict=True)]


def together(folders: Sequence[Folder]) -> Folder:
    """Return the drawings of one dataset as one."""
    classes = []
    for alike in zip(*(folder.classes for folder in folders), strict=True):
        samples = tuple(
            replace(sample, name=f"{number}/{sample.name}")
            for number, data in enumerate(alike)
            for sample in data.samples
        )
        classes.append(replace(alike[0], samples=samples))
    return replace(folders[0], classes=tuple(classes))


def measure(
    request: MethodRequest, folders: Sequence[Folder], precisions: Sequence[str], root: Path, machine: Machine
) -> Iterator[Drift]:
    """Yield how far each precision lies from float32."""
    exact = _run(request, folders, "float32", root, machine)
    exact_maps = _maps(exact, machine)
    for precision in precisions:
        plan = _run(request, folders, precision, root, machine)
        cells, others = _cells(exact, root, machine), _cells(plan, root, machine)
        yield Drift(
            request.key,
            precision,
            name_of(machine.device),
            sum(len(cell["scores"]) for cell in cells.values()),
            max(_score_drift(cell, others[place]) for place, cell in cells.items()),
            _furthest(_maps(plan, machine), exact_maps),
            **{metric: _points(metric, cells, others) for metric in METRICS},
        )


def _run(
    request: MethodRequest, folders: Sequence[Folder], precision: str, root: Path, machine: Machine
) -> Plan:
    """Return what was planned, after it was run; cells that are here stay."""
    mini.install(root / "weights")

    store = _store(root, machine)

    def plan(*, force: bool) -> Plan:
        return make_plan(
            [request],
            folders,
            store,
            weights_root=root / "weights",
            digest=DigestCache(),
            settings=Settings(precision),
            force=force,
            device=machine.device.type,
        )

    outcome = execute(plan(force=False), store, machine)
    whole = plan(force=True)
    for reason in [reason for _, reason in outcome.failed] + [each.reason for each in whole.refused]:
        raise BenchError(f"{request.word}: {reason}")
    return whole


def _store(root: Path, machine: Machine) -> CellStore:
    return CellStore(root / f"runs-{machine.device.type}")


def _cells(plan: Plan, root: Path, machine: Machine) -> dict[tuple[str, str], Cell]:
    found = {(task.cell.dataset, task.cell.class_key): task.cell for task in plan.tasks}
    cells = {place: _store(root, machine).read(each) for place, each in found.items()}
    return {place: cell for place, cell in cells.items() if cell is not None}


def _maps(plan: Plan, machine: Machine) -> list[Prediction]:
    """Return the answers on a few images of each class, a class at a time."""
    answers = []
    for spec in specs_of(plan.tasks):
        model = LoadedModel.of(spec, machine.device).model
        for task in (task for task in plan.tasks if task.spec == spec):
            step = max(1, len(task.samples) // _MAPS)
            images = torch.stack([model.preprocess(read_image(it.image)) for it in task.samples[::step]])
            with torch.inference_mode():
                answers.append(model(images.to(machine.device), [task.data.prompt] * len(images)))
    return answers


def _furthest(lower: Sequence[Prediction], exact: Sequence[Prediction]) -> float:
    """Return the largest difference of a pixel, as a share of the range of its class's maps."""
    return max(
        float((one.maps - other.maps).abs().max() / (other.maps.max() - other.maps.min()))
        for one, other in zip(lower, exact, strict=True)
    )


def _score_drift(exact: Cell, lower: Cell) -> float:
    one, other = (np.array([row["score"] for row in cell["scores"]]) for cell in (exact, lower))
    return float(np.abs(one - other).max() / np.ptp(one))


def _points(
    metric: str, exact: Mapping[tuple[str, str], Cell], lower: Mapping[tuple[str, str], Cell]
) -> float:
    """Return the largest difference of a dataset's mean over classes, in percentage points.

    An average over datasets moves by no more.
    """
    moved = [0.0]
    for dataset in {dataset for dataset, _ in exact}:
        places = [place for place in exact if place[0] == dataset]
        pairs = [(exact[place]["metrics"][metric], lower[place]["metrics"][metric]) for place in places]
        of_classes = [100 * (other - one) for one, other in pairs if one is not None and other is not None]
        if of_classes:
            moved.append(abs(float(np.mean(of_classes))))
    return max(moved)


def name_of(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return str(torch.cpu.get_capabilities().get("cpu_name", "CPU"))


# --- the page ------------------------------------------------------------------------------------------


def _row(drift: Drift) -> dict[str, object]:
    numbers = {f"{metric.replace('_', ' ')}": getattr(drift, metric) for metric in METRICS}
    return {
        "method": card(drift.method).title,
        "precision": drift.precision,
        "images": drift.images,
        "score": 100 * drift.score,
        "map": 100 * drift.map,
        **numbers,
        "largest": drift.points,
    }


def table(drifts: Sequence[Drift]) -> str:
    """Return what was measured as a Markdown table; shares in percent, metrics in percentage points."""
    return tabulate([_row(drift) for drift in drifts], headers="keys", tablefmt="github", floatfmt=".2f")


def golden_table(drifts: Sequence[GoldenDrift]) -> str:
    """Return the worst on the golden files' networks as a Markdown table, in percent, a row a method."""
    rows = []
    for method, precision in sorted({(drift.method, drift.precision) for drift in drifts}):
        alike = [drift for drift in drifts if (drift.method, drift.precision) == (method, precision)]
        told = worst(alike)
        shares = {name: 100 * told[name] for name in ("score", "map")}
        rows.append({"method": card(method).title, "precision": precision, **told, **shares})
    return tabulate(rows, headers="keys", tablefmt="github", floatfmt=".2f")


def page(text: str, drifts: Sequence[Drift], goldens: Sequence[GoldenDrift]) -> str:
    """Return the page with what was measured behind its mark, one table a device."""
    parts = [f"On {device}:\n\n{table(alike)}\n" for device, alike in grouped(drifts, _device).items()]
    lowered = sorted(
        card(method).title
        for method in {drift.method for drift in drifts}
        if max(d.points for d in drifts if (d.method, d.precision) == (method, "bfloat16")) <= HARMLESS
    )
    parts += [GOLDEN_MARK] if goldens else []
    for device, of_goldens in grouped(goldens, _device).items():
        parts.append(f"On {device}:\n\n{golden_table(of_goldens)}\n")
    parts.append(f"## What `auto` lowers\n\nBfloat16 on CUDA for: {', '.join(lowered) or 'none'}.\n")
    return text.partition(MARK)[0] + MARK + "\n" + "\n".join(parts)


def write_page() -> None:
    """Bring the page up to date with what was measured."""
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), read(), measured_on_goldens()), encoding="utf-8")


if __name__ == "__main__":
    main()
