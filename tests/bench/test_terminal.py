"""What a terminal shows of a table and what a pipe gets, in a pseudo-terminal."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from bench.cli import main
from tests.bench.conftest import make_mvtec_layout
from tests.bench.page.grid import write_grid

ROOT = Path(__file__).parents[2]
TABLE = ["table", "--methods", "vand", "tipsomaly", "musc", "winclip", "chance", "--results"]


def terminal(*words: str, columns: int, **variables: str) -> str:
    """Return what the command line writes to a terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "run_bench.py"), *words],
        stdin=theirs, stdout=theirs, stderr=theirs, env=environment | {"TERM": "xterm"} | variables,
    )  # fmt: skip
    os.close(theirs)
    written = b""
    try:
        while part := os.read(ours, 65536):
            written += part
    except OSError:  # the other end is closed
        pass
    assert process.wait() == 0, written.decode()
    os.close(ours)
    return written.decode().replace("\r\n", "\n")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("results")
    write_grid(root, ("vand", "tipsomaly", "musc", "winclip", "chance"), ("btad", "tn3k"))
    return str(root)


@pytest.mark.parametrize("columns", [80, 100])
def test_a_table_fits_the_terminal_in_colour(results: str, columns: int) -> None:
    text = terminal(*TABLE, results, columns=columns)
    assert "\x1b[1;32m" in text and "\x1b[4m" in text and "|" not in text
    lines = re.sub(r"\x1b\[[\d;]*m", "", text).splitlines()
    assert columns - 25 < max(map(len, lines)) <= columns
    assert "green: best; underlined: second" in text
    assert "◇  sees all unlabelled test images" in text


def test_no_color_and_terminals_that_cannot(results: str) -> None:
    grey = terminal(*TABLE, results, columns=90, NO_COLOR="1")
    assert "\x1b[1m" in grey and "\x1b[4m" in grey and "\x1b[1;32m" not in grey
    assert "\x1b" not in terminal(*TABLE, results, columns=90, TERM="dumb")


def test_a_format_asked_for_is_given_on_a_terminal_too(results: str) -> None:
    assert "\n| Industrial " in terminal(*TABLE, results, "--format", "md", columns=80)


@pytest.mark.parametrize(("words", "first"), [([], "### Zero-shot"), (["--format", "text"], "Zero-shot")])
def test_a_pipe_gets_markdown_unless_text_is_asked_for(results: str, words: list[str], first: str) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "run_bench.py"), *TABLE, results, *words],
        capture_output=True, text=True, check=True, env=os.environ | {"COLUMNS": "70"},
    )  # fmt: skip
    assert done.stdout.startswith(first) and "\x1b" not in done.stdout
    if words:
        assert max(map(len, done.stdout.splitlines())) <= 70


def test_a_run_shows_its_cells_on_a_terminal_and_its_models_in_a_log(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = str(make_mvtec_layout(tmp_path / "parts", classes=("bolt",)))
    words = ("run", "--methods", "chance", "--datasets", data, "--results", str(tmp_path / "results"))
    shown = terminal(*words, columns=80)
    states = [state for state in shown.split("\r") if "/8" in state]
    assert any(re.search(r"images/s, \S+ left, .*parts", state) for state in states)
    assert max(map(len, states)) <= 80
    assert "1 cells written" in shown.splitlines()[-1]
    assert main([*words, "--force"]) == 0
    out, err = capfd.readouterr()
    assert "chance" in out and "\r" not in out + err and "%|" not in err
