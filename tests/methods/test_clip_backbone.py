"""The CLIP layer, held against open_clip's own forward passes."""

import warnings
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from open_clip.model import resize_pos_embed
from open_clip.transformer import QuickGELU
from PIL import Image
from torch import nn

from methods import states
from methods.backbones import blocks, clip
from methods.fill import filled

SENTENCES = [
    "a photo of a metal_nut.",
    "a crack",
    "a bad photo of the cable with damage for inspection.",
    "a crack",
]
CONFIG = {
    "embed_dim": 48,
    "vision_cfg": {"image_size": 56, "patch_size": 14, "width": 64, "layers": 3, "head_width": 32},
    "text_cfg": {"width": 64, "heads": 2, "layers": 3, "context_length": 77, "vocab_size": 49408},
}


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return filled(clip.blank(CONFIG), seed=5)


@pytest.fixture(scope="module")
def model(state: dict[str, torch.Tensor]) -> open_clip.CLIP:
    return clip.build(CONFIG, state, quick_gelu=False)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(2, 3, 56, 56, generator=torch.Generator().manual_seed(1))


def test_it_is_frozen_float32_and_complete(model: open_clip.CLIP, state: dict[str, torch.Tensor]) -> None:
    assert not model.training
    for name, parameter in model.named_parameters():
        assert not parameter.requires_grad and parameter.dtype == torch.float32
        assert torch.equal(parameter, state[name])
    assert all(buffer.device.type == "cpu" for buffer in model.buffers())


def test_image_path_equals_open_clip(model: open_clip.CLIP, images: torch.Tensor) -> None:
    hidden = clip.embed_image(model, images, clip.positions(model, 56))
    last, taps = blocks.run_blocks(clip.vision_blocks(model), hidden, taps=(3, 1))
    reference = model.visual.forward_intermediates(images, indices=[0, 2], output_fmt="NLC")
    torch.testing.assert_close(clip.project(model, last[:, 0]), reference["image_features"])
    first, third = reference["image_intermediates"]
    torch.testing.assert_close(taps[0][:, 1:], third)  # in the order asked for, not in depth
    torch.testing.assert_close(taps[1][:, 1:], first)
    assert not torch.allclose(clip.project(model, last[:, 0], norm=False), reference["image_features"])


def test_text_path_equals_open_clip(model: open_clip.CLIP) -> None:
    got = clip.encode_text(model, SENTENCES, chunk=2)
    torch.testing.assert_close(got, model.encode_text(open_clip.tokenize(SENTENCES)), rtol=1e-4, atol=1e-5)
    with torch.inference_mode():
        assert not clip.encode_text(model, ["a crack"]).is_inference()


def test_trimming_keeps_every_end_token() -> None:
    tokens = clip.tokenize(SENTENCES)
    short = clip.trimmed(tokens)
    assert short.shape[1] == int((tokens > 0).sum(dim=1).max()) < 77
    assert torch.equal(short.amax(dim=1), tokens.amax(dim=1))
    assert clip.trimmed(tokens, at_least=60).shape[1] == 60


def test_tokens_are_open_clips_and_the_callers_own() -> None:
    with torch.inference_mode():
        clip.tokenize(["first seen while inferring"])
    texts = [*SENTENCES, "", "a &amp; b", "word " * 100, "first seen while inferring", SENTENCES[0]]
    tokens = clip.tokenize(texts)
    assert torch.equal(tokens, open_clip.tokenize(texts)) and not tokens.is_inference()
    tokens.zero_()
    assert torch.equal(clip.tokenize(texts), open_clip.tokenize(texts))


def test_two_models_of_one_architecture_have_nothing_in_common(state: dict[str, torch.Tensor]) -> None:
    one, other = (clip.build(CONFIG, state, quick_gelu=False) for _ in range(2))
    assert not {id(module) for module in one.modules()} & {id(module) for module in other.modules()}
    one.visual.grid_size = (1, 1)
    one.load_state_dict({name: torch.zeros_like(tensor) for name, tensor in state.items()}, assign=True)
    assert all(torch.equal(tensor, state[name].float()) for name, tensor in other.state_dict().items())
    assert clip.build(CONFIG, state, quick_gelu=False).visual.grid_size == other.visual.grid_size != (1, 1)
    assert all(tensor.is_meta for tensor in clip.blank(CONFIG).values())


