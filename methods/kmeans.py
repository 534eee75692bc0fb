"""K-means of many small sets at once, on any device, with scikit-learn's draws and iterations.

Everything happens on the products of a set's points with each other, so that a set of 100 points costs the
same however many numbers describe a point. Arthur and Vassilvitskii, SODA 2007; Lloyd, 1982.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_MOST_ROUNDS = 300
_ROUNDING = 1e-12  # of the largest distance: what is nearer than that is the same point
_TOLERANCE = 1e-4  # of the mean variance, by which the centres may still move together


def kmeans(points: Tensor, clusters: int, seed: int) -> Tensor:
    """Return the labels (B, n), int64, from 0 to `clusters` - 1, of B sets of points (B, n, D).

    As `sklearn.cluster.KMeans(clusters, n_init=1, random_state=seed).fit(each).labels_`, but for points that
    are equally far from two centres up to rounding. Every set is clustered by itself, with the same draws.
    """
    centred = (points.detach() - points.detach().mean(dim=1, keepdim=True)).double()
    products = centred @ centred.mT
    tolerance = _TOLERANCE * products.diagonal(dim1=1, dim2=2).mean(dim=1) / points.shape[2]
    return _lloyd(products, _seeded(products, clusters, seed), tolerance)


def _seeded(products: Tensor, clusters: int, seed: int) -> Tensor:
    """Return the points (B, clusters) that k-means++ begins with: of a few drawn by distance, the best."""
    norms = products.diagonal(dim1=1, dim2=2)
    # Rounded to float32 as there: of two candidates that are equally good the first is taken in both.
    distances = (norms[:, :, None] + norms[:, None] - 2 * products).clamp(min=0).float().double()
    count, rows = products.shape[1], torch.arange(len(products), device=products.device)
    random = np.random.RandomState(seed)
    first = random.choice(count, p=np.full(count, 1 / count))
    draws = torch.from_numpy(random.uniform(size=(clusters - 1, 2 + int(np.log(clusters)))))
    chosen, nearest = [torch.full_like(rows, first)], distances[:, first]
    for drawn in draws.to(distances):
        up_to = nearest.cumsum(dim=1)
        candidates = torch.searchsorted(up_to, drawn * up_to[:, -1:]).clamp(max=count - 1)
        with_each = torch.minimum(nearest[:, None], distances[rows[:, None], candidates])
        best = with_each.sum(dim=2).argmin(dim=1)
        chosen.append(candidates[rows, best])
        nearest = with_each[rows, best]
    return torch.stack(chosen, dim=1)


def _lloyd(products: Tensor, chosen: Tensor, tolerance: Tensor) -> Tensor:
    """Return the labels (B, n) once nothing moves. Centres are weights (B, clusters, n) of the points."""
    clusters, count = chosen.shape[1], products.shape[1]
    centres = F.one_hot(chosen, count).to(products)
    labels = torch.full_like(chosen[:, :1], -1).expand(-1, count)
    running = torch.ones_like(tolerance, dtype=torch.bool)
    for _ in range(_MOST_ROUNDS):
        distances = _distances(products, centres)
        nearest = distances.argmin(dim=1)
        moved = _means(distances, nearest, clusters)
        step = moved - centres
        far = ((step @ products) * step).sum(dim=(1, 2)) > tolerance
        centres = torch.where(running[:, None, None], moved, centres)
        running = running & far & (nearest != labels).any(dim=1)
        labels = nearest
        if not running.any():
            break
    return _distances(products, centres).argmin(dim=1)


def _distances(products: Tensor, centres: Tensor) -> Tensor:
    """Return the squared distances (B, clusters, n) of all points from all centres."""
    towards = centres @ products
    norms = (towards * centres).sum(dim=2, keepdim=True)
    return (norms - 2 * towards + products.diagonal(dim1=1, dim2=2)[:, None]).clamp(min=0)


def _means(distances: Tensor, labels: Tensor, clusters: int) -> Tensor:
    """Return the clusters' means as weights (B, clusters, n); one without points gets the furthest of all."""
    members = F.one_hot(labels, clusters).mT.to(distances)
    for image, cluster in (members.sum(dim=2) == 0).nonzero().tolist():
        own = distances[image].gather(0, labels[image][None])[0]
        furthest = int(own.argmax())
        if own[furthest] > _ROUNDING * distances[image].max():
            members[image, :, furthest] = 0
            members[image, cluster, furthest] = 1
            distances[image, :, furthest] = 0  # the next one gets another
    return members / members.sum(dim=2, keepdim=True).clamp(min=1)
