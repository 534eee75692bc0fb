"""Prompt ensembles: sentences about a normal and an abnormal object, and their averaged text features."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.learning import state_of

# The states and templates that several papers took over from WinCLIP and VAND (April-GAN).
NORMAL_STATES = (
    "{}",
    "flawless {}",
    "perfect {}",
    "unblemished {}",
    "{} without flaw",
    "{} without defect",
    "{} without damage",
)
ABNORMAL_STATES = ("damaged {}", "broken {}", "{} with flaw", "{} with defect", "{} with damage")
SHORT_TEMPLATES = (
    "a bad photo of a {}.",
    "a low resolution photo of the {}.",
    "a bad photo of the {}.",
    "a cropped photo of the {}.",
)


@dataclass(frozen=True)
class PromptEnsemble:
    """States of a normal and an abnormal object, and the templates every state is put into."""

    normal: tuple[str, ...]
    abnormal: tuple[str, ...]
    templates: tuple[str, ...]

    def sentences(self, name: str) -> tuple[list[str], list[str]]:
        """Return the (normal, abnormal) sentences about the object `name`: all states times all templates."""

        def expand(states: tuple[str, ...]) -> list[str]:
            return [template.format(state.format(name)) for state in states for template in self.templates]

        return expand(self.normal), expand(self.abnormal)


def mean_feature(embeddings: Tensor, *, normalise_each: bool) -> Tensor:
    """Average sentence embeddings (n, D) to one unit-length feature (D,).

    `normalise_each` gives every sentence the same weight whatever the length of its embedding;
    the papers differ in this.
    """
    if normalise_each:
        embeddings = F.normalize(embeddings, dim=-1)
    return F.normalize(embeddings.mean(dim=0), dim=-1)


class TextPairs:
    """The (normal, abnormal) text features of objects, computed once per name and kept."""

    def __init__(
        self, pair: Callable[[str], Tensor], learned: Callable[[], Iterable[Tensor]] = lambda: ()
    ) -> None:
        """`pair` computes the features (2, D) of one object's name; `learned` says what they depend on.

        When that has changed they are computed anew; while it is trained, each time and with gradients.
        """
        self._pair, self._learned = pair, learned
        self._known: dict[str, Tensor] = {}
        self._state: object = None

    def __call__(self, names: Sequence[str], like: Tensor) -> Tensor:
        """Return (B, 2, D), float32, on the device of `like`, for the names of B images."""
        learned, known = list(self._learned()), self._known
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in learned):
            known = {name: self._pair(name).float() for name in dict.fromkeys(names)}
        elif self._state != (state := state_of(learned)):
            self._state = state
            known.clear()
        for name in dict.fromkeys(names):
            if name not in known:
                with torch.inference_mode(False), torch.no_grad():
                    known[name] = self._pair(name).float()
        return torch.stack([known[name] for name in names]).to(like.device)


def ensemble_texts(
    ensemble: PromptEnsemble,
    encode: Callable[[Sequence[str]], Tensor],
    *,
    normalise_each: bool = True,
    learned: Callable[[], Iterable[Tensor]] = lambda: (),
) -> TextPairs:
    """Return the text features of an ensemble: `encode`d sentences (n, D), each state's averaged.

    `learned` is as for `TextPairs`.
    """

    def pair(name: str) -> Tensor:
        groups = ensemble.sentences(name)
        return torch.stack([mean_feature(encode(group), normalise_each=normalise_each) for group in groups])

    return TextPairs(pair, learned)
