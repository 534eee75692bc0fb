"""The plain vision transformer and DINO's files: against timm's network, and read strictly."""

from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from PIL import Image

from methods import states
from methods.backbones import dinov2
from methods.backbones.dinov2 import Variant
from methods.backbones.vit import VisionTransformer, attention
from methods.fill import filled

SMALL = Variant(width=64, depth=3, heads=2, grid=5)
REGISTERS = replace(SMALL, registers=4)
FIRST = replace(SMALL, patch=8, second=False)


def _network(variant: Variant, seed: int = 3) -> VisionTransformer:
    return dinov2.build(variant, filled(dinov2.blank(variant), seed))


def _pictures(side: int, count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("variant", [SMALL, REGISTERS, FIRST], ids=["dinov2", "registers", "dino"])
def test_equals_timms_network_at_the_native_size(variant: Variant) -> None:
    state = filled(dinov2.blank(variant), 3)
    size = variant.patch * variant.grid
    other = timm.models.VisionTransformer(
        img_size=size,
        patch_size=variant.patch,
        embed_dim=variant.width,
        depth=variant.depth,
        num_heads=variant.heads,
        init_values=1.0 if variant.second else None,
        num_classes=0,
        reg_tokens=variant.registers,
        no_embed_class=False,
        dynamic_img_size=False,
    ).eval()
    state.pop("mask_token", None)
    theirs = {name.replace("register_tokens", "reg_token"): each.clone() for name, each in state.items()}
    if variant.registers:  # timm adds positions to registers too, or, as released, keeps none for the class
        theirs["cls_token"] += theirs["pos_embed"][:, :1]
        theirs["pos_embed"] = theirs["pos_embed"][:, 1:]
        other.no_embed_class = True
        other.pos_embed = torch.nn.Parameter(torch.zeros(1, variant.grid**2, variant.width))
    other.load_state_dict(theirs, strict=True)
    images = _pictures(size)
    with torch.inference_mode():
        leading, patches = _network(variant)(images)
        want = other.forward_features(images)
    assert leading.shape == (2, 1 + variant.registers, 64)
    torch.testing.assert_close(torch.cat([leading, patches], dim=1), want, atol=1e-5, rtol=0)


def test_attention_equals_its_definition() -> None:
    qkv = torch.randn(2, 5, 3 * 8, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], dtype=torch.bool)[:, None, None, :]
    got = attention(qkv, 2, mask)
    for image in range(2):
        for head in range(2):
            rows = slice(head * 4, head * 4 + 4)
            query, key, value = (qkv[image, :, part * 8 : part * 8 + 8][:, rows] for part in range(3))
            weights = (query @ key.T / 2).masked_fill(~mask[image, 0], -torch.inf).softmax(-1)
            torch.testing.assert_close(got[image, :, rows], weights @ value)


def test_swiglu_blocks_gate_by_the_first_half() -> None:
    vision = VisionTransformer(8, 1, 2, 16, swiglu=True, grid=2)
    block = vision.blocks[0].mlp
    x = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    gate, value = block.w12(x)[:, :16], block.w12(x)[:, 16:]
    want = block.w3(gate * gate.sigmoid() * value)
    torch.testing.assert_close(block(x), want)


def test_taps_and_hooks_see_every_token() -> None:
    network, images = _network(SMALL), _pictures(70)
    seen: list[int] = []

    def note(index: int, hidden: torch.Tensor) -> torch.Tensor:
        seen.append(index)
        return hidden

    with torch.inference_mode():
        hidden = network.embed(images)
        last, (second, first) = network.run(hidden, taps=(2, 1), before=note)
        torch.testing.assert_close(first, network.blocks[0](hidden), atol=0, rtol=0)
        torch.testing.assert_close(second, network.blocks[1](first), atol=0, rtol=0)
        torch.testing.assert_close(network.norm(last)[:, 1:], network(images)[1], atol=0, rtol=0)
        extra, _ = network.run(torch.cat([hidden[:, :1] + 1, hidden], dim=1))
    assert seen == [0, 1, 2]
    assert extra.shape == (2, 27, 64)
    assert (extra[:, 1:] - last).abs().max() > 1e-3  # patches attend to the token put in front
    with pytest.raises(ValueError, match="4"):
        network.run(hidden, taps=(4,))


