"""What a log without a terminal shows of long work."""

import re
import time

import pytest

from bench.cli import progress as module
from bench.cli.progress import progress


def test_a_log_gets_a_line_at_every_interval_and_none_before(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EVERY", 0.05)
    bar = progress(total=8, unit="images", description="first")
    bar.update(2)
    assert capsys.readouterr().err == ""
    bar.set_description("second")
    time.sleep(0.06)
    bar.update(2)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("second: 4 of 8 images, 00:00 so far, 00:00 left, ")
    bar.update(1)
    bar.write("said between")
    bar.close()
    after = capsys.readouterr()
    assert after.out == "said between\n"
    assert after.err.strip() == ""


def test_a_step_without_a_finished_unit_gets_its_line_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EVERY", 0.05)
    bar = progress(total=8, unit="images")
    bar.set_description("first")
    assert capsys.readouterr().err == ""
    time.sleep(0.06)
    bar.set_description("second")
    bar.set_description("third")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("second: 0 of 8 images, ")
    bar.close()


def test_half_a_minute_by_default_and_nothing_for_what_is_quick(capsys: pytest.CaptureFixture[str]) -> None:
    assert module.EVERY == 30
    assert list(progress(range(3), unit="images")) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar_with_rate_and_time_left_before_what_may_be_cut(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "on_terminal", lambda: True)
    with progress(total=4, unit="images") as bar:
        bar.set_description("vand on mvtec/metal_nut")
        time.sleep(0.25)
        bar.update(0.1)
        time.sleep(0.25)
        bar.set_postfix(loss="0.5", refresh=False)
        bar.update(0.1)
    states = capsys.readouterr().err.split("\r")
    (last,) = [state for state in states if " 0.2/4" in state]
    assert re.fullmatch(
        r" *5%\|\S* *\| 0.2/4, +0\.\d\d images/s, loss=0\.5, 00:(09|1\d) left, vand on mvtec/metal_nut",
        last.rstrip(),
    )
