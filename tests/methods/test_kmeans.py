"""K-means of many sets at once, held to scikit-learn's of each."""

import warnings

import pytest
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from methods.kmeans import _lloyd, kmeans

SHAPES = [(100, 20, 256), (50, 10, 64), (30, 4, 8), (9, 1, 3)]


def sets(kind: str, count: int, points: int, numbers: int) -> Tensor:
    """Return sets (count, points, numbers): noise, clusters, or nearly alike as patches are."""
    generator = torch.Generator().manual_seed(points)
    noise = torch.randn(count, points, numbers, generator=generator)
    if kind == "noise":
        return noise
    centres = torch.randn(count, 12, numbers, generator=generator)
    if kind == "clusters":
        drawn = torch.randint(0, 12, (count, points, 1), generator=generator)
        return centres.take_along_dim(drawn, dim=1) + 0.3 * noise
    few = torch.randn(count, points, 3, generator=generator) @ centres[:, 1:4]
    return torch.nn.functional.normalize(centres[:, :1] + 0.1 * few + 0.02 * noise, dim=-1)


def theirs(points: Tensor, clusters: int, seed: int) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # more clusters than distinct points
        fitted = [KMeans(clusters, n_init=1, random_state=seed).fit(each.numpy()) for each in points]
    return torch.stack([torch.from_numpy(each.labels_) for each in fitted]).long()


@pytest.mark.parametrize(("points", "clusters", "numbers"), SHAPES)
@pytest.mark.parametrize("kind", ["noise", "clusters", "alike"])
@pytest.mark.parametrize("seed", [0, 111])
def test_labels_are_those_of_scikit_learn(
    kind: str, points: int, clusters: int, numbers: int, seed: int
) -> None:
    given = sets(kind, 12, points, numbers)
    found = kmeans(given, clusters, seed)
    assert found.dtype == torch.int64
    assert torch.equal(found, theirs(given, clusters, seed))
    assert torch.equal(torch.cat([kmeans(each[None], clusters, seed) for each in given]), found)


def test_rounds_end_as_they_do_there_where_nothing_moves_by_much() -> None:
    line = torch.linspace(0, 1, 400)[None, :, None] ** 2  # centres creep: ended by the tolerance
    assert torch.equal(kmeans(line, 5, 3), theirs(line, 5, 3))


def test_fewer_distinct_points_than_clusters_are_each_by_themselves() -> None:
    distinct = torch.randn(1, 7, 16, generator=torch.Generator().manual_seed(1))
    drawn = torch.arange(60) % 7
    labels = kmeans(distinct[:, drawn], 20, 111)[0]
    groups = {frozenset(labels[drawn == each].tolist()) for each in range(7)}
    assert len(groups) == 7 and not any(a & b for a in groups for b in groups if a != b)
    assert kmeans(torch.ones(2, 10, 4), 3, 0).shape == (2, 10)


def test_a_cluster_that_loses_all_its_points_gets_the_furthest_one() -> None:
    # Fourteen distinct places for sixteen clusters at the start, but their centres move off the copies.
    places = torch.randn(1, 14, 2, generator=torch.Generator().manual_seed(2))
    given = torch.cat([places[:, :10].repeat(1, 3, 1), places[:, 10:]], dim=1)
    assert len(set(kmeans(given, 16, 0)[0].tolist())) == len(set(theirs(given, 16, 0)[0].tolist())) == 14
    line = torch.tensor([0.0, 0.0, 0.0, 9.0, 10.0, 11.0, 30.0, 31.0])[None, :, None]
    products = (line - line.mean()).double() @ (line - line.mean()).double().mT
    labels = _lloyd(products, torch.tensor([[0, 1, 4]]), torch.zeros(1, dtype=torch.float64))
    assert labels.tolist() == [[0, 0, 0, 2, 2, 2, 1, 1]], "the second copy's cluster moves to the far end"


def test_gradients_do_not_pass() -> None:
    points = sets("noise", 2, 30, 8).requires_grad_()
    assert not kmeans(points, 4, 0).requires_grad
