"""What each stand-in dataset shows, from recipes.toml: classes, kinds, defects, sizes, difficulty, counts."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ClassRecipe:
    """One class: its name in the real dataset, the kind that draws it, pairs (defect folder, defect kind)."""

    name: str
    kind: str
    defects: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Recipe:
    """One dataset.

    `sizes` are (height, width) in pixels, taken by turns; `strength` is the range of the defects'
    strength in 0..1, which sets the difficulty together with `wear`, the camera's variation. `normal` and
    `anomalous` are the numbers of test pictures per class at full scale.
    """

    classes: Sequence[ClassRecipe]
    sizes: Sequence[tuple[int, int]]
    strength: tuple[float, float]
    wear: float = 1.0
    grey: bool = False
    normal: int = 14
    anomalous: int = 14


def _recipe(classes: dict[str, Any], **facts: Any) -> Recipe:
    found = [
        ClassRecipe(name, it["kind"], [(each.split(": ")[0], each.split(": ")[-1]) for each in it["defects"]])
        for name, it in classes.items()
    ]
    return Recipe(found, **facts)


_FACTS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
RECIPES: dict[str, Recipe] = {key: _recipe(**facts) for key, facts in _FACTS.items()}
