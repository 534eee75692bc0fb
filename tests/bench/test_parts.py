"""Parts of a test set, and datasets that are close to what was trained on, from plan to table."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.cli import main
from bench.results import read
from bench.run.plan import Permissions, Plan
from bench.run.planner import make_plan
from bench.run.protocol import parse_methods
from bench.store.cells import CellStore
from bench.store.digests import sha256
from datasets.meta import open_dataset
from datasets.prepare import prepare
from methods.source import Source
from tests.datasets.imitation import build, cleaned

Planner = Callable[..., Plan]


def test_whole_and_part_run_from_one_folder_and_are_two_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, results = tmp_path / "data", tmp_path / "results"
    cleaned(data / "mvtec")
    roots = ["--data-root", str(data), "--results", str(results)]
    words = ["--datasets", "mvtec", "mvtec:zs"]
    assert main(["run", "--methods", "chance", *words, *roots, "--allow-partial", "--device", "cpu"]) == 0
    cells = {(cell["dataset"], cell["class"]): cell for cell in read(CellStore(results / "runs"))}
    assert set(cells) == {("mvtec", "bottle"), ("mvtec", "grid"), ("mvtec_zs", "grid")}
    whole, part = cells["mvtec", "grid"], cells["mvtec_zs", "grid"]
    assert (whole["counts"], part["counts"]) == (
        {"normal": 1, "anomalous": 4},
        {"normal": 1, "anomalous": 2},
    )
    assert whole["config"]["data"] != part["config"]["data"]
    assert (part["target"], part["dataset_title"], part["levels"]) == ("mvtec", "MVTec (ZS)", ["image"])
    assert "redrawn" in part["reasons"]["pixel_auroc"]
    capsys.readouterr()
    for word in ("mvtec:zs", "mvtec_zs", "MVTec (ZS)"):
        assert main(["table", "--results", str(results), "--datasets", word]) == 0
        printed = capsys.readouterr().out
        assert "MVTec (ZS)" in printed
        assert "Pixel level" not in printed


def plan(folder: Path | str, root: Path, source: str) -> Plan:
    return make_plan(
        parse_methods(["vand"], {}),
        [open_dataset(folder, root)],
        CellStore(root / "runs"),
        weights_root=root / "weights",
        digest=sha256,
        source=Source.parse(source),
        allow=Permissions(partial=True),
    )


def test_a_part_of_what_was_trained_on_is_refused(tmp_path: Path) -> None:
    cleaned(tmp_path / "mvtec")
    (refusal,) = plan("mvtec:zs", tmp_path, "mvtec").refused
    assert "its weights were trained on mvtec, which includes mvtec" in str(refusal)


def test_weights_are_those_of_the_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = []
    for word in ("mvtec", "mvtec:zs", "visa"):
        main(["weights", "--methods", "vand", "--weights-root", str(tmp_path), "--datasets", word])
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] != printed[2]


def test_a_target_close_to_the_source_is_said_before_the_run(tmp_path: Path) -> None:
    prepare("cvc300", build("cvc300", tmp_path / "raw"), tmp_path)
    (warning,) = plan("cvc300", tmp_path, "visa+cvc_colondb").warnings
    assert warning.startswith("cvc300: vand is trained on cvc_colondb: CVC-300 is an older form")
    assert plan("cvc300", tmp_path, "visa").warnings == ()


def test_check_names_what_is_known_of_two_datasets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for key in ("cvc300", "cvc_colondb"):
        prepare(key, build(key, tmp_path / "raw"), tmp_path / "data")
    main(["check", "--quick", "--data-root", str(tmp_path / "data"), "--datasets", "cvc300", "cvc_colondb"])
    assert "note: cvc300 and cvc_colondb: CVC-300 is an older form" in capsys.readouterr().out


def test_a_clash_is_asked_back_by_every_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        ["check", "--datasets", "Brain MRI"],
        ["list", "Brain MRI"],
        ["prepare", "Brain MRI", "--from", str(tmp_path)],
    ):
        assert main(words) == 2
        assert "'Brain MRI' may be brainmri or bmad_brain; write the key" in capsys.readouterr().err
