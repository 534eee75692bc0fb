"""The precision of the encoders is chosen method by method before planning, and cells say what it was."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.cli import main
from bench.demo.standin import stand_in_folders
from bench.errors import BenchError
from bench.run import precision
from bench.run.execute import execute
from bench.run.machine import Machine, choose_device
from bench.run.plan import Plan
from bench.run.precision import Drift, GoldenDrift, as_config, measured_on_goldens, read, resolve, slow_here
from bench.show import build
from bench.store.cells import CellStore
from benchmarks import precision as benchmark
from benchmarks.precision import PAGE, page, together
from datasets.samples import Folder
from methods.precision import PRECISIONS
from methods.registry import card, find, keys

Planner = Callable[..., Plan]
SMALL = Drift("chance", "bfloat16", "a card", 100, 0.01, 0.02, 0.0, 0.0, 0.1, 0.0, 0.05, 0.0, 0.0)


def moved(points: float, **changes: Any) -> Drift:
    """Return a drift whose largest one is `points`."""
    return dataclasses.replace(SMALL, **{"pixel_aupro": points, "image_f1max": points / 2} | changes)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that replaces what was measured."""

    def replace(*drifts: Drift) -> None:
        found = {(drift.method, drift.precision): drift for drift in drifts}
        monkeypatch.setattr(precision, "measured", lambda: found)

    return replace


@pytest.mark.parametrize(
    ("points", "device", "expected"),
    [
        (0.0, "cuda", "bfloat16"),
        (0.1, "cuda", "bfloat16"),
        (0.11, "cuda", "float32"),
        (0.0, "cpu", "float32"),
        (None, "cuda", "float32"),
    ],
)
def test_auto_lowers_where_it_was_measured_to_be_harmless(
    known: Callable[..., None], points: float | None, device: str, expected: str
) -> None:
    known(*([] if points is None else [moved(points)]))
    assert resolve("auto", "chance", find("chance"), device) == expected
    assert resolve("auto", "oracle", find("oracle"), device) == "float32", "another method was measured"


def test_what_is_asked_for_is_what_runs(known: Callable[..., None]) -> None:
    known(moved(9.0, method="vand"), dataclasses.replace(SMALL, method="winclip"))
    for key in ("vand", "winclip"):
        assert [resolve(word, key, find(key), "cuda") for word in PRECISIONS] == [*PRECISIONS]
    with pytest.raises(BenchError, match="only CUDA"):
        resolve("tf32", "vand", find("vand"), "cpu")
    lowered = [
        key
        for key in ("adaclip", "musc", "vand", "vcpclip", "winclip", "anomalyclip", "tipsomaly")
        if resolve("official", key, find(key), "cuda") == "float16"
    ]
    assert lowered == ["adaclip", "musc", "vand", "vcpclip"], "whose official programs run under autocast"
    assert resolve("official", "vand", find("vand"), "cpu") == "float32", "there they do not"


def test_the_worst_that_was_measured_counts(tmp_path: Path) -> None:
    path = tmp_path / "precision.csv"
    rows = [moved(points, device=device) for device, points in (("one", 0.05), ("two", 0.3), ("three", 0.0))]
    precision.write(rows, path)
    assert precision.measured(path) == {("chance", "bfloat16"): rows[1]}
    precision.write([moved(0.01, device="two")], path)
    assert precision.measured(path)["chance", "bfloat16"].device == "one", "measured anew on two"
    assert precision.measured(tmp_path / "none.csv") == {}


def test_float32_says_nothing_new_and_lower_ones_say_of_what() -> None:
    assert as_config("float32") == {"precision": "float32"}
    assert as_config("bfloat16") == {"precision": "bfloat16", "precision_of": "encoder"}


