"""The steps from patch features to maps, against SciPy and against loops written out."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from methods.maps import gaussian_smooth, resize_positions, similarity_logits, to_grid, upsample


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


@pytest.mark.parametrize("shape", [(3, 4), (3, 5, 4), (3, 2, 5, 4)])
def test_similarities_with_one_text_or_with_each_images_own(shape: tuple[int, ...]) -> None:
    features, texts = random(*shape), random(3, 2, 4, seed=1)
    own = similarity_logits(features, texts, 0.07)
    shared = similarity_logits(features, texts[0], 0.07)
    assert own.shape == shared.shape == (*shape[:-1], 2)
    for index in np.ndindex(shape[:-1]):
        for kind in range(2):
            want = float(features[index] @ texts[index[0], kind]) / 0.07
            assert float(own[index][kind]) == pytest.approx(want, abs=1e-4)
            want = float(features[index] @ texts[0, kind]) / 0.07
            assert float(shared[index][kind]) == pytest.approx(want, abs=1e-4)


def test_patches_are_laid_out_row_by_row() -> None:
    tokens = torch.arange(3 * 6 * 2).reshape(3, 6, 2).float()
    grid = to_grid(tokens, (2, 3))
    assert grid.shape == (3, 2, 2, 3)
    for image, channel, row, column in np.ndindex(3, 2, 2, 3):
        assert grid[image, channel, row, column] == tokens[image, row * 3 + column, channel]


def test_upsampling_follows_its_two_conventions() -> None:
    maps = torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]])
    corners = upsample(maps, 3, align_corners=True)
    torch.testing.assert_close(
        corners[0, 0], torch.tensor([[0.0, 0.5, 1.0], [1.0, 1.5, 2.0], [2.0, 2.5, 3.0]])
    )
    centres = upsample(maps, (2, 4), align_corners=False)
    torch.testing.assert_close(centres[0, 0], torch.tensor([[0.0, 0.25, 0.75, 1.0], [2.0, 2.25, 2.75, 3.0]]))
    assert upsample(maps, (2, 4), align_corners=True)[0, 0, 0].tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    smaller = upsample(random(1, 1, 8, 8), 2, align_corners=False)
    torch.testing.assert_close(  # without anti-aliasing: the mean of the four pixels around the middle
        smaller[0, 0, 0, 0], random(1, 1, 8, 8)[0, 0, 1:3, 1:3].mean()
    )


@pytest.mark.parametrize("sigma", [0.5, 1.0, 4, 8.0])
@pytest.mark.parametrize("shape", [(2, 40, 40), (1, 12, 31), (3, 5, 5), (1, 150, 129)])
def test_smoothing_is_scipys(sigma: float, shape: tuple[int, ...]) -> None:
    maps = random(*shape)
    want = np.stack([gaussian_filter(each, sigma) for each in maps.numpy()])
    np.testing.assert_allclose(gaussian_smooth(maps, sigma).numpy(), want, atol=2e-6)
    half = gaussian_smooth(maps.bfloat16(), sigma)
    assert half.dtype == torch.float32


def test_no_smoothing_is_none() -> None:
    maps = random(1, 4, 4)
    assert gaussian_smooth(maps, 0) is maps


def test_smoothing_after_inference_mode_still_has_gradients() -> None:
    with torch.inference_mode():
        gaussian_smooth(random(1, 17, 19), 1.5)
    maps = random(1, 17, 19).requires_grad_(True)
    gaussian_smooth(maps, 1.5).sum().backward()
    assert maps.grad is not None


@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("grid", [(6, 6), (3, 2), (2, 7)])
def test_positions_are_resized_as_a_picture_of_patches(
    mode: str, antialias: bool, grid: tuple[int, int]
) -> None:
    positions = random(1 + 16, 3)
    got = resize_positions(positions, grid, mode=mode, antialias=antialias)
    assert got.shape == (1 + grid[0] * grid[1], 3)
    assert torch.equal(got[0], positions[0])
    picture = positions[1:].T.reshape(1, 3, 4, 4)
    want = torch.nn.functional.interpolate(
        picture, size=grid, mode=mode, align_corners=False, antialias=antialias
    )
    for row, column in np.ndindex(*grid):
        torch.testing.assert_close(got[1 + row * grid[1] + column], want[0, :, row, column])


def test_a_grid_of_one_patch_is_spread() -> None:
    positions = random(1 + 1, 3)
    got = resize_positions(positions, (2, 2), mode="bilinear", antialias=False)
    torch.testing.assert_close(got[1:], positions[1:].expand(4, 3))


def test_positions_that_fit_are_left_alone() -> None:
    positions = random(1 + 9, 2)
    assert resize_positions(positions, (3, 3), mode="bicubic", antialias=True) is positions
    half = resize_positions(positions.bfloat16(), (2, 2), mode="bicubic", antialias=False)
    assert half.dtype == torch.bfloat16
    with pytest.raises(ValueError, match="of 9 rows is not a class row and a square grid"):
        resize_positions(positions[1:], (2, 2), mode="bicubic", antialias=True)
