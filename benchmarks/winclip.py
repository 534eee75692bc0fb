"""WinCLIP's cost: our encoder and aggregation beside ones that share nothing, and beside one forward pass.

    python -m benchmarks.winclip                       # true size, untrained weights, about 1.5 GB
    python -m benchmarks.winclip --backbone mini --image-size 112

CPU seconds are the figure to compare on a machine that others use too.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.common import parser_of
from methods.backbones import blocks, clip
from methods.fill import filled
from methods.winclip import WinClip

CHEAP = 50
"""Repetitions of calls of a millisecond, which a busy machine would drown otherwise."""


class Cost(NamedTuple):
    cpu: float
    wall: float


def measure(call: Callable[[], Any], repeat: int) -> tuple[Cost, Any]:
    """Return the least seconds of `repeat` calls, and the last result."""
    costs = []
    for _ in range(repeat):
        cpu, wall = time.process_time(), time.perf_counter()
        result = call()
        costs.append(Cost(time.process_time() - cpu, time.perf_counter() - wall))
    return min(costs), result


def encode_plainly(detector: WinClip, images: Tensor) -> dict[str, Tensor]:
    """Encode all windows of a size at once with the model's own blocks, nothing shared."""
    visual = detector.model.visual
    tokens = clip.embed_image(detector.model, images, detector.positions)
    features = {"image": detector.model.encode_image(images)}
    for side in detector.options["windows"]:
        members = detector.members(side)
        rows = torch.cat([torch.zeros_like(members[:, :1]), members + 1], dim=1)
        hidden, _ = blocks.run_blocks(visual.transformer.resblocks, tokens[:, rows].flatten(0, 1))
        features[f"windows{side}"] = clip.project(detector.model, hidden[:, 0]).unflatten(
            0, (len(images), -1)
        )
    return features


def aggregate_plainly(detector: WinClip, scores: Tensor, side: int) -> Tensor:
    """Ask for every pair of a patch and a window, as the re-implementation does."""
    members = detector.members(side).tolist()
    columns = []
    for patch in range(detector.grid[0] * detector.grid[1]):
        covering = [scores[:, index].double() for index, each in enumerate(members) if patch in each]
        columns.append(len(covering) / sum(1 / score for score in covering))
    return torch.stack(columns, dim=1)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--backbone", default=WinClip.defaults["backbone"])
    parser.add_argument("--image-size", type=int, default=WinClip.defaults["image_size"])
    parser.add_argument("--batch", type=int, default=3)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    state = filled(clip.blank(arguments.backbone), seed=0)
    model = clip.build(arguments.backbone, state, quick_gelu=False)
    detector = WinClip(model, backbone=arguments.backbone, image_size=arguments.image_size)
    size = (arguments.batch, 3, arguments.image_size, arguments.image_size)
    images = torch.randn(size, generator=torch.Generator().manual_seed(0))
    names, repeat = ["bottle"] * arguments.batch, arguments.repeat

    with torch.inference_mode():
        text, like = measure(lambda: detector.text_features(names[:1], images), 1)
        forward, _ = measure(lambda: model.encode_image(images), repeat)
        plain, expected = measure(lambda: encode_plainly(detector, images), repeat)
        shared, features = measure(lambda: detector.encode(images), repeat)
        scores = {
            side: detector.probability(features[f"windows{side}"], like)
            for side in detector.options["windows"]
        }
        loops, slow = measure(lambda: [aggregate_plainly(detector, scores[s], s) for s in scores], 1)
        matrix, fast = measure(lambda: [detector.scale_map(scores[s], s) for s in scores], CHEAP)
        answer, _ = measure(lambda: detector.score(features, names), CHEAP)
    off = max(float((features[name] - expected[name]).abs().max()) for name in features)
    off_maps = max(float((one - other).abs().max()) for one, other in zip(slow, fast, strict=True))

    rows = {
        "plain forward of the image": forward,
        "windows, nothing shared": plain,
        "windows, shared (ours)": shared,
        "aggregation, pair by pair": loops,
        "aggregation, as matrix products (ours)": matrix,
        "all of `score` (ours)": answer,
    }
    print(
        f"{arguments.backbone}, batch {arguments.batch}, {arguments.threads} threads, float32, per image:\n"
    )
    print("| | CPU s | wall s | images/s |\n|---|---|---|---|")
    for title, cost in rows.items():
        cpu, wall = (value / arguments.batch for value in cost)
        print(f"| {title} | {cpu:.4f} | {wall:.4f} | {1 / wall:.2f} |")
    print(f"\ntext features of one class: {text.cpu:.2f} CPU s, {text.wall:.2f} s")
    print(f"largest difference between ours and the plain: embeddings {off:.1e}, maps {off_maps:.1e}")


if __name__ == "__main__":
    main()
