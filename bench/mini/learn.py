"""What the trainable methods learn on the small backbones, by the suite's own training."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from bench.collect import Machine
from bench.demo import Demo, demo_requests
from bench.digests import DigestCache
from bench.planner import Library
from bench.protocol import chosen_source, source_parts
from bench.standin import stand_in_folders
from bench.train import make_job, train
from datasets.samples import Folder
from methods.backbones import mini


def learn(root: Path, packed: Path, heard: Callable[[str], None]) -> list[Path]:
    """Train every method of the demo on its protocol's sources, of stand-ins; return the files.

    `root` is the demo's folder, where the data are; the backbones in `packed` are used, and what is learned
    goes there too.
    """
    folders = {folder.entry.key: folder for folder in stand_in_folders(Demo(root).data) if folder.entry}
    with TemporaryDirectory() as work:
        return _learn(folders, Path(work), packed, heard)


def _learn(
    folders: Mapping[str, Folder], work: Path, packed: Path, heard: Callable[[str], None]
) -> list[Path]:
    digest, machine = DigestCache(), Machine(torch.device("cpu"))
    mini.install(work, packed)
    library, written = Library(work, digest), []
    for request in demo_requests():
        sources = {chosen_source(request, target, None) for target in folders} - {None}
        for source in sorted(map(str, sources)):
            wanted = [folders[key] for key in source_parts(source)]
            job = make_job(request, wanted, int(source.partition("~")[2]), library)
            heard(f"training {job}")
            made = train(job, machine, digest)
            place = packed / mini.LEARNED / made.relative_to(work)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(made, place)
            written.append(place)
    return written
