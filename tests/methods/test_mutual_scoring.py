"""Distances of all images to all, against their definition, in every layout of memory."""

import pytest
import torch
import torch.nn.functional as F

from methods import mutual_scoring
from methods.mutual_scoring import Layout, layout, mean_distances

COUNT, PATCHES, WIDTH = 13, 6, 5


@pytest.fixture(scope="module")
def features() -> torch.Tensor:
    drawn = torch.randn(COUNT, PATCHES, WIDTH, generator=torch.Generator().manual_seed(1))
    return F.normalize(drawn, dim=-1)


def _by_definition(features: torch.Tensor, nearest: int) -> torch.Tensor:
    distances = torch.empty(COUNT, PATCHES, COUNT, dtype=torch.float64)
    for one in range(COUNT):
        for other in range(COUNT):
            differences = features[one].double()[:, None] - features[other].double()[None]
            distances[one, :, other] = differences.norm(dim=-1).amin(dim=1)
        distances[one, :, one] = torch.inf
    return distances.sort(dim=-1).values[..., :nearest].mean(dim=-1)


KINDS = ((True, True), (True, False), (False, True), (False, False))  # of comparing once, and of holding
BUDGETS = {
    kind: next(size for size in range(0, 10**6, 20) if layout(COUNT, PATCHES, WIDTH, size)[:2] == kind)
    for kind in KINDS
}


@pytest.mark.parametrize("kind", BUDGETS, ids=str)
@pytest.mark.parametrize("nearest", [1, 3, COUNT - 1])
def test_every_layout_gives_the_distances(
    features: torch.Tensor, kind: tuple[bool, bool], nearest: int
) -> None:
    got = mean_distances(lambda part: features[list(part)], COUNT, nearest, BUDGETS[kind])
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), _by_definition(features, nearest), atol=2e-6, rtol=0)


@pytest.mark.parametrize("budget", range(0, 12_000, 400))
def test_any_budget_gives_the_same(features: torch.Tensor, budget: int) -> None:
    whole = mean_distances(lambda part: features[list(part)], COUNT, 3, 10**9)
    torch.testing.assert_close(
        mean_distances(lambda part: features[list(part)], COUNT, 3, budget), whole, atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("count", [5, 83, 200, 441, 614, 3000])
@pytest.mark.parametrize("budget", [10**9, 2 * 10**9, 30 * 10**9])
def test_what_is_held_fits_the_budget(count: int, budget: int) -> None:
    patches, width = 37 * 37, 1024
    once, held, rows, columns = layout(count, patches, width, budget)
    image, line = 4 * patches * (width + 2), 4 * count * patches
    taken = columns * (4 * patches**2 + image) + (count if once else rows) * line
    taken += (count if held else rows) * image + 2 * line  # and the answers, in float64
    assert taken <= budget
    assert once or (count + 8) * image / 2 > budget or count * line > budget / 2


def test_each_pair_is_compared_once_where_memory_allows(
    features: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[int] = []
    original = mutual_scoring._squares

    def counted(left: torch.Tensor, rights: torch.Tensor) -> torch.Tensor:
        compared.append(len(rights))
        return original(left, rights)

    monkeypatch.setattr(mutual_scoring, "_squares", counted)
    for kind, budget in BUDGETS.items():
        compared.clear()
        mean_distances(lambda part: features[list(part)], COUNT, 3, budget)
        assert sum(compared) == (COUNT * (COUNT - 1) // 2 if kind[0] else COUNT**2)


def test_memory_that_runs_out_halves_the_budget_and_never_the_set(
    features: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, most, seen = mutual_scoring._squares, 2, []

    def small(left: torch.Tensor, rights: torch.Tensor) -> torch.Tensor:
        seen.append(len(rights))
        if len(rights) > most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return original(left, rights)

    whole = mean_distances(lambda part: features[list(part)], COUNT, 3, 10**6)
    monkeypatch.setattr(mutual_scoring, "_squares", small)
    got = mean_distances(lambda part: features[list(part)], COUNT, 3, 10**6)
    assert max(seen) > most
    torch.testing.assert_close(got, whole, atol=1e-6, rtol=0)
    most = 0
    with pytest.raises(torch.cuda.OutOfMemoryError):
        mean_distances(lambda part: features[list(part)], COUNT, 3, 10**6)


def test_a_small_budget_asks_for_few_images_at_once(features: torch.Tensor) -> None:
    asked: list[int] = []

    def patches(part: range) -> torch.Tensor:
        asked.append(len(part))
        return features[list(part)]

    mean_distances(patches, COUNT, 3, 0)
    assert max(asked) == 1
    assert layout(COUNT, PATCHES, WIDTH, 0) == Layout(False, False, 1, 1)
