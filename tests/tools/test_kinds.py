"""The kinds that the small models are trained on, and the pairs drawn of them."""

import hashlib
from collections import Counter

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from datasets.standin.damage import damage
from datasets.standin.defects import DEFECTS as STANDIN_DEFECTS
from datasets.standin.raster import Canvas, stream
from datasets.standin.shots import SCENES as STANDIN_SCENES
from tools.mini.kinds import DEFECTS, TRAINING_KINDS, draw_pair
from tools.mini.kinds.pairs import SCENES, fitting


def test_no_stand_in_shows_what_was_trained_on() -> None:
    assert set(TRAINING_KINDS.scenes) == set(SCENES)
    assert not set(SCENES) & set(STANDIN_SCENES) and not set(DEFECTS) & set(STANDIN_DEFECTS)
    drawn_by = [*SCENES.values(), *STANDIN_SCENES.values(), *DEFECTS.values(), *STANDIN_DEFECTS.values()]
    assert len({id(function) for function in drawn_by}) == len(drawn_by)


def test_pairs_are_those_that_the_shipped_models_were_trained_on() -> None:
    total = hashlib.sha256()
    for k in range(60):
        pair = draw_pair(stream("digest", k), TRAINING_KINDS.scenes, 56)
        for content in (pair.normal, pair.defective, pair.mask):
            total.update(content.tobytes())
        total.update(f"{pair.kind} {pair.defect}".encode())
    assert total.hexdigest() == "d850d0e83597359aeab9d4516b8df30ab845108559cb62690ea541baccd4830e"


def test_pairs_differ_where_the_mask_says() -> None:
    seen: Counter[str] = Counter()
    shares, inside, outside = [], [], []
    for k in range(300):
        pair = draw_pair(stream("pairs", k), TRAINING_KINDS.scenes, 64)
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
    assert set(seen) == {*SCENES, *DEFECTS}


def test_a_pair_follows_from_the_generator_state() -> None:
    one, two, other = (draw_pair(stream("state", k), TRAINING_KINDS.scenes, 48) for k in (1, 1, 2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(one.normal, other.normal)


def test_sizes_need_not_be_square() -> None:
    pair = draw_pair(stream("wide"), TRAINING_KINDS.scenes, (48, 80))
    assert pair.normal.shape == (48, 80, 3) and pair.mask.shape == (48, 80)


def test_strength_makes_a_defect_stand_out() -> None:
    changes = []
    for strength in (0.2, 1.0):
        total = 0.0
        for k in range(40):
            pair = draw_pair(
                stream("strength", k), TRAINING_KINDS.scenes, 48, strength=(strength, strength), wear=0.3
            )
            total += np.abs(pair.normal.astype(int) - pair.defective)[pair.mask].mean()
        changes.append(total)
    assert changes[1] > 1.2 * changes[0]


@pytest.mark.parametrize("name", SCENES)
def test_every_fitting_defect_leaves_its_mark(name: str) -> None:
    scene = SCENES[name](stream(name, "style"), stream(name), Canvas(64, 72))
    assert scene.region.any()
    for defect in fitting(name, scene):
        image, mask = damage(stream(name, defect), scene, DEFECTS[defect], 0.8)
        assert image.shape == (64, 72, 3)
        assert np.isfinite(image).all() and image.min() > -0.5 and image.max() < 1.8
        assert mask.any()
        assert np.abs(image - scene.render())[mask].max() > 0.04, defect
