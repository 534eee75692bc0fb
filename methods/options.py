"""Checks of options' values, each with one line that says what could be."""

from collections.abc import Mapping, Sequence
from typing import Any


def one_of(options: Mapping[str, Any], **allowed: Sequence[str]) -> None:
    """Raise `ValueError` where an option is none of the words allowed for it."""
    for name, (*words, last) in allowed.items():
        if options[name] not in (*words, last):
            raise ValueError(f"{name} must be {', '.join(words)} or {last}, not {options[name]!r}")


def between(options: Mapping[str, Any], **bounds: tuple[float, float]) -> None:
    """Raise `ValueError` where an option is outside its bounds, both of which it may have."""
    for name, (least, most) in bounds.items():
        if not least <= options[name] <= most:
            raise ValueError(f"{name} must lie between {least} and {most}, not {options[name]}")
