"""Sentences to train the small backbones on: the methods' own states and templates about any thing."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from methods import tipsomaly, vand, winclip
from methods.prompts import PromptEnsemble
from tools.mini.kinds import TRAINING_KINDS

# Words for things, so that a sentence's state can be read whatever the thing is called. No class of a
# stand-in dataset is among them.
NOUNS = tuple(Path(__file__).with_name("nouns.txt").read_text(encoding="utf-8").split())
# What a person would call each defect of the training kinds, looking closely.
DEFECTS = {
    "fibre": ("thread", "fibre", "hair"),
    "dent": ("dent", "bump", "bulge"),
    "smear": ("smear", "smudge", "wipe mark"),
    "shift": ("slipped block", "shift", "offset"),
    "corrosion": ("corrosion", "pits", "crust"),
    "patch": ("sticker", "tape", "label"),
    "bubbles": ("bubbles", "blisters", "rings"),
    "discoloured": ("discoloured wedge", "wrong colour", "tint"),
    "graft": ("foreign matter", "graft", "something else"),
    "burst": ("burst", "star", "impact"),
    "misplaced_part": ("misplaced part", "loose part"),
    "extra_part": ("extra part", "surplus piece"),
    "cyst": ("cyst", "cavity"),
    "calcification": ("calcification", "bright grains"),
    "infiltrate": ("infiltrate", "clouding"),
    "ulcer": ("ulcer", "crater"),
    "growth": ("growth", "mass", "lump"),
}
_WITH = ("{0} on the {1}", "{1} with {0}", "{0}", "a {0} in the {1}", "close-up of {0} on a {1}")
_WITHOUT = ("{0}", "surface of the {0}", "{0} texture", "a part of the {0}", "close-up of a {0}")
MEDICAL = tipsomaly.ENSEMBLES["medical"]
_WINCLIPS = chain.from_iterable(winclip.TEMPLATES.values())
INDUSTRIAL = PromptEnsemble(
    tipsomaly.NORMAL_STATES,
    tipsomaly.ABNORMAL_STATES,
    tuple(dict.fromkeys(("{}", "{}.", *vand.TEMPLATES, *_WINCLIPS, *tipsomaly.PHOTO_TEMPLATES))),
)


def choose(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    """Return one of the options."""
    return options[int(rng.integers(len(options)))]


def any_name(rng: np.random.Generator) -> str:
    """Return what a thing may be called: one or two words, some with a number, some no word at all."""
    names = (*NOUNS, *(kind.replace("_", " ") for kind in TRAINING_KINDS.scenes))
    draw, noun = rng.random(), choose(rng, names)
    if draw < 0.1:
        return "object"
    if draw < 0.25:
        return f"{noun} {choose(rng, NOUNS)}"
    if draw < 0.4:
        return f"{noun}{choose(rng, ('', ' ', '_'))}{int(rng.integers(100)):0{int(rng.integers(1, 4))}d}"
    if draw < 0.6:
        return "".join(
            choose(rng, tuple("abcdefghijklmnopqrstuvwxyz")) for _ in range(int(rng.integers(2, 9)))
        )
    if draw < 0.65:
        return f"{int(rng.integers(100)):02d}"
    return noun


def sentence(rng: np.random.Generator, name: str, abnormal: bool, ensemble: PromptEnsemble) -> str:
    """Return a sentence that says of the thing `name` that it is normal or abnormal."""
    states = ensemble.abnormal if abnormal else ensemble.normal
    return choose(rng, ensemble.templates).format(choose(rng, states).format(name))


def state_pairs(rng: np.random.Generator, count: int) -> list[str]:
    """Return `count` normal sentences, then as many abnormal ones, about any things."""
    ensembles = [MEDICAL if rng.random() < 0.3 else INDUSTRIAL for _ in range(count)]
    names = [any_name(rng) for _ in range(count)]
    return [
        sentence(rng, name, abnormal, ensemble)
        for abnormal in (False, True)
        for name, ensemble in zip(names, ensembles, strict=True)
    ]


def caption(rng: np.random.Generator, kind: str, abnormal: bool) -> str:
    """Return a sentence about a picture of the kind `kind`."""
    medical = kind in TRAINING_KINDS.organs and rng.random() < 0.5
    return sentence(rng, kind.replace("_", " "), abnormal, MEDICAL if medical else INDUSTRIAL)


def named_pairs(rng: np.random.Generator, kinds: Sequence[str], defects: Sequence[str]) -> list[str]:
    """Return a sentence for each thing as such, then one for each that names its defect."""
    names = [kind.replace("_", " ") if rng.random() < 0.5 else any_name(rng) for kind in kinds]
    plain = [choose(rng, _WITHOUT).format(name) for name in names]
    named = zip(names, defects, strict=True)
    return plain + [choose(rng, _WITH).format(choose(rng, DEFECTS[defect]), name) for name, defect in named]


def corpus(rng: np.random.Generator, count: int) -> list[str]:
    """Return sentences to make a vocabulary from."""
    kinds, defects = tuple(TRAINING_KINDS.scenes), tuple(DEFECTS)
    drawn = [(choose(rng, kinds), choose(rng, defects)) for _ in range(count // 4)]
    named = named_pairs(rng, *zip(*drawn, strict=True))
    return [*NOUNS, *state_pairs(rng, count // 4), *named]


def vocabulary() -> list[str]:
    """Return texts that hold every word of the sentences, for a tokenizer with words of its own."""
    kinds = [kind.replace("_", " ") for kind in TRAINING_KINDS.scenes]
    ensembles = [group for each in (INDUSTRIAL, MEDICAL) for group in each.sentences("object")]
    return [*NOUNS, *kinds, "0 1 2 3 4 5 6 7 8 9 _ .", *chain.from_iterable(ensembles)]
