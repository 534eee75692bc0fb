from decimal import Decimal
from fractions import Fraction

import pytest

from bench.show.ranking import dense_ranks, percent


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (Fraction(935, 1000), "93.5"),
        (Fraction("0.4825"), "48.2"),  # halves go to the even digit
        (Fraction("0.7135"), "71.4"),
        (Fraction(0.4825), "48.2"),  # the float lies above the half: rounding it as it is gives 48.3
        (Fraction(0.8715), "87.2"),  # and this one below: 87.1
        (Fraction(0.1 + 0.2 + 0.0005), "30.0"),  # noise of a float sum on a half
        (Fraction("0.48250001"), "48.3"),  # more than noise
        (Fraction(1), "100.0"),
        (Fraction(-1, 100000), "0.0"),
        (Fraction(-5, 1000), "-0.5"),
    ],
)
def test_percent_rounds_decimals_not_floats(number: Fraction, shown: str) -> None:
    assert str(percent(number)) == shown


@pytest.mark.parametrize(
    ("shown", "ranks"),
    [
        (["93.4", "91.5", "91.5", "89.2"], [1, 2, 2, 3]),
        (["92.8", "92.8", "92.5", "90.1"], [1, 1, 2, 3]),
        (["80.0", None, "80.0"], [1, None, 1]),
        (["80.0", None], [None, None]),  # no rival, no rank
        ([None, None], [None, None]),
    ],
)
def test_all_ties_share_a_rank_and_the_next_follows_at_once(
    shown: list[str | None], ranks: list[int | None]
) -> None:
    assert dense_ranks([None if text is None else Decimal(text) for text in shown]) == ranks
