"""A headless browser, and pages made of generated cells."""

import importlib.util
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.cli import main
from tests.bench.page.grid import HOSTILE, cell, write, write_grid
from tests.show.figures.conftest import Measured, measure

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
MISSING = [name for name in ("itables", "vl_convert") if importlib.util.find_spec(name) is None]


@pytest.fixture(scope="session")
def extra() -> None:
    """Skip where the page's libraries are not installed."""
    if MISSING:
        pytest.skip(f"needs {', '.join(MISSING)}: pip install -e .")


@pytest.fixture(scope="session")
def browser(extra: None) -> Iterator[Any]:
    """Return a headless Chromium; skip where there is none."""
    reason = "needs playwright: pip install '.[browser]'"
    playwright = pytest.importorskip("playwright.sync_api", reason=reason)
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("needs a Chromium on the PATH (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=program, args=FLAGS)
        yield chromium
        chromium.close()


class Opened:
    """A page in the browser, with what it complained of and what it asked for."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(20_000)
        self.page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("html[data-ready=yes]", state="attached", timeout=60_000)
        self.address = path.as_uri()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Opened]]:
    """Return what opens a page; when the test is over, it must have been quiet and asked for nothing else."""
    opened: list[Opened] = []

    def open_one(path: Path, **options: Any) -> Opened:
        opened.append(Opened(browser, path, **options))
        return opened[-1]

    yield open_one
    for each in opened:
        assert each.complaints == []
        beside = f"{each.address.rpartition('/')[0]}/images/"
        assert [url for url in each.requests if not url.startswith(("data:", "blob:", beside))] == [
            each.address
        ]
        each.context.close()


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return results of three methods on three datasets, one class of which has a hostile name."""
    root = tmp_path_factory.mktemp("results")
    write_grid(root, ("vand", "tipsomaly", "musc"), ("mvtec", "btad", "headct"))
    for place, method in enumerate(("vand", "tipsomaly")):
        own = {"dataset": "own", "dataset_title": "<i>own</i>", "target": "own", "domain": "other"}
        write(root, cell(method, "btad", HOSTILE, place) | own | {"n_classes": 1, "marks": ["partial"]})
    return root


@pytest.fixture(scope="session")
def report(extra: None, results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page of these results."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    assert main(["report", "--results", str(results), "--out", str(path)]) == 0
    return path


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """Return results of a run that kept its maps."""
    return measure(tmp_path_factory.mktemp("measured"))
