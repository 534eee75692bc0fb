"""What the README shows in Python works: it is executed."""

import re
from pathlib import Path

import pytest
import torch
from PIL import Image

import bench.predict
from bench.demo.trial import try_method
from bench.demo.untrained import write_untrained
from bench.run.protocol import MethodRequest
from methods import registry

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_the_example_method_keeps_the_contract(tmp_path: Path) -> None:
    (code,) = (block for block in BLOCKS if "ZeroShotDetector" in block)
    (tmp_path / "brightness.py").write_text(code, encoding="utf-8")
    registry.use_folders([tmp_path])
    findings = try_method(MethodRequest("brightness"), tmp_path / "work")
    assert len(findings) > 8
    assert [finding.what for finding in findings if finding.ok is False] == []
    assert len(code.strip().splitlines()) <= 25


def test_five_lines_score_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = (block for block in BLOCKS if "load_method" in block)
    monkeypatch.chdir(tmp_path)
    write_untrained(MethodRequest("winclip", "mini"), ["*"], tmp_path / "weights")
    Image.effect_noise((90, 60), 80).convert("RGB").save("photo.jpg")
    # The real backbone is not at hand; everything else is as shown.
    exec(compile(code.replace('"winclip"', '"winclip:mini"'), "README.md", "exec"), {})
    with Image.open("overlay.png") as overlay:
        assert overlay.size == (90, 60)
        assert len(overlay.convert("RGB").getcolors(10_000) or []) > 100


def test_predictions_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    write_untrained(MethodRequest("clip", "mini"), ["*"], tmp_path)
    detect = bench.predict.load_method("clip:mini", weights_root=tmp_path, device="cpu")
    assert detect.untrained
    pictures = [Image.effect_noise((64, 64), 20 * (index + 1)).convert("RGB") for index in range(3)]
    together = detect.many(pictures, "cable")
    for picture, answer in zip(pictures, together, strict=True):
        alone = detect(picture, "cable")
        assert alone.score == pytest.approx(answer.score, abs=1e-5)
        torch.testing.assert_close(
            torch.from_numpy(alone.map), torch.from_numpy(answer.map), atol=1e-4, rtol=0
        )