def test_hooks_see_each_block_and_may_rewrite(model: open_clip.CLIP) -> None:
    tokens = clip.trimmed(clip.tokenize(["a crack"]))
    seen = []

    def overwrite(index: int, hidden: torch.Tensor) -> torch.Tensor:
        seen.append(index)
        return torch.cat([hidden[:, :1], torch.full_like(hidden[:, 1:2], index), hidden[:, 2:]], dim=1)

    plain = clip.text_pass(model, tokens)
    assert not torch.allclose(clip.text_pass(model, tokens, before=overwrite), plain)
    assert seen == [0, 1, 2]
    embeddings = model.token_embedding(tokens)
    torch.testing.assert_close(clip.text_pass(model, tokens, embeddings=embeddings), plain)
    assert not torch.allclose(clip.text_pass(model, tokens, embeddings=embeddings * 2), plain)

    # What a hook leaves behind the last block is what is read, and projected or not.
    def last(index: int, hidden: torch.Tensor) -> torch.Tensor:
        return torch.ones_like(hidden) * torch.arange(64) if index == 2 else hidden

    read = clip.text_pass(model, tokens, after=last, projected=False)
    torch.testing.assert_close(read, model.ln_final(torch.arange(64.0)).expand(len(tokens), -1))
    torch.testing.assert_close(clip.text_pass(model, tokens, after=last), read @ model.text_projection)


def test_a_block_taken_apart_is_the_block(model: open_clip.CLIP) -> None:
    block = model.visual.transformer.resblocks[1]
    hidden = torch.randn(2, 7, 64, generator=torch.Generator().manual_seed(2))
    query, key, value = blocks.heads(block, hidden)
    assert query.shape == (2, 2, 7, 32)
    whole = blocks.residual(block, hidden, blocks.attend(block, query, key, value))
    torch.testing.assert_close(whole, block(hidden), rtol=1e-5, atol=1e-5)
    # Query, key and value of a token do not depend on its neighbours.
    for one, many in zip(blocks.heads(block, hidden[:, 3:4]), (query, key, value), strict=True):
        torch.testing.assert_close(one, many[:, :, 3:4], rtol=1e-5, atol=1e-5)


def test_attention_stays_within_a_sequence(model: open_clip.CLIP, images: torch.Tensor) -> None:
    hidden = clip.embed_image(model, images, clip.positions(model, 56))
    both, _ = blocks.run_blocks(model.visual.transformer.resblocks, hidden)
    alone, _ = blocks.run_blocks(model.visual.transformer.resblocks, hidden[1:])
    torch.testing.assert_close(both[1:], alone, rtol=1e-5, atol=1e-5)


def test_positions_follow_open_clip_where_asked_and_leave_the_model_alone(
    model: open_clip.CLIP, state: dict[str, torch.Tensor]
) -> None:
    bigger = {**CONFIG, "vision_cfg": {**CONFIG["vision_cfg"], "image_size": 98}}
    other = clip.build(bigger, filled(clip.blank(bigger), seed=5), quick_gelu=False)
    reference = dict(state)
    resize_pos_embed(reference, other)
    name = "visual.positional_embedding"
    torch.testing.assert_close(clip.positions(model, 98), reference[name])
    for mode, antialias in (("bicubic", False), ("bilinear", False)):
        assert not torch.allclose(clip.positions(model, 98, mode=mode, antialias=antialias), reference[name])
    assert torch.equal(model.visual.positional_embedding, state[name])
    assert clip.positions(model, 100).shape == reference[name].shape  # two pixels are left over
    with pytest.raises(ValueError, match="smaller than one patch"):
        clip.positions(model, 13)


@pytest.mark.parametrize("quick", [True, False])
def test_activation_is_what_was_asked_for(quick: bool, state: dict[str, torch.Tensor]) -> None:
    built = clip.build(CONFIG, state, quick_gelu=quick)
    gates = [module for module in built.modules() if isinstance(module, (nn.GELU, QuickGELU))]
    assert len(gates) == 6 and all(isinstance(gate, QuickGELU) is quick for gate in gates)


