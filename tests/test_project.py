"""The project's own files agree: its version, what its pages name, and what its workflow runs."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml

from bench.cli import parser_of

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MADE_BY_USE = {"data", "weights", "results/runs", "results/tables", ".venv"}


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_version_is_the_same_everywhere() -> None:
    assert yaml.safe_load(page("CITATION.cff"))["version"] == PROJECT["version"]
    releases = re.findall(r"^## (\S+)", page("CHANGELOG.md"), flags=re.MULTILINE)
    assert releases[0] == PROJECT["version"]
    numbers = [tuple(int(part) for part in release.split(".")) for release in releases]
    assert numbers == sorted(set(numbers), reverse=True)


def test_the_workflow_runs_the_make_targets_on_the_oldest_and_the_newest_python() -> None:
    (job,) = yaml.safe_load(page(".github/workflows/ci.yml"))["jobs"].values()
    oldest = ".".join(PROJECT["requires-python"].removeprefix(">=").split(".")[:2])
    assert job["strategy"]["matrix"] == {"python": [oldest, "3.x"], "command": ["demo", "test", "slow"]}
    assert "make ${{ matrix.command }}" in [step.get("run") for step in job["steps"]]
    python = next(step for step in job["steps"] if "setup-python" in step.get("uses", ""))
    assert python["with"]["python-version"] == "${{ matrix.python }}"
    assert re.search(r"^make demo .*\nmake test ", page("README.md"), flags=re.MULTILINE)


def test_the_hooks_are_those_that_make_test_runs() -> None:
    (repository,) = yaml.safe_load(page(".pre-commit-config.yaml"))["repos"]
    hooks = {hook["name"] for hook in repository["hooks"]}
    target = page("Makefile").partition("\ntest:")[2].partition("\n\n")[0]
    tools = set(re.findall(r"\$\(BIN\)/(ruff \w+|mypy)", target))
    assert hooks == tools


@pytest.mark.parametrize("name", PAGES)
def test_make_targets_and_files_named_in_a_page_exist(name: str) -> None:
    text = page(name)
    targets = set(re.findall(r"^(\w+):", page("Makefile"), flags=re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make (\w+)", text, flags=re.MULTILINE)) <= targets
    named = set(re.findall(r"`((?:[\w.-]+/)+[\w.-]*|[\w-]+\.(?:toml|cff|md|py))`", text))
    absent = {each for each in named if not (ROOT / each).exists()} - MADE_BY_USE
    assert absent == set()
    for words in re.findall(r"^python -m pytest ([^#\n]*)", text, flags=re.MULTILINE):
        assert all((ROOT / word).exists() for word in words.split() if word.startswith("tests/"))


@pytest.mark.parametrize("name", PAGES)
def test_every_command_shown_parses(name: str) -> None:
    commands = re.findall(r"(?:^|`)(?:python )?run_bench\.py ([a-z][^#`\n]+)", page(name), flags=re.MULTILINE)
    assert len(commands) >= {"README.md": 8, "CONTRIBUTING.md": 3}.get(name, 0)
    for command in commands:
        words = shlex.split(command)
        assert parser_of(words[0]).parse_args(words).verb == words[0]
