"""Random changes of pictures, against torchvision's own transforms under the same seed."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from methods.torchvision_transforms import applies, colours, flipped, rotated, shifted

SEEDS = range(12)


def test_colours_are_three_jitters() -> None:
    jitters = [{"brightness": 0.5}, {"contrast": 0.5}, {"saturation": 0.5}]
    theirs = transforms.Compose(
        [transforms.RandomApply([transforms.ColorJitter(**each)], p=0.7) for each in jitters]
    )
    pixels = np.random.default_rng(1).integers(0, 256, (9, 14, 3), dtype=np.uint8)
    image, changed = Image.fromarray(pixels), 0
    for seed in SEEDS:
        torch.manual_seed(seed)
        want = np.asarray(theirs(image))
        got = np.asarray(colours(image, 0.7, 0.5, torch.Generator().manual_seed(seed)))
        np.testing.assert_array_equal(got, want)
        changed += bool((got != pixels).any())
    assert changed > len(SEEDS) / 2


Change = Callable[[torch.Tensor, torch.Generator], torch.Tensor]
GEOMETRY: list[tuple[Change, torch.nn.Module]] = [
    (lambda pixels, generator: rotated(pixels, 30, generator), transforms.RandomRotation(30, fill=0)),
    (
        lambda pixels, generator: shifted(pixels, 0.15, generator),
        transforms.RandomAffine(degrees=0, translate=(0.15, 0.15), fill=0),
    ),
    (
        flipped,
        torch.nn.Sequential(transforms.RandomHorizontalFlip(), transforms.RandomVerticalFlip()),
    ),
]


@pytest.mark.parametrize(("ours", "theirs"), GEOMETRY, ids=["rotated", "shifted", "flipped"])
def test_geometry_is_torchvisions_and_draws_as_much(ours: Change, theirs: torch.nn.Module) -> None:
    pixels, changed = torch.randn(4, 30, 43, generator=torch.Generator().manual_seed(2)), 0
    for seed in SEEDS:
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        want, got = theirs(pixels), ours(pixels, generator)
        assert torch.equal(got, want)
        assert torch.equal(generator.get_state(), torch.random.get_rng_state())
        changed += not torch.equal(got, pixels)
    assert changed > len(SEEDS) / 2


def test_a_step_applies_as_often_as_it_should() -> None:
    generator = torch.Generator().manual_seed(3)
    assert sum(applies(0.7, generator) for _ in range(2000)) / 2000 == pytest.approx(0.7, abs=0.04)
    assert all(applies(1.0, generator) for _ in range(20))
