"""A small dataset of someone's own, to be described by a meta.json."""

import json
from pathlib import Path
from typing import Any

from tests.datasets.imitation import write_image, write_mask


def sample(image: Any, label: Any, mask: str = "", **changes: Any) -> dict[str, Any]:
    """One entry of a meta.json for class `part`."""
    entry = {"img_path": image, "mask_path": mask, "cls_name": "part", "specie_name": "", "anomaly": label}
    return entry | changes


class Custom:
    """A folder of someone's own with two normal and two anomalous images, to be described by a meta.json."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("good/0", "good/1", "bad/0", "bad/1"):
            write_image(root / f"{name}.png", "PNG", "RGB")
        (root / "masks").mkdir()
        for name, values in (("0", [0, 255]), ("1", [0, 1, 255])):
            write_mask(root / f"masks/{name}.png", {"values": values, "mode": "L", "format": "PNG"})
        self.samples = [
            sample("good/0.png", 0),
            sample("good/1.png", 0),
            sample("bad/0.png", 1, "masks/0.png"),
            sample("bad/1.png", 1, "masks/1.png"),
        ]

    def write(self, content: Any = None) -> Path:
        """Write meta.json: `content`, or the four samples as test set."""
        if content is None:
            content = {"train": {"part": []}, "test": {"part": self.samples}}
        self.root.joinpath("meta.json").write_text(json.dumps(content), encoding="utf-8")
        return self.root
