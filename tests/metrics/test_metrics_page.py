"""The example on docs/metrics.md runs."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    exec(compile(example, str(PAGE), "exec"), {})
    aupro, image_level = capsys.readouterr().out.splitlines()
    assert 0.5 < float(aupro) < 1
    assert "'image_auroc': 0.75" in image_level
