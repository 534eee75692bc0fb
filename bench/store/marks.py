"""What a number's reader must know: one word stored with the cell, one symbol and one line in tables."""

from collections.abc import Container
from enum import StrEnum


class Mark(StrEnum):
    """A mark of a cell or of a number made from cells; its value is the stored word.

    The order of the members is that of the symbols behind a number and of the legend's lines.
    """

    symbol: str
    """What stands behind the number; empty for marks that only keep it out of the ranking."""
    legend: str
    """What the symbol means."""
    ranked: bool
    """Whether a number with the mark takes part in the ranking."""

    def __new__(cls, word: str, symbol: str = "", legend: str = "", ranked: bool = True) -> "Mark":
        """Make the member of a stored word."""
        mark = str.__new__(cls, word)
        mark._value_ = word
        mark.symbol, mark.legend, mark.ranked = symbol, legend, ranked
        return mark

    # Stored in cells.
    PARTIAL = (
        "partial",
        "*",
        "partial: classes, seeds, datasets or images are missing, or a class is undefined; not ranked",
        False,
    )
    SELECTED = "selected", "†", "checkpoint chosen by its authors on this dataset's test images"
    SEEN = (
        "seen",
        "‡",
        "trained on this dataset: not zero-shot, not ranked, left out of averages",
        False,
    )
    OVERLAP = "overlap", "¶", "some of the test images were among the training images"
    UNTRAINED = "untrained", "", "", False
    PRIVILEGED = "privileged", "", "", False
    STANDIN = "stand-in"
    # The cell's setting, where it is not inductive.
    TRANSDUCTIVE = (
        "transductive",
        "◇",
        "sees all unlabelled test images of the class together: ranked only among its kind",
    )
    CLASS_NORMALISED = (
        "class-normalised",
        "△",
        "normalises its scores over all test images of the class: ranked only among its kind",
    )
    # Made by tables.
    FEW_THRESHOLDS = (
        "few-thresholds",
        "§",
        "AUPRO by 200 thresholds rests on few of them in at least one class; not ranked; see the exact AUPRO",
        False,
    )
    RELATED = "related", "≈", "trained on a dataset that is known to be close to this one: see the notes"
    PROTOCOL = "protocol", "□", "the source that the method's own protocol takes for this target"


INDUCTIVE = "inductive"
"""The setting in which every image is scored by itself."""
SETTINGS = (INDUCTIVE, Mark.TRANSDUCTIVE, Mark.CLASS_NORMALISED)
"""How much of the test set a score has seen, in the order of the tables' columns."""

BASELINES = ("chance", "oracle")
"""Methods that bound the scale: they stand last, and `all` leaves them out."""


def symbols(marks: Container[Mark]) -> str:
    """Return the symbols of the marks, in the legend's order."""
    return "".join(mark.symbol for mark in Mark if mark in marks)


def legend(marks: Container[Mark]) -> tuple[tuple[str, str], ...]:
    """Return (symbol, meaning) of those of the marks that have a symbol."""
    return tuple((mark.symbol, mark.legend) for mark in Mark if mark in marks and mark.symbol)
