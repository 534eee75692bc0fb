"""Every command that the suite shows or advises can be typed: it is read by the real command line."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.cli import VERBS, parser_of

ROOT = Path(__file__).resolve().parents[2]
SPLIT = re.compile(r"run_bench\.py (?P<command>[a-z][^`\n;]*)")


def texts(path: Path) -> Iterator[str]:
    """Yield every string of a file as one text; what is filled in at run time reads `1`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "1" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.value


def commands(path: Path) -> set[str]:
    """Return what is shown behind `run_bench.py`; remarks behind two blanks are none of it."""
    found = {match["command"] for text in texts(path) for match in SPLIT.finditer(text)}
    return {re.split(r"\s{2,}|[.,:)]*\s*$|\.\s", command)[0] for command in found}


SHOWN = sorted(
    (path.relative_to(ROOT).as_posix(), command)
    for room in ("bench", "methods", "datasets", "metrics")
    for path in (ROOT / room).rglob("*.py")
    for command in commands(path)
)


def test_commands_are_found_in_messages_and_examples() -> None:
    assert len(SHOWN) > 50
    assert {command.split()[0] for _, command in SHOWN} >= set(VERBS)
    assert any(file.startswith("methods/") and command.startswith("train") for file, command in SHOWN)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verbs_help_ends_with_its_examples(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser_of(verb).parse_args([verb, "--help"])
    examples = capsys.readouterr().out.partition("\nexamples:\n")[2].splitlines()
    assert examples
    assert examples[0].startswith("  run_bench.py ")


@pytest.mark.parametrize(("file", "command"), SHOWN)
def test_a_command_shown_parses(file: str, command: str) -> None:
    words = shlex.split(command)
    if len(words) == 1:  # a verb is named, its arguments are left to its help
        assert words[0] in VERBS
        return
    assert parser_of(words[0]).parse_args(words).verb == words[0]
