"""The split of kinds between stand-ins and training, and the pairs drawn from either."""

from collections import Counter

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from datasets.standin import STANDIN_KINDS, TRAINING_KINDS, Kinds, draw_pair
from datasets.standin.kinds import DEFECTS, SCENES, damage, fitting
from datasets.standin.raster import Canvas, stream
from datasets.standin.recipes import RECIPES

FIELDS = ("textures", "objects", "organs", "defects")
SPLIT = {"standin": STANDIN_KINDS, "training": TRAINING_KINDS}


@pytest.mark.parametrize("field", FIELDS)
def test_no_kind_is_on_both_sides(field: str) -> None:
    standin, training = getattr(STANDIN_KINDS, field), getattr(TRAINING_KINDS, field)
    assert not set(standin) & set(training)
    assert (
        min(len(standin), len(training)) >= {"textures": 8, "objects": 8, "organs": 5, "defects": 12}[field]
    )


def test_every_kind_is_on_one_side() -> None:
    assert set(STANDIN_KINDS.scenes) | set(TRAINING_KINDS.scenes) == set(SCENES)
    assert set(STANDIN_KINDS.defects) | set(TRAINING_KINDS.defects) == set(DEFECTS)


def test_no_two_kinds_are_drawn_by_the_same_function() -> None:
    for kinds in (SCENES, DEFECTS):
        assert len({id(function) for function in kinds.values()}) == len(kinds)


def test_datasets_show_the_standin_kinds_and_no_other() -> None:
    looks = [look for recipe in RECIPES.values() for look in recipe.classes]
    assert {look.kind for look in looks} == set(STANDIN_KINDS.scenes)
    assert {defect for look in looks for _, defect in look.defects} == set(STANDIN_KINDS.defects)


@pytest.mark.parametrize("kinds", SPLIT.values(), ids=SPLIT)
def test_pairs_differ_where_the_mask_says(kinds: Kinds) -> None:
    seen: Counter[str] = Counter()
    shares, inside, outside = [], [], []
    for k in range(300):
        pair = draw_pair(stream("pairs", k), kinds, 64)
        assert pair.kind in kinds.scenes and pair.defect in kinds.defects
        seen.update((pair.kind, pair.defect))
        assert pair.normal.shape == pair.defective.shape == (64, 64, 3)
        assert pair.normal.dtype == pair.defective.dtype == np.uint8
        assert pair.mask.shape == (64, 64) and pair.mask.dtype == np.bool_
        change = np.abs(pair.normal.astype(int) - pair.defective).max(axis=2)
        near = binary_dilation(pair.mask, iterations=4)
        shares.append(pair.mask.mean())
        inside.append(change[pair.mask].mean())
        outside.append(change[~near].mean())
    # A few patches of a small vision transformer, and plainly visible.
    assert min(shares) > 0.001 and max(shares) < 0.2
    assert np.quantile(shares, 0.1) > 0.01 and np.quantile(shares, 0.9) < 0.08
    assert min(inside) > 6 and np.median(inside) > 30
    assert np.quantile(outside, 0.9) < 1.5
    assert set(seen) == {*kinds.scenes, *kinds.defects}


def test_a_pair_follows_from_the_generator_state() -> None:
    one, two, other = (draw_pair(stream("state", k), TRAINING_KINDS, 48) for k in (1, 1, 2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(one.normal, other.normal)


def test_sizes_need_not_be_square() -> None:
    pair = draw_pair(stream("wide"), STANDIN_KINDS, (48, 80))
    assert pair.normal.shape == (48, 80, 3) and pair.mask.shape == (48, 80)


def test_strength_makes_a_defect_stand_out() -> None:
    changes = []
    for strength in (0.2, 1.0):
        total = 0.0
        for k in range(40):
            pair = draw_pair(
                stream("strength", k), TRAINING_KINDS, 48, strength=(strength, strength), wear=0.3
            )
            total += np.abs(pair.normal.astype(int) - pair.defective)[pair.mask].mean()
        changes.append(total)
    assert changes[1] > 1.2 * changes[0]


@pytest.mark.parametrize("name", SCENES)
def test_every_fitting_defect_leaves_its_mark(name: str) -> None:
    kinds = next(kinds for kinds in SPLIT.values() if name in kinds.scenes)
    scene = SCENES[name](stream(name, "style"), stream(name), Canvas(64, 72))
    assert scene.region.any()
    for defect in fitting(kinds, name, scene):
        image, mask = damage(stream(name, defect), scene, defect, 0.8)
        assert image.shape == (64, 72, 3)
        assert np.isfinite(image).all() and image.min() > -0.5 and image.max() < 1.8
        assert mask.any()
        assert np.abs(image - scene.render())[mask].max() > 0.04, defect


def test_classes_keep_their_looks() -> None:
    # The style makes the class: two pictures of one style are closer in colour than two of other styles.
    for name in ("woven", "leather", "capsules", "cable"):
        same = [
            SCENES[name](stream("style"), stream(k), Canvas(48, 48)).render().mean((0, 1)) for k in range(3)
        ]
        others = [
            SCENES[name](stream("s", k), stream(k), Canvas(48, 48)).render().mean((0, 1)) for k in range(8)
        ]
        assert np.std(same, axis=0).mean() < 0.5 * np.std(others, axis=0).mean(), name
