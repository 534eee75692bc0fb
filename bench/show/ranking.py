"""Rounding and ranking: percentages with one decimal, ranked densely after rounding."""

from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction

_TENTH = Decimal("0.1")


def percent(number: Fraction) -> Decimal:
    """Return a fraction of one as a percentage with one decimal; halves go to the even digit.

    Half-even is what NumPy does and what the printed averages that fall on a half follow (48.25 is printed
    as 48.2 in one paper, 71.35 as 71.4 in another). A float such as 0.8725 lies beside the half it stands
    for; rounding to 1e-10 of a percent first puts it there, and drops nothing but the noise of arithmetic.
    """
    denoised = Decimal(round(number * 10**12)).scaleb(-10)
    return denoised.quantize(_TENTH, ROUND_HALF_EVEN) + 0  # + 0 turns -0.0 into 0.0


def dense_ranks(shown: Sequence[Decimal | None]) -> list[int | None]:
    """Return the dense rank of each value, 1 for the highest; None stays None.

    All ties for first are 1 and all ties for second are 2. A value without a rival has no rank.
    """
    rivals = [value for value in shown if value is not None]
    if len(rivals) < 2:
        return [None] * len(shown)
    order = sorted(set(rivals), reverse=True)
    return [None if value is None else order.index(value) + 1 for value in shown]
