"""Prompt ensembles: which sentences, in which order, and how their features are averaged."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from methods.prompts import (
    ABNORMAL_STATES,
    NORMAL_STATES,
    SHORT_TEMPLATES,
    PromptEnsemble,
    TextPairs,
    ensemble_texts,
    mean_feature,
)


def test_all_states_go_into_all_templates() -> None:
    ensemble = PromptEnsemble(("{}", "perfect {}"), ("{} with flaw",), ("a photo of a {}.", "the {}"))
    normal, abnormal = ensemble.sentences("metal nut")
    assert normal == [
        "a photo of a metal nut.", "the metal nut", "a photo of a perfect metal nut.", "the perfect metal nut"
    ]  # fmt: skip
    assert abnormal == ["a photo of a metal nut with flaw.", "the metal nut with flaw"]


def test_the_shared_words_are_winclips() -> None:
    assert len(NORMAL_STATES) == 7
    assert len(ABNORMAL_STATES) == 5
    assert len(SHORT_TEMPLATES) == 4
    normal, abnormal = PromptEnsemble(NORMAL_STATES, ABNORMAL_STATES, SHORT_TEMPLATES).sentences("x")
    assert len(set(normal)) == 28
    assert len(set(abnormal)) == 20
    assert "a cropped photo of the x without defect." in normal
    assert "a bad photo of a broken x." in abnormal


def test_sentences_count_alike_or_by_their_length() -> None:
    embeddings = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    alike = mean_feature(embeddings, normalise_each=True)
    torch.testing.assert_close(alike, torch.tensor([0.5, 0.5]).sqrt())
    by_length = mean_feature(embeddings, normalise_each=False)
    torch.testing.assert_close(by_length, torch.tensor([3.0, 1.0]) / 10**0.5)


def test_a_pair_is_normal_then_abnormal() -> None:
    def encode(group: Sequence[str]) -> Tensor:
        return torch.tensor([[float(len(text)), 1.0] for text in group])

    ensemble = PromptEnsemble(("{}",), ("a", "aaaaaaa"), ("{}",))
    (pair,) = ensemble_texts(ensemble, encode, normalise_each=False)(["aaa"], torch.zeros(1))
    torch.testing.assert_close(pair[0], torch.tensor([3.0, 1.0]) / 10**0.5)
    torch.testing.assert_close(pair[1], torch.tensor([4.0, 1.0]) / 17**0.5)
    (each,) = ensemble_texts(ensemble, encode)(["aaa"], torch.zeros(1))
    torch.testing.assert_close(each[0], pair[0])
    assert not torch.allclose(each[1], pair[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_text_features_are_computed_once_per_name(dtype: torch.dtype) -> None:
    asked: list[str] = []

    def pair(name: str) -> Tensor:
        asked.append(name)
        return torch.full((2, 3), float(len(name)), dtype=dtype)

    pairs = TextPairs(pair)
    like = torch.zeros(1)
    first = pairs(["nut", "cable", "nut"], like)
    assert first.shape == (3, 2, 3)
    assert first.dtype == torch.float32
    assert first[:, 0, 0].tolist() == [3.0, 5.0, 3.0]
    assert asked == ["nut", "cable"]
    assert torch.equal(pairs(["cable"], like), first[1:2])
    assert asked == ["nut", "cable"]


def test_what_learned_tensors_make_is_kept_until_they_change() -> None:
    weight, asked = torch.nn.Parameter(torch.ones(3)), []

    def pair(name: str) -> Tensor:
        asked.append(name)
        return torch.stack([weight, 2 * weight])

    pairs, like = TextPairs(pair, lambda: [weight]), torch.zeros(1)
    with torch.inference_mode():
        pairs(["nut"], like)
        pairs(["nut"], like)
    assert asked == ["nut"]
    # Whoever trains them gets gradients, anew each time; what was kept stays for the others.
    assert pairs(["nut", "nut"], like).requires_grad
    pairs(["nut", "nut"], like).sum().backward()
    assert asked == ["nut"] * 3 and weight.grad is not None
    weight.requires_grad_(False)
    assert not pairs(["nut"], like).requires_grad and asked == ["nut"] * 3
    weight.mul_(2)
    assert pairs(["nut"], like)[0, 1].tolist() == [4.0] * 3
