"""Statistics of comparisons: known values, coverage, and what must not depend on order."""

import numpy as np
import pytest
from scipy import stats

from bench.study import statistics
from bench.study.statistics import friedman, holm, iman_davenport, interval, least_resamples, p_value, rank

C45 = np.array(
    [
        [0.763, 0.768, 0.771, 0.798], [0.599, 0.591, 0.590, 0.569], [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657], [0.882, 0.888, 0.886, 0.898], [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685], [0.583, 0.583, 0.563, 0.625], [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000], [0.940, 0.962, 0.965, 0.962], [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.975, 0.974], [0.957, 0.978, 0.946, 0.970],
    ]
)  # fmt: skip
"""AUCs of four variants of C4.5 on 14 datasets, after Demsar, JMLR 7, 2006, Table 6.

The single values were written down from memory and may differ from print in a last digit. What is held to
the paper below is what it states of them in section 3.2.2 and 3.2.4: average ranks, statistics, q and
critical differences.
"""


def test_average_ranks_and_statistics_are_those_of_demsars_example() -> None:
    ranking = rank(C45)
    assert ranking.averages.round(3).tolist() == [3.143, 2.0, 2.893, 1.964]
    n, k = C45.shape
    # The paper's statistic has no correction for ties; ours, SciPy's, is larger by a known factor.
    plain = 12 * n / (k * (k + 1)) * ((ranking.averages**2).sum() - k * (k + 1) ** 2 / 4)
    assert plain == pytest.approx(9.28, abs=0.005)
    assert iman_davenport(plain, k, n) == pytest.approx(3.69, abs=0.005)
    ties = sum(
        (counts**3 - counts).sum() for counts in (np.unique(row, return_counts=True)[1] for row in C45)
    )
    assert ranking.friedman.chi2 == pytest.approx(plain / (1 - ties / (n * k * (k**2 - 1))))


def test_critical_differences_are_those_of_demsars_example_and_tables() -> None:
    assert rank(C45).critical == pytest.approx(1.25, abs=0.005)
    assert rank(C45, control=True).critical == pytest.approx(2.394 * np.sqrt(4 * 5 / (6 * 14)), abs=5e-4)
    # Demsar's Table 5: q at 0.05, for Nemenyi 3 to 10 methods, for Bonferroni-Dunn 3 to 8.
    nemenyi = {3: 2.343, 4: 2.569, 5: 2.728, 6: 2.850, 7: 2.949, 8: 3.031, 9: 3.102, 10: 3.164}
    dunn = {3: 2.241, 4: 2.394, 5: 2.498, 6: 2.576, 7: 2.638, 8: 2.690}
    for k, q in nemenyi.items():
        unit = np.sqrt(k * (k + 1) / 6)
        assert statistics.critical_difference(k, 1) / unit == pytest.approx(q, abs=0.0012)
        if k in dunn:
            against = statistics.critical_difference(k, 1, control=True)
            assert against / unit == pytest.approx(dunn[k], abs=0.0012)


def test_f_is_that_of_an_analysis_of_variance_of_the_ranks() -> None:
    values = np.random.default_rng(0).normal(size=(9, 5)).round(0)
    ranks = stats.rankdata(-values, axis=1)
    between = 9 * ((ranks.mean(axis=0) - 3) ** 2).sum() / 4
    within = ((ranks - ranks.mean(axis=0)) ** 2).sum() / (4 * 8)
    found = friedman(values)
    assert found.f == pytest.approx(between / within)
    assert found.p == pytest.approx(stats.f.sf(between / within, 4, 32))


def test_the_extremes_of_friedmans_test() -> None:
    assert friedman(np.ones((5, 3))) == (0.0, 0.0, 1.0)
    always_alike = friedman(np.tile([0.3, 0.2, 0.1], (5, 1)))
    assert (always_alike.chi2, always_alike.f, always_alike.p) == (pytest.approx(10), float("inf"), 0.0)


def test_ranking_follows_the_methods_and_not_the_order_of_datasets() -> None:
    ranking, order = rank(C45), [2, 0, 3, 1]
    assert rank(C45[::-1]).averages.tolist() == pytest.approx(ranking.averages.tolist())
    turned = rank(C45[:, order])
    assert turned.averages.tolist() == pytest.approx(ranking.averages[order].tolist())
    assert turned.friedman == pytest.approx(ranking.friedman)
    assert turned.cliques() == ranking.cliques()


def test_cliques_are_the_largest_groups_that_do_not_differ() -> None:
    ranking = statistics.Ranking(np.array([1.0, 4.2, 2.0, 2.9, 4.9]), 8, friedman(C45), critical=1.5)
    assert ranking.cliques() == [(1.0, 2.0), (2.0, 2.9), (2.9, 4.2), (4.2, 4.9)]
    assert ranking.differ(0, 3)
    assert not ranking.differ(2, 3)
    wide = statistics.Ranking(ranking.averages, 8, ranking.friedman, critical=4.0)
    assert wide.cliques() == [(1.0, 4.9)]
    narrow = statistics.Ranking(ranking.averages, 8, ranking.friedman, critical=0.5)
    assert narrow.cliques() == []


def test_holm_adjusts_as_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.04]) == [0.04]
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    p = np.random.default_rng(1).random(7)
    adjusted, order = np.array(holm(p)), np.random.default_rng(2).permutation(7)
    assert holm(p[order]) == pytest.approx(adjusted[order])
    assert (adjusted >= p).all()
    assert (adjusted <= np.minimum(7 * p, 1)).all()  # never beyond Bonferroni


@pytest.mark.parametrize("comparisons", [1, 3, 10])
def test_an_interval_leaves_out_zero_exactly_where_p_is_small(comparisons: int) -> None:
    rng = np.random.default_rng(3)
    agreed = []
    for shift in np.linspace(-5, 5, 101):
        drawn = rng.normal(shift, 1, size=1999)
        low, high = interval(drawn, comparisons)
        agreed.append((low > 0 or high < 0) == (p_value(drawn) <= 0.05 / comparisons))
    assert all(agreed)


def test_p_counts_the_sample_itself_and_ties_with_zero() -> None:
    assert p_value(np.ones(1999)) == pytest.approx(2 / 2000)
    assert p_value(np.zeros(99)) == 1.0
    assert p_value(np.array([1.0] * 90 + [0.0] * 9)) == pytest.approx(2 * 10 / 100)
    assert p_value(-np.array([1.0] * 90 + [0.0] * 9)) == pytest.approx(2 * 10 / 100)


def test_intervals_are_order_statistics_and_need_enough_resamples() -> None:
    drawn = np.random.default_rng(4).permutation(np.arange(1.0, 2000.0))
    assert interval(drawn) == (50.0, 1950.0)
    assert interval(drawn, 10) == (5.0, 1995.0)
    for comparisons in (1, 3, 6, 78):
        least = least_resamples(comparisons)
        assert interval(np.arange(least), comparisons) == (0.0, least - 1.0)
        with pytest.raises(ValueError, match=f"{comparisons} comparisons need at least {least} resamples"):
            interval(np.arange(least - 1), comparisons)
