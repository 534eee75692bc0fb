"""Statistics of comparisons, free of cells: p-values and intervals for several at once, and average ranks.

p-values and intervals come from one set of resampled differences and agree: a bootstrap p-value is at most
a level if and only if the percentile interval of that level leaves out 0. Percentiles are order statistics
of rank (n + 1) * level / 2, and p-values count the sample itself as one more resample, so that none is 0
(Davison and Hinkley, Bootstrap Methods and their Application, 1997, sections 4.2 and 5.2).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.05
"""All tests are at this level, two-sided; all intervals cover with 1 - `LEVEL`."""


def p_value(differences: np.ndarray) -> float:
    """Return the two-sided bootstrap p-value for "no difference" of resampled differences (n,)."""
    tail = min(np.count_nonzero(differences <= 0), np.count_nonzero(differences >= 0))
    return min(1.0, 2 * (int(tail) + 1) / (differences.size + 1))


def least_resamples(comparisons: int) -> int:
    """Return how many resamples the simultaneous intervals of so many comparisons need at the very least."""
    return round(2 * comparisons / LEVEL) - 1


def interval(differences: np.ndarray, comparisons: int = 1) -> tuple[float, float]:
    """Return the percentile interval of resampled differences (n,).

    With several comparisons it is widened as Bonferroni has it, to the level 1 - `LEVEL` / comparisons, so
    that the intervals of all of them cover at once. Raises `ValueError` for fewer than `least_resamples`.
    """
    ordered = np.sort(differences)
    place = int((ordered.size + 1) * LEVEL / (2 * comparisons) + 1e-9)
    if place < 1:
        raise ValueError(f"{comparisons} comparisons need at least {least_resamples(comparisons)} resamples")
    return float(ordered[place - 1]), float(ordered[-place])


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values adjusted by Holm's step-down procedure (Scandinavian Journal of Statistics, 1979).

    Those at most a level may be called different together: the chance of one wrong call or more is at most
    that level, however the comparisons depend on each other.
    """
    order = np.argsort(p_values, kind="stable")
    steps = np.asarray(p_values, dtype=float)[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return [float(p) for p in adjusted]


class Friedman(NamedTuple):
    """The test that all methods rank alike on average."""

    chi2: float
    """Friedman's statistic, corrected for ties."""
    f: float
    """Iman and Davenport's, which is less conservative; infinite if all datasets rank alike."""
    p: float
    """Of `f`."""


@dataclass(frozen=True)
class Ranking:
    """Average ranks of k methods over n datasets (Demsar, JMLR 7, 2006, sections 3.2.2 and 3.2.4)."""

    averages: np.ndarray
    """(k,), 1 is best; ties share the mean of their ranks."""
    n: int
    friedman: Friedman
    critical: float
    """Average ranks that lie further apart differ: all pairs by Nemenyi, or all from a control by
    Bonferroni-Dunn."""

    def differ(self, first: int, second: int) -> bool:
        """Whether two methods differ, of those that `critical` is for."""
        return bool(abs(self.averages[first] - self.averages[second]) > self.critical)

    def cliques(self) -> list[tuple[float, float]]:
        """Return (lowest, highest average rank) of the largest groups of methods that do not differ."""
        ordered = np.sort(self.averages)
        ends = np.searchsorted(ordered, ordered + self.critical, side="right") - 1
        spans = [(start, int(end)) for start, end in enumerate(ends) if end > start]
        largest = [span for span in spans if not any(a <= span[0] and span[1] <= b and (a, b) != span
                                                     for a, b in spans)]  # fmt: skip
        return [(float(ordered[start]), float(ordered[end])) for start, end in largest]


def rank(values: np.ndarray, *, control: bool = False) -> Ranking:
    """Rank methods on datasets: `values` (n, k), higher is better, n at least 2 and k at least 3.

    `control` makes the critical difference one for comparisons with a single method.
    """
    n, k = values.shape
    averages = stats.rankdata(-values, axis=1).mean(axis=0)
    return Ranking(averages, n, friedman(values), critical_difference(k, n, control=control))


def friedman(values: np.ndarray) -> Friedman:
    """Test `values` (n, k) of k methods on n datasets for equal average ranks."""
    n, k = values.shape
    if (values == values[:, :1]).all():
        return Friedman(0.0, 0.0, 1.0)
    chi2 = float(stats.friedmanchisquare(*values.T).statistic)
    f = iman_davenport(chi2, k, n)
    return Friedman(chi2, f, float(stats.f.sf(f, k - 1, (k - 1) * (n - 1))))


def iman_davenport(chi2: float, k: int, n: int) -> float:
    """Return F with k - 1 and (k - 1)(n - 1) degrees of freedom from Friedman's statistic."""
    rest = n * (k - 1) - chi2
    return (n - 1) * chi2 / rest if rest > 1e-9 else float("inf")


def critical_difference(k: int, n: int, *, control: bool = False) -> float:
    """Return how far average ranks must lie apart: by Nemenyi, or by Bonferroni-Dunn with a control."""
    if control:
        q = float(stats.norm.isf(LEVEL / (2 * (k - 1))))
    else:
        q = float(stats.studentized_range.ppf(1 - LEVEL, k, np.inf)) / 2**0.5
    return q * float(k * (k + 1) / (6 * n)) ** 0.5
