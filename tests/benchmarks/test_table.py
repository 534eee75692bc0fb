"""The table's cost, on a few small pictures and the small models."""

from dataclasses import replace

import pytest

from benchmarks import table
from datasets.catalog import CATALOG, GROUPS


def test_methods_and_their_pass_are_estimated_and_measured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--methods", "vand", "anomalyclip", "--preset", "mini", "--images", "4"]
    words += ["--device", "cpu", "--batch-size", "2"]
    monkeypatch.setattr(table, "apart", lambda work, setting: work(setting))
    assert table.main(words) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    header, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    found = [dict(zip(header, row, strict=True)) for row in rows]
    names = [row["method"].split(",")[0] for row in found]
    assert names == ["vand:mini", "anomalyclip:mini", "all in one pass"]
    for row in found:
        assert sum(float(row[f"{part} %"]) for part in table.PARTS) == pytest.approx(100, abs=1)
        assert row["bottleneck"] in table.PARTS
        hours = table.table_images()[0] / float(row["images/s"]) / 3600
        assert float(row["hours"]) == pytest.approx(hours, rel=0.02)
    assert float(found[0]["GFLOP/image"]) > 0
    assert float(found[0]["estimated images/s"]) > float(found[0]["images/s"])


def test_the_bottleneck_is_the_largest_part() -> None:
    parts = {"reading": 0.1, "host": 0.05, "device": 0.2, "metrics": 0.05}
    measured = {"parts": parts, "image": 0.25, "cpu": 0.3, "memory": 10.0}
    got = table.row("m", measured, 36000, {"gflop": 10.0, "rate": 100.0})
    assert got["bottleneck"] == "device"
    assert got["device %"] == pytest.approx(50)
    assert got["hours"] == pytest.approx(2.5)
    assert got["estimated hours"] == pytest.approx(1.0)


def test_the_images_of_the_table_are_those_of_the_catalog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GROUPS, "all", ("mvtec", "visa"))
    assert table.table_images() == (1725 + 2162, [])
    bottle, *others = CATALOG["mvtec"].classes
    unknown = replace(CATALOG["mvtec"], classes=(replace(bottle, counts=(None, bottle.counts[1])), *others))
    monkeypatch.setitem(CATALOG, "mvtec", unknown)
    assert table.table_images() == (1725 - 20 + 2162, ["MVTec"])


def test_too_few_images_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert table.main(["--images", "1"]) == 2
    assert "--images 1" in capsys.readouterr().err