def test_openai_and_laion_architectures() -> None:
    for name, size, grid in (("ViT-L-14-336", 427_944_193, 24), ("ViT-B-16-plus-240", 208_377_345, 15)):
        shapes = clip.blank(name)
        assert sum(tensor.numel() for tensor in shapes.values()) == size
        assert shapes["visual.positional_embedding"].shape[0] == 1 + grid * grid
        assert clip.file(name).hub.repository in (
            open_clip.get_pretrained_cfg(name, tag).get("hf_hub").rstrip("/")
            for tag in open_clip.list_pretrained_tags_by_model(name)
        )
    assert clip.blank("ViT-B-16-plus-240-e32").keys() == clip.blank("ViT-B-16-plus-240").keys()
    assert clip.file("ViT-B-16-plus-240-e32").hub is None  # its repository holds e31
    with pytest.raises(ValueError, match="did you mean 'ViT-L-14-336'"):
        clip.file("ViT-L-14-366")
    with pytest.raises(ValueError, match="no model 'ViT-Z'"):
        clip.blank("ViT-Z")
    with pytest.raises(ValueError, match="not a CLIP with a plain vision transformer"):
        clip.blank("RN50")


def test_preprocess_squashes_bicubic_and_normalises() -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (40, 70, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    small = np.asarray(picture.resize((28, 28), Image.Resampling.BICUBIC)) / 255
    expected = (small - [0.48145466, 0.4578275, 0.40821073]) / [0.26862954, 0.26130258, 0.27577711]
    got = clip.network_input(28)(picture)
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got.permute(1, 2, 0).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("form", ["pt", "safetensors", "misnamed", "wrapped", "half", "torchscript"])
def test_all_published_forms_load(form: str, state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / ("weights.safetensors" if form == "safetensors" else "weights.pt")
    if form == "wrapped":
        torch.save(
            {"epoch": 31, "state_dict": {f"module.{name}": each for name, each in state.items()}}, path
        )
    elif form == "half":
        states.write({name: tensor.half() for name, tensor in state.items()}, path)
    elif form == "misnamed":  # a file of the Hub under the name of OpenAI's
        states.write(state, tmp_path / "x.safetensors")
        (tmp_path / "x.safetensors").rename(path)
    elif form == "torchscript":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            built = clip.build(CONFIG, state, quick_gelu=True)
            built.register_buffer("input_resolution", torch.tensor(56))
            inputs = (torch.zeros(1, 3, 56, 56), clip.tokenize(["a"]))
            torch.jit.save(torch.jit.trace(built, inputs, check_trace=False), path)
    else:
        states.write(state, path)
    loaded = clip.load(CONFIG, path, quick_gelu=False).state_dict()
    for name, tensor in state.items():
        assert loaded[name].dtype == torch.float32
        assert torch.equal(loaded[name], tensor.half().float() if form == "half" else tensor)


def test_loading_is_strict_and_names_the_file(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    for broken, message in (
        ({name: state[name] for name in list(state)[1:]}, "1 names are missing"),
        ({**state, "visual.extra": torch.zeros(1)}, r"1 are unknown \(visual.extra\)"),
        ({**state, "visual.proj": torch.zeros(64, 47)}, r"visual.proj has shape \(64, 47\), not \(64, 48\)"),
    ):
        states.write(broken, path)
        with pytest.raises(ValueError, match=message) as caught:
            clip.load(CONFIG, path, quick_gelu=False)
        assert str(path) in str(caught.value)
    for content in (b"<!DOCTYPE html><html>quota exceeded</html>", b"", b"PK\x03\x04 cut off"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"weights\.pt is no"):
            clip.load(CONFIG, path, quick_gelu=False)
    with pytest.raises(FileNotFoundError):
        clip.load(CONFIG, tmp_path / "absent.pt", quick_gelu=False)


class _Touch:
    """Runs code when unpickled without a check."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path, witness = tmp_path / "weights.pt", tmp_path / "ran"
    torch.save({"state_dict": _Touch(witness)}, path)
    with pytest.raises(ValueError, match="holds more than tensors"):
        clip.read_state(path)
    assert not witness.exists()


def test_untrained_weights_load_and_follow_the_seed(tmp_path: Path) -> None:
    paths = [tmp_path / "a" / "one.pt", tmp_path / "a" / "two.safetensors"]
    for path in paths:
        clip.write_untrained(CONFIG, path, seed=7)
    one, two = (clip.load(CONFIG, path, quick_gelu=False).state_dict() for path in paths)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert torch.equal(one["visual.proj"], filled(clip.blank(CONFIG), 7)["visual.proj"])


def test_taps_outside_the_blocks_are_refused(model: open_clip.CLIP) -> None:
    for tap in (0, 4):
        with pytest.raises(ValueError, match="blocks 1 to 3"):
            blocks.run_blocks(model.visual.transformer.resblocks, torch.zeros(1, 2, 64), taps=(tap,))
