"""The mutation script: which changes it makes, and that each is one change of a program that still parses."""

import ast

import pytest

from tests.mutate import mutants


@pytest.mark.parametrize(
    ("source", "changed"),
    [
        ("x = a < b", {"x = a <= b", "x = a >= b"}),
        ("x = 3", {"x = 4", "x = 2"}),
        ("x = True", {"x = False"}),
        ("x = a and b", {"x = a or b", "x = b", "x = a"}),
        ("x = not a", {"x = a"}),
        ("x = f(a, b=c)", {"x = f(a)"}),
        ("x = {'a': b, **c}", {"x = {**c}", "x = {'a': b}"}),
        ("x = [a, b]", {"x = [b]", "x = [a]"}),
        ("x = a if b else c", {"x = a if not b else c"}),
        ("x = a + b", {"x = a - b"}),
        ("def f():\n    g()\n    return x", {
            "def f():\n    pass\n    return x", "def f():\n    g()\n    return None"
        }),
        ("x: Literal[3] = a", set()),
        ('"""A docstring."""\nassert x == 3', set()),
        ("if a:\n    raise ValueError(f'{x + 1}')", {
            "if not a:\n    raise ValueError(f'{x + 1}')", "if a:\n    pass"
        }),
    ],
)  # fmt: skip
def test_one_change_at_a_time(source: str, changed: set[str]) -> None:
    found = list(mutants("file.py", source))
    assert {mutant.source for mutant in found} == changed
    assert len(found) == len(changed)
    for mutant in found:
        ast.parse(mutant.source)


def test_one_line_alone() -> None:
    found = list(mutants("file.py", "x = 1\ny = 2\n", 2))
    assert {(mutant.line, mutant.source) for mutant in found} == {(2, "x = 1\ny = 3"), (2, "x = 1\ny = 1")}
