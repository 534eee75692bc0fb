"""The comparison with other implementations, on a few maps."""

from pathlib import Path

import pytest

from benchmarks import peers as benchmark

TINY = ["--maps", "3", "--repeats", "1"]


def test_scikit_learn_and_an_official_code_stand_beside_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkout = tmp_path / "official"
    checkout.mkdir()
    (checkout / "theirs.py").write_text("HALF = 0.5\n")
    driver = tmp_path / "driver.py"
    driver.write_text(
        "from theirs import HALF\n\ndef metrics(maps, masks):\n"
        "    assert maps.dtype == 'float32' and maps.shape == masks.shape\n"
        "    return {'pixel_auroc': HALF}\n"
    )
    words = [*TINY, "--only", "scikit-learn", "--official", f"x={checkout}", "--driver", f"x={driver}"]
    assert benchmark.main(words) == 0
    header, _, ours, sklearn, theirs = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("|")
    ]
    rows = {row[0]: dict(zip(header, row, strict=True)) for row in (ours, sklearn, theirs)}
    assert list(rows) == ["suite, exact", "scikit-learn", "x"]
    exact = float(rows["suite, exact"]["`pixel_auroc`"])
    assert 0.5 < exact < 1
    assert abs(float(rows["scikit-learn"]["`pixel_auroc`"])) < 1e-12
    assert float(rows["x"]["`pixel_auroc`"]) == pytest.approx(0.5 - exact, rel=0.5)
    assert rows["x"]["`pixel_ap`"] == rows["scikit-learn"]["`pixel_aupro`"] == ""
    assert rows["suite, exact"]["times ours"] == "1.0"


def test_what_is_missing_or_fails_is_said_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = benchmark.Peer(benchmark.PEERS["adeval"].make, ("no_such_package",))
    monkeypatch.setitem(benchmark.PEERS, "adeval", absent)
    driver = tmp_path / "driver.py"
    driver.write_text("def metrics(maps, masks):\n    raise RuntimeError('needs another torch')\n")
    words = [*TINY, "--only", "adeval", "--official", f"x={tmp_path}", "--driver", f"x={driver}"]
    assert benchmark.main(words) == 0
    told = capsys.readouterr().out
    assert "adeval (not installed: no_such_package)" in told
    assert "x (failed: RuntimeError: needs another torch)" in told
    assert "| suite, exact " in told and "| x " not in told


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--official", "vand"], "expected NAME=PATH"),
        (["--official", "vand=/no/such/folder"], "does not exist"),
        (["--official", "vand=."], "vand: give each --official a --driver"),
    ],
)
def test_what_is_asked_wrongly_is_refused(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert benchmark.main(words) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", ["torchmetrics", "adeval", "anomalib"])
def test_peers_that_are_installed_come_close(name: str) -> None:
    peer = benchmark.PEERS[name]
    if absent := benchmark.missing(peer):
        pytest.skip(f"{', '.join(absent)} not installed: pip install '.[peers]'")
    maps, masks = benchmark.generate(3, 0.03)
    exact = benchmark.PEERS[benchmark.EXACT].make()(maps, masks)
    for key, value in peer.make()(maps, masks).items():
        assert value == pytest.approx(exact[key], abs=1e-3), key
