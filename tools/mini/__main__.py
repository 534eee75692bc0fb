"""Command line: train the small backbones and write them where the suite looks for them."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from bench.errors import BenchError
from bench.run.machine import choose_device
from bench.store.provenance import provenance
from methods.backbones import mini
from tools.mini.clip import ClipFamily
from tools.mini.family import Family
from tools.mini.learn import learn
from tools.mini.pictures import draw_pool
from tools.mini.tips import TipsFamily
from tools.mini.train import DECAY, PAIRS, RATE, SLOWER, train

PARTS = ("tips", "clip", "learned")


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.mini", description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--methods", nargs="+", metavar="M", help="of the part `learned`: only these")
    parser.add_argument("--steps", type=int, help="default: of each family its own")
    parser.add_argument(
        "--pairs", type=int, default=8000, help="pairs of pictures drawn (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--device", default="cpu", help="auto, cpu, cuda or cuda:n; the shipped files are of cpu (default)"
    )
    parser.add_argument(
        "--root",
        type=Path,
        default=Path("demo/full"),
        metavar="DIR",
        help="for the generated datasets (default: %(default)s)",
    )
    parser.add_argument("--out", type=Path, default=mini.HERE, metavar="DIR", help="default: %(default)s")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    try:
        device = choose_device(options.device)
    except BenchError as error:
        parser.error(str(error))
    origin = provenance(device)
    options.out.mkdir(parents=True, exist_ok=True)
    makers: dict[str, Callable[[], Family]] = {
        "tips": lambda: TipsFamily(options.out, options.seed),
        "clip": ClipFamily,
    }
    families = [part for part in options.parts if part in makers]
    if families:
        say(f"drawing {options.pairs} pairs of pictures")
        pool = draw_pool(options.pairs, options.seed, options.threads)
    for name in families:
        torch.manual_seed(options.seed)
        family, started = makers[name](), time.perf_counter()
        family.modules.to(device)
        steps = options.steps or family.steps
        found = train(family, pool, steps=steps, seed=options.seed, say=say)
        record = {
            "script": "python -m tools.mini",
            "family": name,
            "seed": options.seed,
            "steps": steps,
            "threads": options.threads,
            "data": f"{options.pairs} pairs of draw_pair: textures, objects and organs by turns, every other "
            f"of FAMILIES alone; {PAIRS} pairs a step",
            "losses": dict(family.weights),
            "optimiser": f"AdamW, rate {RATE} (sentences {RATE * SLOWER}), weight decay {DECAY}, cosine",
            "pairs held out": found,
            "seconds": round(time.perf_counter() - started),
            "provenance": origin,
        }
        for path in family.save(options.out, {"zsad-bench-mini": json.dumps(record)}):
            say(f"wrote {path}")
    if "learned" in options.parts:
        for path in learn(options.root, options.out, device, say, options.methods):
            say(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
