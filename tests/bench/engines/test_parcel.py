"""Paths on their way to another machine."""

from pathlib import Path
from typing import Any

import pytest

from bench.run.engines.parcel import own_roots, pack, unpack


def test_paths_below_a_root_are_found_below_the_node_s_own(tmp_path: Path) -> None:
    roots = {"data": tmp_path / "data", "weights": tmp_path / "weights"}
    value = {"image": tmp_path / "data/mvtec/a b.png", "own": tmp_path / "elsewhere", "text": str(tmp_path)}
    told = unpack(pack(value, roots), {"data": Path("/n/d"), "weights": Path("/n/w")})
    assert told == {"image": Path("/n/d/mvtec/a b.png"), "own": tmp_path / "elsewhere", "text": str(tmp_path)}


def test_relative_paths_are_told_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    parcel = pack([Path("data/x"), Path("my/folder"), Path("data")], {"data": Path("data")})
    assert unpack(parcel, {"data": Path("/n")}) == [Path("/n/x"), tmp_path / "my/folder", Path("/n")]


def test_names_that_are_no_text_arrive(tmp_path: Path) -> None:
    path = tmp_path / "data" / b"\xff.png".decode("utf-8", "surrogateescape")
    assert unpack(pack(path, {"data": tmp_path / "data"}), {"data": tmp_path / "data"}) == path


def test_a_unit_arrives_as_it_was(plan_for: Any, tmp_path: Path) -> None:
    roots = {"weights": tmp_path / "weights"}
    units = plan_for("chance", "oracle").units()
    assert unpack(pack(units, roots), roots) == units


def test_a_node_names_its_own_root_by_saying_otherwise_than_the_driver() -> None:
    roots = {"data": Path("/flag")}
    assert own_roots(roots, {}, {}) == roots
    assert own_roots(roots, {"ZSAD_DATA": "/env"}, {"ZSAD_DATA": "/env"}) == roots  # the driver's flag holds
    assert own_roots(roots, {"ZSAD_DATA": "/env"}, {"ZSAD_DATA": "/disk"}) == {"data": Path("/disk")}
    assert own_roots(roots, {}, {"ZSAD_DATA": "/disk"}) == {"data": Path("/disk")}