def test_the_key_has_what_was_chosen(plan_for: Planner, known: Callable[..., None]) -> None:
    known(SMALL)

    def keys(**asked: Any) -> list[str]:
        return [task.cell.key for task in plan_for("chance", **asked).tasks]

    usual = keys()
    assert keys(precision="auto") == keys(precision="float32") == usual
    assert keys(precision="official", device="cuda") == usual
    on_cuda = keys(precision="auto", device="cuda")
    assert on_cuda == keys(precision="bfloat16", device="cuda") == keys(precision="bfloat16")
    assert len({*on_cuda, *usual, *keys(precision="float16")}) == 3 * len(usual)
    plan = plan_for("chance", "oracle", precision="auto", device="cuda")
    chosen = {(task.cell.method, task.spec.precision, task.settings.precision) for task in plan.tasks}
    assert chosen == {("chance", "bfloat16", "bfloat16"), ("oracle", "float32", "float32")}
    (refusal,) = plan_for("chance", precision="tf32").refused
    assert "only CUDA" in refusal.reason


def test_cells_of_another_precision_are_pointed_out(
    plan_for: Planner, known: Callable[..., None], tmp_path: Path
) -> None:
    known(SMALL)
    assert not plan_for("chance", precision="auto", device="cuda").warnings
    execute(plan_for("chance"), CellStore(tmp_path / "runs"), Machine())
    (warning,) = plan_for("chance", precision="auto", device="cuda").warnings
    assert "chance has cells in float32 here" in warning and "--precision float32" in warning
    assert not plan_for("chance", precision="bfloat16").warnings, "who names one wants it"
    assert not plan_for("chance", precision="auto").warnings


