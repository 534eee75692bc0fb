"""The kinds of scenes and defects: all are shown, each defect leaves its mark, classes keep their style."""

import numpy as np
import pytest

from datasets.standin.damage import damage
from datasets.standin.defects import DEFECTS
from datasets.standin.raster import Canvas, stream
from datasets.standin.recipes import RECIPES
from datasets.standin.shots import SCENES

SHOWN = sorted(
    {(cls.kind, kind) for recipe in RECIPES.values() for cls in recipe.classes for _, kind in cls.defects}
)


def test_every_kind_is_shown() -> None:
    assert {scene for scene, _ in SHOWN} == set(SCENES)
    assert {defect for _, defect in SHOWN} == set(DEFECTS)


@pytest.mark.parametrize(("kind", "defect"), SHOWN)
def test_every_defect_leaves_its_mark(kind: str, defect: str) -> None:
    scene = SCENES[kind](stream(kind, "style"), stream(kind), Canvas(64, 72))
    assert scene.region.any()
    image, mask = damage(stream(kind, defect), scene, DEFECTS[defect], 0.8)
    assert image.shape == (64, 72, 3) and mask.shape == (64, 72) and mask.dtype == np.bool_
    assert np.isfinite(image).all() and image.min() > -0.5 and image.max() < 1.8
    assert 0.002 < mask.mean() < 0.2
    assert np.abs(image - scene.render())[mask].max() > 0.04


def test_a_defect_that_leaves_no_mark_is_an_error() -> None:
    scene = SCENES["woven"](stream("style"), stream("scene"), Canvas(48, 48))
    with pytest.raises(RuntimeError, match="nothing left no mark"):
        damage(stream("defect"), scene, nothing, 0.8)


def nothing(*_: object) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((48, 48, 3)), np.zeros((48, 48))


def test_classes_keep_their_style() -> None:
    # The style makes the class: two pictures of one style are closer in colour than two of other styles.
    for name in ("woven", "leather", "capsules", "cable"):
        same = [
            SCENES[name](stream("style"), stream(k), Canvas(48, 48)).render().mean((0, 1)) for k in range(3)
        ]
        others = [
            SCENES[name](stream("s", k), stream(k), Canvas(48, 48)).render().mean((0, 1)) for k in range(8)
        ]
        assert np.std(same, axis=0).mean() < 0.5 * np.std(others, axis=0).mean(), name
