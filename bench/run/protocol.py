"""Who is measured how: method requests, their options and variants, and what may be tested on what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError, unknown
from methods.registry import failures, find
from methods.registry import keys as method_keys

if TYPE_CHECKING:  # importing them takes torch
    from methods.base import ZeroShotDetector
    from methods.learning import Recipe

NOT_IN_ALL = ("chance", "oracle")


@dataclass(frozen=True)
class MethodRequest:
    """A method as asked for: `tipsomaly:no-local-evidence` with `--set sigma=0`."""

    key: str
    preset: str | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @property
    def detector(self) -> type[ZeroShotDetector]:
        """The method's class."""
        return find(self.key)

    def options(self, target: str | None) -> dict[str, Any]:
        """Return all options for `target`: defaults, then what the paper uses there, preset, overrides."""
        detector = self.detector
        preset = detector.presets[self.preset] if self.preset else {}
        of_target = detector.target_options.get(target, {}) if target else {}
        try:
            return detector.resolve({**of_target, **preset, **self.overrides})
        except TypeError as error:
            raise BenchError(f"{error}; see `run_bench.py list {self.key}`") from error

    @property
    def recipe(self) -> Recipe:
        """The method's training recipe; raises `BenchError` if it learns nothing."""
        recipe = self.detector.recipe
        if recipe is None:
            raise BenchError(f"{self.key} learns nothing; there is nothing to train")
        return recipe

    @property
    def word(self) -> str:
        """The request as it is typed, but for `--set`."""
        return f"{self.key}:{self.preset}" if self.preset else self.key

    @property
    def variant(self) -> str | None:
        """The column this request fills: None for the paper's settings, else preset and overrides."""
        parts = [self.preset] if self.preset else []
        parts += [f"{name}={value}" for name, value in sorted(self.overrides.items())]
        return ",".join(parts) or None


def parse_methods(words: Sequence[str], overrides: Mapping[str, str]) -> list[MethodRequest]:
    """Turn `key`, `key:preset` and `all` into requests; `overrides` are the texts of `--set key=value`.

    `all` is every method but the baselines `chance` and `oracle` and those that cannot be imported. Raises
    `BenchError` for a misspelt key, preset or option, or a value that does not fit the option; `MethodError`
    for a method whose file is broken.
    """
    requests = []
    for word in words:
        key, _, preset = word.partition(":")
        for name in _all() if key == "all" else [key]:
            try:
                detector = find(name)
            except KeyError:
                raise unknown("method", name, method_keys()) from None
            if preset and preset not in detector.presets:
                raise unknown(f"preset of {name}", preset, detector.presets)
            typed = {option: _typed(detector, option, text) for option, text in overrides.items()}
            requests.append(_canonical(MethodRequest(name, preset or None, typed)))
    return list({(request.key, request.variant): request for request in requests}.values())


def _all() -> list[str]:
    unusable = {*NOT_IN_ALL, *failures()}
    return [key for key in method_keys() if key not in unusable]


def _canonical(request: MethodRequest) -> MethodRequest:
    """Spell a request in the one way that its column is called by: a preset by its name, no idle override."""
    detector = request.detector
    fixed_by_target = {name for options in detector.target_options.values() for name in options}
    base_options = request.options(None)
    for preset in (None, *detector.presets):
        same = MethodRequest(request.key, preset).options(None) == base_options
        if same and not fixed_by_target & set(request.overrides):
            return MethodRequest(request.key, preset)
    below = MethodRequest(request.key, request.preset).options(None)
    needed = {
        name: value
        for name, value in request.overrides.items()
        if below[name] != value or name in fixed_by_target
    }
    return MethodRequest(request.key, request.preset, needed)


def _typed(detector: type[ZeroShotDetector], option: str, text: str) -> Any:
    if option not in detector.defaults:
        raise unknown(f"option of {detector.__name__.lower()}", option, detector.defaults)
    default = detector.defaults[option]
    try:
        return _convert(text, default)
    except ValueError as error:
        kind = type(default).__name__
        raise BenchError(f"--set {option}={text}: expected a {kind}, such as {default}") from error


def _convert(text: str, like: Any) -> Any:
    if isinstance(like, bool):
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if text.lower() not in words:
            raise ValueError(text)
        return words[text.lower()]
    if isinstance(like, int):
        return int(text)
    if isinstance(like, float):
        return float(text)
    if isinstance(like, (list, tuple)):
        items = [item for item in text.strip("[]()").split(",") if item.strip()]
        return type(like)(_convert(item.strip(), like[0] if like else "") for item in items)
    return None if like is None and text.lower() == "none" else text


def source_parts(source: str | None) -> tuple[str, ...]:
    """Return the datasets of a source: `mvtec+cvc_colondb~111` has two; `~111` is the training's seed."""
    return tuple(source.partition("~")[0].split("+")) if source else ()


def weights_source(
    detector: type[ZeroShotDetector], options: Mapping[str, Any], source: str | None
) -> str | None:
    """Return the source as weights are called by it.

    Weights that nobody published are trained here, and carry the seed: `btad~111`, by default the recipe's.
    """
    if source is None or "~" in source or detector.recipe is None:
        return source
    learned = detector.files(options, source).get("learned")
    return source if learned is None or not learned.trained_here else f"{source}~{detector.recipe.seed}"


def chosen_source(request: MethodRequest, target: str, source: str | None) -> str | None:
    """Return the weights' source for `target`: the one asked for, or else the protocol's."""
    options = request.options(target)
    own = request.detector.source_for(target, options)
    return weights_source(request.detector, options, (source or own) if own else None)


def is_seen(source: str | None, target: str) -> bool:
    """Whether weights trained on `source` have seen `target`."""
    return target in source_parts(source)


def expand_datasets(words: Iterable[str], groups: Mapping[str, Sequence[str]]) -> list[str]:
    """Replace group names by their dataset keys; every dataset once, in the order asked for."""
    expanded = [key for word in words for key in groups.get(word, (word,))]
    return list(dict.fromkeys(expanded))