def test_a_cell_says_what_was_measured_and_the_table_in_its_footer(
    plan_for: Planner, known: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known(SMALL)
    ran = []
    monkeypatch.setattr(
        find("chance"),
        "encoder_precision",
        property(lambda self: self.options["ran"], lambda self, word: ran.append(word)),
        raising=False,
    )
    execute(plan_for("chance", precision="bfloat16"), CellStore(tmp_path / "runs"), Machine())
    assert set(ran) == {"bfloat16"}
    cells = list(CellStore(tmp_path / "runs"))
    assert [cell["provenance"]["drift"] for cell in cells] == [
        dataclasses.asdict(SMALL) | {"points": 0.1}
    ] * len(cells)
    assert [cell["preset"] for cell in cells] == [None] * len(cells)
    monkeypatch.undo()
    execute(plan_for("oracle"), CellStore(tmp_path / "runs"), Machine())
    assert not any(
        "drift" in cell["provenance"] for cell in CellStore(tmp_path / "runs") if cell["method"] == "oracle"
    )
    footer = build(list(CellStore(tmp_path / "runs"))).footer
    assert (
        "; encoders of Chance in bfloat16, which moved no number of their small models by more than 0.1 "
        "points, all else float32; " in footer
    )


def test_a_cell_says_where_nothing_was_measured_and_what_was_on_goldens(
    plan_for: Planner, known: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known(dataclasses.replace(SMALL, method="oracle"))
    on = [
        GoldenDrift("oracle", "bfloat16", "a card", f"file{width}", width, 2, score, moved)
        for width, score, moved in ((64, 0.02, 0.01), (768, 0.01, 0.03))
    ]
    other = [dataclasses.replace(on[0], method="chance"), dataclasses.replace(on[0], precision="float16")]
    monkeypatch.setattr(precision, "measured_on_goldens", lambda: [*on, *other])
    for key in ("chance", "oracle"):
        execute(plan_for(key, precision="bfloat16"), CellStore(tmp_path / "runs"), Machine())
    cells = list(CellStore(tmp_path / "runs"))
    said = {cell["method"]: cell["provenance"]["drift"] for cell in cells}
    assert said["chance"] == "not measured", "on the small model, by which tables are judged"
    assert said["oracle"]["goldens"] == {"files": 2, "widest": 768, "score": 0.02, "map": 0.03}
    footer = build(cells).footer
    assert "by more than 0.1 points" in footer and "the drift of Chance not measured" in footer


def test_what_was_measured_on_goldens_is_kept_file_by_file(tmp_path: Path) -> None:
    path = tmp_path / "goldens.csv"
    rows = [GoldenDrift("vand", "bfloat16", "a card", name, 128, 2, 0.01, 0.02) for name in ("one", "two")]
    assert precision.measured_on_goldens(path) == []
    precision.write(rows, path)
    anew = dataclasses.replace(rows[1], score=0.5)
    precision.write([anew], path)
    assert precision.measured_on_goldens(path) == [rows[0], anew]
    told = [each.strip() for each in benchmark.golden_table([rows[0], anew]).splitlines()[-1].split("|")]
    assert told[1:-1] == ["VAND", "bfloat16", "2", "128", "50.00", "2.00"], "the worst of both, in percent"


def test_the_command_line_asks_for_auto_and_tells_who_computes(
    data: Path, tmp_path: Path, known: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    known(SMALL)
    line = ["run", "--methods", "chance", "oracle", "--datasets", str(data), "--dry-run"]
    line += ["--results", str(tmp_path), "--weights-root", str(tmp_path)]

    def told(*more: str) -> str:
        assert main([*line, *more]) == 0
        return str(capsys.readouterr().out)

    assert "bfloat16" not in told()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert "chance, encoder in bfloat16\n" in told()
    assert "oracle\n" in told()
    assert "bfloat16" not in told("--precision", "float32")
    assert "chance, encoder in tf32\n" in told("--precision", "tf32")


@pytest.mark.parametrize("word", ["auto", "cpu"])
def test_float32_is_exact_wherever_a_device_is_chosen(word: str) -> None:
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    try:
        products.allow_tf32 = convolutions.allow_tf32 = True
        choose_device(word)
        assert (products.allow_tf32, convolutions.allow_tf32) == (False, False)
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before


def test_a_cpu_that_only_imitates_a_precision_is_known() -> None:
    amx, plain = {"amx_bf16": True, "avx512_fp16": False}, {"avx512_bf16": False, "avx2": True}
    assert not slow_here("bfloat16", "cpu", amx)
    assert slow_here("float16", "cpu", amx)
    assert slow_here("bfloat16", "cpu", plain)
    assert not slow_here("float32", "cpu", plain)
    assert not slow_here("bfloat16", "cuda", plain)
    assert slow_here("bfloat16", "cpu", torch.cpu.get_capabilities()) in (True, False)


def test_the_page_has_what_was_measured_and_no_method_is_lowered_without() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == page(text, read(), measured_on_goldens()), "run `python -m benchmarks.precision --write`"
    lowered = [key for key in keys() if resolve("auto", key, find(key), "cuda") != "float32"]
    measured = {drift.method: drift for drift in read() if drift.precision == "bfloat16"}
    assert all(measured[key].points <= 0.1 for key in lowered)
    titles = text.rpartition("on CUDA for: ")[2].strip(".\n")
    assert titles == (", ".join(sorted(card(key).title for key in lowered)) or "none")


def test_the_benchmark_compares_what_tables_print(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(benchmark, "pooled", lambda root, names, drawings: tiny(root, names))
    line = [
        "precision",
        "--methods",
        "vand",
        "--precision",
        "bfloat16",
        "--root",
        str(tmp_path),
        "--datasets",
    ]
    monkeypatch.setattr("sys.argv", [*line, "headct", "--device", "cpu"])
    benchmark.main()
    (row,) = [row for row in capsys.readouterr().out.rpartition("\n\n")[2].splitlines() if "VAND" in row]
    numbers = [float(each) for each in row.split("|")[4:-1]]
    assert 0 < numbers[0] < 10 and 0 < numbers[1] < 10, "scores and maps move, by little"
    assert numbers[-1] == max(numbers[2:-1])


def tiny(root: Path, names: list[str]) -> list[Folder]:
    """Return two drawings of the smallest stand-ins, pooled."""
    drawn = [stand_in_folders(root / str(seed), keys=names, scale="tiny", seed=seed) for seed in range(2)]
    pooled = [together(alike) for alike in zip(*drawn, strict=True)]
    for folder, one in zip(pooled, drawn[0], strict=True):
        assert [len(data.samples) for data in folder.classes] == [2 * len(d.samples) for d in one.classes]
        assert all(len({sample.name for sample in d.samples}) == len(d.samples) for d in folder.classes)
    return pooled
