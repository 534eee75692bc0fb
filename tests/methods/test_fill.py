"""Untrained values: the same everywhere, and of the size that each kind of parameter has."""

import hashlib
import math

import numpy as np
import pytest
import torch

from methods.fill import fill, filled

SHAPE = (200, 400)


def test_values_follow_from_seed_name_and_shape() -> None:
    one = fill("layer.weight", SHAPE, 0)
    assert one.dtype == np.float32
    assert np.array_equal(one, fill("layer.weight", SHAPE, 0))
    assert not np.array_equal(one, fill("layer.weight", SHAPE, 1))
    assert not np.array_equal(one, fill("other.weight", SHAPE, 0))
    # Other implementations must draw the same.
    digest = hashlib.sha256(b"0/layer.weight").digest()
    generator = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    assert np.array_equal(one, generator.standard_normal(SHAPE, dtype=np.float32) / np.float32(20))


@pytest.mark.parametrize(
    ("name", "shape", "mean", "deviation"),
    [
        ("a.weight", SHAPE, 0, 1 / math.sqrt(400)),
        ("conv.weight", (200, 5, 8, 10), 0, 1 / math.sqrt(400)),
        ("text_projection", SHAPE, 0, 1 / math.sqrt(200)),
        ("visual.proj", SHAPE, 0, 1 / math.sqrt(200)),
        ("visual.out_proj", SHAPE, 0, 1 / math.sqrt(400)),
        ("positional_embedding", SHAPE, 0, 0.1),
        ("class_embedding", (80_000,), 0, 0.1),
        ("pos_embed", SHAPE, 0, 0.1),
        ("cls_token", SHAPE, 0, 0.1),
        ("register_tokens", SHAPE, 0, 0.1),
        ("mask_token", SHAPE, 0, 0.1),
        ("token_embedding.weight", SHAPE, 0, 0.1),
        ("ln.weight", (80_000,), 1, 0.1),
        ("ls.gamma", (80_000,), 1, 0.1),
        ("ln.scale", (80_000,), 1, 0.1),
        ("ln.bias", (80_000,), 0, 0.02),
    ],
)
def test_each_kind_of_parameter_has_its_size(
    name: str, shape: tuple[int, ...], mean: float, deviation: float
) -> None:
    values = fill(name, shape, 3)
    assert values.shape == shape
    assert values.mean() == pytest.approx(mean, abs=0.02 * deviation)
    assert values.std() == pytest.approx(deviation, rel=0.02)


def test_temperatures_are_constants() -> None:
    assert fill("logit_scale", (), 0) == pytest.approx(math.log(1 / 0.07))
    assert fill("model.logit_scale", (1,), 5).tolist() == pytest.approx([math.log(1 / 0.07)])
    assert fill("temperature", (2,), 0).tolist() == pytest.approx([0.05, 0.05])
    assert fill("temperature", (2,), 0).dtype == np.float32


def test_whole_numbers_are_left_alone() -> None:
    state = {"ids": torch.arange(3), "x": torch.zeros(()), "w": torch.zeros(2, 3, dtype=torch.float64)}
    got = filled(state, 1)
    assert list(got) == ["ids", "x", "w"]
    assert torch.equal(got["ids"], torch.arange(3))
    assert got["x"].shape == ()
    assert np.array_equal(got["w"].numpy(), fill("w", (2, 3), 1))