def test_without_registers_positions_are_taken_by_a_factor_with_an_offset() -> None:
    network = _network(SMALL)
    rows = network.pos_embed[0, 1:].reshape(1, 5, 5, 64).permute(0, 3, 1, 2)
    places = (torch.arange(8) + 0.5) * 2 / (8 + 0.1) - 1
    grid = torch.stack(torch.meshgrid(places, places, indexing="xy"), dim=-1)[None]
    want = F.grid_sample(rows, grid, mode="bicubic", padding_mode="border", align_corners=False)
    got = network.position_embedding((8, 8))
    torch.testing.assert_close(got[1:].mT.reshape(1, 64, 8, 8), want, atol=1e-5, rtol=0)
    assert torch.equal(got[0], network.pos_embed[0, 0])
    for side in range(1, 80):
        assert len(network.position_embedding((side, side + 1))) == 1 + side * (side + 1)


def test_with_registers_positions_are_taken_by_size_with_antialias() -> None:
    """The anti-aliased kernel alone keeps a ramp a ramp."""
    ramp = torch.arange(5.0)[:, None].expand(5, 5).reshape(25, 1)
    state = filled(dinov2.blank(REGISTERS), 3)
    state["pos_embed"] = torch.cat([torch.full((1, 1), 9.0), ramp]).expand(1, -1, 64).contiguous()
    got = dinov2.build(REGISTERS, state).position_embedding((8, 8))
    middle = (torch.arange(8) + 0.5) * 5 / 8 - 0.5
    torch.testing.assert_close(got[1:].reshape(8, 8, 64)[3:5, 4, 0], middle[3:5], atol=1e-5, rtol=0)
    assert (got[0] == 9).all()


def test_sides_are_multiples_of_a_patch() -> None:
    with pytest.raises(ValueError, match="multiples of 14, not 71 x 71"):
        _network(SMALL)(_pictures(71))


@pytest.mark.parametrize("variant", [SMALL, REGISTERS, FIRST], ids=["dinov2", "registers", "dino"])
def test_files_are_read_strictly(variant: Variant, tmp_path: Path) -> None:
    path = tmp_path / "small.pth"
    dinov2.write_untrained(variant, path, 3)
    images = _pictures(variant.patch * variant.grid, 1)
    with torch.inference_mode():
        torch.testing.assert_close(dinov2.load(variant, path)(images), _network(variant)(images))
    state = states.read(path)
    for change in (
        {name: each for name, each in state.items() if name != "norm.bias"},
        {**state, "head.weight": torch.zeros(2)},
        {**state, "cls_token": torch.zeros(1, 1, 65)},
    ):
        states.write(change, path)
        with pytest.raises(ValueError, match=f"{path}.*weights of another model"):
            dinov2.load(variant, path)


def test_released_files() -> None:
    """Counts of values and names as the papers' pages and their readers give them."""
    large = dinov2.blank("dinov2_vitl14")
    assert len(large) == 343
    registers = dinov2.blank("dinov2_vitb14_reg4")
    assert len(registers) == 176
    assert sum(each.numel() for each in registers.values()) == 86_583_552
    file = dinov2.file("dinov2_vitl14")
    assert file.url == "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth"
    assert file.digest_by_third_party
    values = sum(each.numel() for each in large.values())
    assert file.size is not None
    assert 0 < file.size - 4 * values < 200_000
    assert sum(each.numel() for each in dinov2.blank("dino_vitbase16").values()) == 85_798_656
    names = [dinov2.file(each).name for each in dinov2.VARIANTS]
    assert len(set(names)) == len(names)
    with pytest.raises(ValueError, match="did you mean 'dinov2_vitl14'"):
        dinov2.file("dinov2_vitl")


def test_pictures_are_squashed_and_normalised() -> None:
    picture = Image.new("RGB", (30, 10), (255, 0, 0))
    got = dinov2.network_input(14, Image.Resampling.BILINEAR)(picture)
    want = torch.tensor([(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225])
    torch.testing.assert_close(got, want[:, None, None].expand(3, 14, 14))
