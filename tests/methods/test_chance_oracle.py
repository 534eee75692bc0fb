"""The two baselines that prove the pipeline."""

import pytest
import torch
from torch import Tensor

from methods.chance import Chance
from methods.oracle import Oracle


def _images(count: int = 6) -> Tensor:
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_chance_depends_on_the_image_and_the_seed_alone() -> None:
    images, chance = _images(), Chance(image_size=16)
    whole = chance(images, ["a"] * 6)
    order = [3, 0, 5, 1, 4, 2]
    shuffled = Chance(image_size=16)(images[order], ["b"] * 6)
    assert torch.equal(shuffled.scores, whole.scores[order])
    assert torch.equal(shuffled.maps, whole.maps[order])
    alone = chance(images[4:5], ["a"])
    assert torch.equal(alone.scores[0], whole.scores[4])
    assert torch.equal(alone.maps[0], whole.maps[4])
    assert not torch.isclose(Chance(image_size=16, seed=1)(images, ["a"] * 6).scores, whole.scores).any()


def test_chance_is_uniform() -> None:
    answer = Chance(image_size=16)(_images(64), ["a"] * 64)
    assert answer.scores.shape == (64,)
    assert answer.maps.shape == (64, 16, 16)
    assert len(answer.scores.unique()) == 64
    for values in (answer.scores, answer.maps):
        assert values.dtype == torch.float32
        assert 0 <= values.min() <= values.max() < 1
    assert float(answer.maps.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(answer.maps.std()) == pytest.approx(12**-0.5, abs=0.01)


def test_oracle_answers_with_the_truth_it_was_shown() -> None:
    oracle, labels = Oracle(image_size=16), torch.tensor([0, 1, 1])
    masks = torch.zeros(3, 16, 16, dtype=torch.uint8)
    masks[1, 2:5, 3:6] = 1  # the third is anomalous without a mask
    oracle.reveal(labels, masks)
    answer = oracle(_images(3), ["a"] * 3)
    assert answer.scores.tolist() == [0, 1, 1]
    assert torch.equal(answer.maps, masks.float())
    assert oracle.privileged


def test_oracle_never_answers_with_an_old_truth() -> None:
    oracle = Oracle(image_size=16)
    with pytest.raises(RuntimeError, match="exactly this batch"):
        oracle(_images(3), ["a"] * 3)
    oracle.reveal(torch.zeros(3), torch.zeros(3, 16, 16))
    oracle(_images(3), ["a"] * 3)
    with pytest.raises(RuntimeError, match="exactly this batch"):
        oracle(_images(3), ["a"] * 3)
    oracle.reveal(torch.zeros(2), torch.zeros(2, 16, 16))
    with pytest.raises(RuntimeError, match="exactly this batch"):
        oracle(_images(3), ["a"] * 3)
