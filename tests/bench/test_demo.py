"""What the demo ends with: averages that fit a terminal, and the page. Its run is replaced by a small one."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.cli import demo as verb
from bench.cli import main
from bench.demo.demo import Demo
from bench.run.plan import Plan
from bench.run.protocol import MethodRequest


@pytest.fixture
def small(plan_for: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the demo run two baselines on two classes, and draw nothing."""
    monkeypatch.setattr(Demo, "prepare", lambda self: plan_for("chance", "oracle"))
    monkeypatch.setattr(Demo, "draw_gallery", lambda self, cells: [self.tables / "gallery.png"])
    monkeypatch.setattr(verb, "demo_requests", lambda: [MethodRequest("oracle"), MethodRequest("chance")])


@pytest.mark.usefixtures("small")
def test_the_demo_ends_with_averages_and_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--root", str(tmp_path)]) == 0
    table, _, end = (
        capsys.readouterr().out.partition("Averages over datasets")[2].partition("every dataset: ")
    )
    assert "demo: generated data, small models; not the paper's numbers" in table
    assert max(map(len, table.splitlines())) <= 100
    assert table.index("Oracle") < table.index("Chance")
    files, pictures, page = end.splitlines()
    assert files == f"{tmp_path / 'tables/paper.md'}, {tmp_path / 'tables/paper.tex'}"
    assert pictures == f"pictures: {tmp_path / 'tables/gallery.png'}"
    if all(map(importlib.util.find_spec, ("itables", "vl_convert"))):
        assert page == f"all of it to look at: {tmp_path / 'report.html'}"
        assert "Oracle" in (tmp_path / "report.html").read_text(encoding="utf-8")
    else:
        assert page.startswith("no page: the page needs ") and "pip install" in page
    assert all((tmp_path / "tables" / name).exists() for name in ("paper.md", "paper.tex"))


@pytest.mark.usefixtures("small")
def test_a_missing_library_of_the_page_costs_the_page_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("bench.show.page.libraries.distribution", missing)
    assert main(["demo", "--root", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "no page: the page needs itables: bring the environment up to date with `pip install -e .`"
    )
