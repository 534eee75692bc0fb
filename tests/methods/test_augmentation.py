"""Changes of pictures drawn at random: each against its definition."""

import numpy as np
import pytest
import torch
from PIL import Image

from methods import augmentation as change


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (31, 47, 3), dtype=np.uint8)


@pytest.fixture
def mask() -> np.ndarray:
    found = np.zeros((31, 47), np.uint8)
    found[4:10, 30:44] = 1
    return found


def test_a_half_turn_moves_both_and_keeps_every_pixel(picture: np.ndarray, mask: np.ndarray) -> None:
    turned, moved = change.rotate(picture, mask, 180)
    assert np.array_equal(turned, picture[::-1, ::-1])
    assert np.array_equal(moved, mask[::-1, ::-1])


def test_a_rotation_is_about_the_centre_and_mirrors_at_the_border() -> None:
    size = 41
    across = np.broadcast_to(np.arange(size) * 5.0, (size, size))
    picture = np.repeat(across[..., None], 3, axis=2).astype(np.uint8)
    turned, _ = change.rotate(picture, np.zeros((size, size), np.uint8), 30)
    half, sine, cosine = (size - 1) / 2, 0.5, np.sqrt(3) / 2
    down, right = np.mgrid[:size, :size] - half
    where = cosine * right - sine * down + half  # the column each pixel comes from
    mirrored = np.abs(where)
    mirrored = np.where(mirrored > size - 1, 2 * (size - 1) - mirrored, mirrored)
    assert np.abs(turned[..., 0] - 5 * mirrored).max() <= 2.6  # half a step where the ramp turns round
    inside = (where > 0) & (where < size - 1)
    assert np.abs(turned[..., 0] - 5 * where)[inside].max() <= 0.51


def test_a_wide_picture_is_not_sheared(mask: np.ndarray) -> None:
    _, moved = change.rotate(np.zeros((*mask.shape, 3), np.uint8), mask, 20)
    assert abs(int(moved.sum()) - int(mask.sum())) < 12
    assert set(np.unique(moved)) == {0, 1}
    down, right = np.argwhere(moved).mean(axis=0) - np.array([15, 23])
    before = np.argwhere(mask).mean(axis=0) - np.array([15, 23])
    assert np.hypot(down, right) == pytest.approx(np.hypot(*before), abs=0.5)


def test_brightness_and_noise_are_cut_not_rounded(picture: np.ndarray) -> None:
    changed = change.scale_and_shift(picture, 1.1317, -0.1)
    assert np.array_equal(changed, np.clip(picture * 1.1317 - 25.5, 0, 255).astype(np.uint8))
    grey = np.full((200, 200, 3), 128, np.uint8)
    noise = change.add_noise(grey, 30.0, torch.Generator().manual_seed(1)).astype(float) - 128
    assert noise.var() == pytest.approx(30 + 1 / 12, rel=0.05)
    assert noise.mean() == pytest.approx(-0.5, abs=0.1)  # cutting takes half a level
    assert np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1] == pytest.approx(0, abs=0.03)


def test_blurs_have_their_kernels() -> None:
    point = np.zeros((15, 15, 3), np.uint8)
    point[7, 7] = 250
    boxed = change.box_blur(point)
    assert (boxed[6:9, 6:9] == 28).all() and boxed.sum() == 28 * 27
    for kernel, sigma in ((3, 0.8), (5, 1.1), (7, 1.4)):
        weights = np.exp(-((np.arange(kernel) - kernel // 2) ** 2) / (2 * sigma**2))
        weights /= weights.sum()
        want = np.zeros((15, 15))
        reach = slice(7 - kernel // 2, 8 + kernel // 2)
        want[reach, reach] = 250 * np.outer(weights, weights)
        assert np.array_equal(change.gaussian_blur(point, kernel)[..., 1], want.round().astype(np.uint8))
    edge = np.zeros((9, 9, 3), np.uint8)
    edge[:, 1] = 90
    assert (
        change.box_blur(edge)[:, 0] == 60
    ).all()  # the second column counts twice: mirrored without the first


def test_colours(picture: np.ndarray) -> None:
    assert np.abs(change.jitter(picture, 1, 1, 1, 0.0, [0, 1, 2, 3]).astype(int) - picture).max() <= 4
    assert np.array_equal(change.jitter(picture, 1.2, 1, 1, 0, [0]), change.cut(picture * 1.2))
    grey = picture @ np.array([0.299, 0.587, 0.114])
    contrasted = change.jitter(picture, 1, 0.8, 1, 0, [1])
    assert np.abs(contrasted - (picture * 0.8 + 0.2 * grey.mean()) + 0.5).max() <= 0.6
    faded = change.jitter(picture, 1, 1, 0.8, 0, [2])
    assert np.abs(faded - (picture * 0.8 + 0.2 * grey[..., None])).max() <= 0.65
    red = np.full((2, 2, 3), (200, 0, 0), np.uint8)
    assert (change.jitter(red, 1, 1, 1, 1 / 3, [3]) == (0, 200, 0)).all()
    assert (change.jitter(red, 1, 1, 1, -1 / 3, [3]) == (0, 0, 200)).all()
    assert not np.array_equal(
        change.jitter(picture, 1.2, 0.8, 1, 0, [0, 1]), change.jitter(picture, 1.2, 0.8, 1, 0, [1, 0])
    )


def test_everything_comes_from_the_generator_and_everything_comes_up(
    picture: np.ndarray, mask: np.ndarray
) -> None:
    def vary(seed: int) -> tuple[np.ndarray, np.ndarray]:
        varied, moved = change.vary(Image.fromarray(picture), mask, torch.Generator().manual_seed(seed))
        return np.asarray(varied), moved

    torch.manual_seed(0)
    one, of_one = vary(5)
    torch.manual_seed(1)
    again, of_again = vary(5)
    assert np.array_equal(one, again) and np.array_equal(of_one, of_again)
    found = [vary(seed) for seed in range(96)]
    assert all(each.dtype == np.uint8 and each.shape[:2] == under.shape for each, under in found)
    upright = sum(each.shape == picture.shape for each, _ in found) / len(found)
    assert upright == pytest.approx(0.75, abs=0.12)  # a quarter of the turns swaps the sides
    untouched = sum(np.array_equal(each, picture) for each, _ in found)
    assert 0 < untouched < 15
