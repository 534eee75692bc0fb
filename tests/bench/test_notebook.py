"""The notebook of the docs runs from top to bottom on any results, and is kept without outputs."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from bench.results import frame
from tests.bench.page.grid import write_grid

NOTEBOOK = Path(__file__).parents[2] / "docs/notebook.ipynb"


def cells() -> Iterator[tuple[str, str]]:
    """Yield (id, source) of the code."""
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            yield cell["id"], "".join(cell["source"])


@pytest.mark.parametrize("folder", [NOTEBOOK.parents[1], NOTEBOOK.parent])
def test_the_notebook_runs(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_grid(tmp_path, ("vand", "tipsomaly", "musc"), ("btad", "headct", "tn3k"))
    monkeypatch.chdir(folder)
    monkeypatch.setenv("ZSAD_RESULTS", str(tmp_path))
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(plt, "show", lambda: None)
    names: dict[str, Any] = {}
    with plt.rc_context({"backend": "agg"}):
        for name, source in cells():
            exec(compile(source, f"{NOTEBOOK.name}, cell {name}", "exec"), names)
    pd.testing.assert_frame_equal(names["numbers"], frame(tmp_path))
    means, chosen = names["means"], names["chosen"]
    of_btad = chosen[(chosen["dataset"] == "btad") & (chosen.title == "VAND")]
    assert means.loc["BTAD", "VAND"] == pytest.approx(of_btad.value.mean())
    assert set(means.index) == {"BTAD", "HeadCT"}
    axes = names["axes"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["MuSc", "Tipsomaly", "VAND"]
    assert sum(len(dots.get_offsets()) for dots in axes.collections) == len(chosen) + 3
    assert len(names["difference"]) == 3 + 1
    assert names["worst"].value == chosen.value.min()
    plt.close("all")


def test_the_notebook_is_kept_without_outputs() -> None:
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in content["cells"]}) == len(content["cells"])
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in content["cells"])
    assert NOTEBOOK.stat().st_size < 10_000
