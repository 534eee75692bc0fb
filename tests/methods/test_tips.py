"""The TIPS encoders, their tokenizer and their files."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from methods.backbones import tips_weights
from methods.backbones.tips import TipsTokenizer
from methods.backbones.tips_weights import VARIANTS, load_text, load_vision, write_encoder, write_tokenizer
from methods.fill import fill

GOLDEN_TOKENIZER = Path(__file__).parents[1] / "golden" / "tipsomaly" / "tokenizer.model"
MINI = VARIANTS["mini"]


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("tips")
    paths = {role: folder / f"{role}.npz" for role in ("vision", "text")}
    for role, path in paths.items():
        write_encoder(path, MINI, role, seed=3)
    return paths


def _rewrite(path: Path, target: Path, change: dict[str, np.ndarray | None]) -> Path:
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    for name, values in change.items():
        if values is None:
            del arrays[name]
        else:
            arrays[name] = values
    np.savez(target, **arrays)
    return target


def test_sizes_are_those_of_the_released_l14_files() -> None:
    with torch.device("meta"):
        vision, text = VARIANTS["l14"].vision(), VARIANTS["l14"].text()
    state = vision.state_dict()
    assert len(state) == 344
    assert sum(tensor.numel() for tensor in state.values()) == 304_016_384
    assert text.token_embedding.weight.shape == (32000, 1024)
    assert len(text.transformer["resblocks"]) == 12


@pytest.mark.parametrize(
    ("backbone", "gigabytes"), [("s14", 0.09), ("b14", 0.35), ("so400m14", 1.65), ("g14", 4.54)]
)
def test_vision_files_have_about_their_published_size(backbone: str, gigabytes: float) -> None:
    with torch.device("meta"):
        vision = VARIANTS[backbone].vision()
    size = 4e-9 * sum(tensor.numel() for tensor in vision.state_dict().values())
    assert size == pytest.approx(gigabytes, abs=0.06)


def test_a_picture_of_another_size_is_refused(released: dict[str, Path]) -> None:
    vision = load_vision(released["vision"], MINI)
    with pytest.raises(ValueError, match="multiples of 14, not 98 x 100"):
        vision(torch.zeros(1, 3, 98, 100))


def test_sides_may_differ_and_order_patches_by_row(released: dict[str, Path]) -> None:
    vision = load_vision(released["vision"], MINI)
    images = torch.rand(2, 3, 28, 56, generator=torch.Generator().manual_seed(1))
    changed = images.clone()
    changed[:, :, 14:, 42:] = 0  # the last patch of the last row
    with torch.no_grad():
        before, after = vision(images), vision(changed)
    assert before[0].shape == (2, 2, MINI.width)
    assert before[1].shape == (2, 8, MINI.width)
    moved = (before[1] - after[1]).abs().amax(dim=-1)
    assert (moved.argmax(dim=1) == 7).all()


def test_class_tokens_differ(released: dict[str, Path]) -> None:
    vision = load_vision(released["vision"], MINI)
    with torch.no_grad():
        tokens, _ = vision(torch.rand(1, 3, 98, 98, generator=torch.Generator().manual_seed(1)))
    assert (tokens[:, 0] - tokens[:, 1]).abs().max() > 0.1


def test_padding_never_changes_a_feature(released: dict[str, Path]) -> None:
    text = load_text(released["text"], MINI)
    ids = torch.tensor([[5, 6, 7, 0, 0, 0]])
    paddings = torch.tensor([[0, 0, 0, 1, 1, 1]])
    noise = torch.tensor([[5, 6, 7, 9, 8, 3]])
    with torch.no_grad():
        short = text(ids[:, :3], paddings[:, :3])
        torch.testing.assert_close(text(ids, paddings), short, atol=1e-6, rtol=0)
        torch.testing.assert_close(text(noise, paddings), short, atol=1e-6, rtol=0)
        assert (text(noise, torch.zeros_like(paddings)) - short).abs().max() > 1e-2


def test_tokenizer_lowers_pads_and_cuts() -> None:
    tokenizer = TipsTokenizer(GOLDEN_TOKENIZER)
    ids, paddings = tokenizer(["A BAD photo", "a bad photo", "", "so many words " * 60])
    assert ids.shape == paddings.shape == (4, 64)
    assert torch.equal(ids[0], ids[1])
    count = int((1 - paddings[0]).sum())
    assert 0 < count < 64
    assert (ids[0, :count] > 3).all()
    assert not ids[0, count:].any()
    assert paddings[2].all()
    assert not paddings[3].any()


def test_tokenizer_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.model"):
        TipsTokenizer(tmp_path / "none.model")
    junk = tmp_path / "junk.model"
    junk.write_bytes(b"<html>quota exceeded</html>")
    with pytest.raises(ValueError, match=r"junk\.model is not a SentencePiece model"):
        TipsTokenizer(junk)


def test_written_tokenizer_is_laid_out_like_the_released_one(tmp_path: Path) -> None:
    first, second = tmp_path / "first.model", tmp_path / "second.model"
    sentences = ["a bad photo of a flawless object.", "a scan of the Damaged object."]
    write_tokenizer(first, sentences)
    write_tokenizer(second, sentences)
    assert first.read_bytes() == second.read_bytes()
    tokenizer = TipsTokenizer(first)
    ids, _ = tokenizer(["日", "damaged object"])
    assert tokenizer.size <= 512
    assert [each - 4 for each in ids[0].tolist() if 4 <= each < 260] == list("日".encode())
    assert (ids[1][ids[1] > 0] >= 260).all()


def test_loading_keeps_every_value(released: dict[str, Path]) -> None:
    vision, text = load_vision(released["vision"], MINI), load_text(released["text"], MINI)
    for encoder in (vision, text):
        for name, tensor in encoder.state_dict().items():
            if name != "temperature":
                np.testing.assert_array_equal(tensor.numpy(), fill(name, tuple(tensor.shape), 3))
    assert float(text.temperature) == pytest.approx(MINI.temperature)
    assert not any(parameter.requires_grad for parameter in vision.parameters())
    assert not vision.training


def test_extra_temperature_is_dropped_and_a_row_is_a_scalar(
    released: dict[str, Path], tmp_path: Path
) -> None:
    change: dict[str, np.ndarray | None] = {
        "temperature": np.full((1,), 0.5, np.float32),
        "temperature_contrastive": np.ones((), np.float32),
    }
    text = load_text(_rewrite(released["text"], tmp_path / "text.npz", change), MINI)
    assert text.temperature.shape == ()
    assert float(text.temperature) == 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm.weight": None}, "norm.weight"),
        ({"blocks.0.surprise": np.zeros(3, np.float32)}, "blocks.0.surprise"),
        ({"norm.weight": np.zeros(65, np.float32)}, r"norm.weight has shape \(65,\), not \(128,\)"),
        ({"norm.weight": np.zeros(64, np.int64)}, "norm.weight.npy holds int64"),
        ({"norm.weight": np.array([object()] * 64)}, "not a readable .npz"),
    ],
    ids=["missing", "unknown", "shape", "integers", "pickled"],
)
def test_loading_is_strict(
    released: dict[str, Path], tmp_path: Path, change: dict[str, np.ndarray | None], message: str
) -> None:
    path = _rewrite(released["vision"], tmp_path / "vision.npz", change)
    with pytest.raises(ValueError, match=message) as caught:
        load_vision(path, MINI)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_of_another_variant_are_refused(released: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="weights of another model"):
        load_vision(released["vision"], VARIANTS["s14"])


def test_torn_and_missing_files(released: dict[str, Path], tmp_path: Path) -> None:
    whole = released["vision"].read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF  # the checksum of that member fails
    contents = {"empty": b"", "html": b"<html>", "torn": whole[: len(whole) // 2], "flipped": bytes(damaged)}
    stray = io.BytesIO()
    with zipfile.ZipFile(stray, "w") as archive:
        archive.writestr("readme.txt", "no array")
    contents["stray"] = stray.getvalue()
    for name, content in contents.items():
        path = tmp_path / f"{name}.npz"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{name}.npz is not a readable .npz of weights"):
            load_vision(path, MINI)
    with pytest.raises(FileNotFoundError, match=r"none\.npz: no such weights"):
        load_vision(tmp_path / "none.npz", MINI)


def test_released_files_have_addresses() -> None:
    base = "https://storage.googleapis.com/tips_data/"
    files = tips_weights.weight_files("l14")
    stem = "v1_0/checkpoints/pytorch/tips_oss_l14_highres_distilled"
    assert files["vision"].url == f"{base}{stem}_vision.npz"
    assert files["vision"].digest_by_third_party
    assert files["text"].url == f"{base}{stem}_text.npz"
    assert files["tokenizer"].url == f"{base}v1_0/checkpoints/tokenizer.model"
    second = tips_weights.weight_files("v2_so400m14")
    assert second["text"].url == f"{base}v2_0/checkpoints/pytorch/tips_v2_oss_so14_text.npz"
    assert second["tokenizer"] == files["tokenizer"]
    mini = tips_weights.weight_files("mini")
    assert all(file.url is None and file.by_hand for file in mini.values())


def test_every_variant_has_its_own_encoder_files() -> None:
    names = [tips_weights.weight_files(each)[role].name for each in VARIANTS for role in ("vision", "text")]
    assert len(set(names)) == len(names)


def test_text_features_depend_on_the_order_of_words(released: dict[str, Path]) -> None:
    text = load_text(released["text"], MINI)
    with torch.no_grad():
        forward, backward = text(torch.tensor([[4, 5], [5, 4]]), torch.zeros(2, 2, dtype=torch.int64))
    assert (forward - backward).abs().max() > 1e-2
