"""Who is measured how: method requests, their options and variants, and what may be tested on what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.errors import BenchError, unknown
from bench.store.marks import BASELINES
from methods.registry import failures, find
from methods.registry import keys as method_keys
from methods.source import Source

if TYPE_CHECKING:  # importing them takes torch
    from methods.base import Preset, ZeroShotDetector
    from methods.learning import Recipe
    from methods.weights import WeightFile


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

    @property
    def rules(self) -> Preset:
        """What holds under the request's preset: options, sources, options by target, recipe."""
        return self.detector.preset(self.preset)

    def options(self, target: str | None, source: Source | None = None) -> dict[str, Any]:
        """Return all options for `target` with weights trained on `source`.

        Defaults, then what the paper uses with the source, on the target, under the preset, under the preset
        on the target; then the overrides.
        """
        detector, rules = self.detector, self.rules
        layers = [
            detector.source_options.get(source.key, {}) if source else {},
            detector.target_options.get(target or "", {}),
            rules.options,
            (rules.target_options or {}).get(target or "", {}),
            self.overrides,
        ]
        try:
            return detector.resolve({name: value for layer in layers for name, value in layer.items()})
        except TypeError as error:
            raise BenchError(f"{error}; see `run_bench.py list {self.key}`") from error

    @property
    def recipe(self) -> Recipe:
        """The training recipe; raises `BenchError` if the method learns nothing."""
        recipe = self.rules.recipe
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
    unusable = {*BASELINES, *failures()}
    return [key for key in method_keys() if key not in unusable]


def _canonical(request: MethodRequest) -> MethodRequest:
    """Spell a request in the one way that its column is called by: a preset by its name, no idle override."""
    detector = request.detector
    fixed_elsewhere = {
        name
        for rules in (detector.target_options, detector.source_options, request.rules.target_options or {})
        for options in rules.values()
        for name in options
    }
    wanted = request.options(None), replace(request.rules, options={})
    for preset in (None, *detector.presets):
        plain = MethodRequest(request.key, preset)
        same = (plain.options(None), replace(plain.rules, options={})) == wanted
        if same and not fixed_elsewhere & set(request.overrides):
            return plain
    below = MethodRequest(request.key, request.preset).options(None)
    needed = {
        name: value
        for name, value in request.overrides.items()
        if below[name] != value or name in fixed_elsewhere
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


def chosen_source(request: MethodRequest, target: str, source: Source | None) -> Source | None:
    """Return what the weights for `target` were trained on: `source` if given, or else the protocol's choice.

    Weights that nobody published are trained here and carry the seed, by default the recipe's. None for a
    method that learns nothing.
    """
    own = protocol_source(request, target)
    chosen = source or own
    if own is None or chosen is None or chosen.seed is not None or request.rules.recipe is None:
        return chosen if own else None
    learned = request.detector.files(request.options(target, chosen), str(chosen)).get("learned")
    if learned is None or not learned.trained_here:
        return chosen
    return replace(chosen, seed=request.recipe.seed)


class Setup(NamedTuple):
    """With what a request is measured on a target."""

    options: dict[str, Any]
    source: Source | None
    files: dict[str, WeightFile]
    """The weight files by role."""


def setup(request: MethodRequest, target: str, source: Source | None = None) -> Setup:
    """Return options, source and files for `target`; `source` overrides the protocol's choice."""
    chosen = chosen_source(request, target, source)
    options = request.options(target, chosen)
    return Setup(options, chosen, request.detector.files(options, str(chosen) if chosen else None))


def protocol_source(request: MethodRequest, target: str) -> Source | None:
    """Return what the method's authors train on for `target`, without a seed; None if nothing is learned."""
    detector, sources = request.detector, request.rules.sources
    usual = detector.source_for(target, request.options(target))
    if usual is None or sources is None:
        return None
    own = sources.get(target, sources["*"]) if sources is not detector.sources else usual
    return Source.parse(own)


def expand_datasets(words: Iterable[str], groups: Mapping[str, Sequence[str]]) -> list[str]:
    """Replace group names by their dataset keys; every dataset once, in the order asked for."""
    expanded = [key for word in words for key in groups.get(word, (word,))]
    return list(dict.fromkeys(expanded))
