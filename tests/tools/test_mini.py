"""The small backbones: what ships, how it is unpacked, and that their training works."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from bench.run.protocol import MethodRequest
from datasets.standin.defects import DEFECTS as STANDIN_DEFECTS
from datasets.standin.recipes import RECIPES
from methods.backbones import clip, mini, tips_weights
from methods.backbones.tips import TipsTokenizer
from metrics.image import image_metrics
from tools.mini import report
from tools.mini.__main__ import main
from tools.mini.clip import ClipFamily
from tools.mini.family import Family
from tools.mini.kinds import DEFECTS as TRAINING_DEFECTS
from tools.mini.kinds import FAMILIES, TRAINING_KINDS
from tools.mini.losses import own_loss, state_loss
from tools.mini.pictures import GRID, SIDE, Pool, draw_pool
from tools.mini.sentences import DEFECTS, NOUNS, any_name, named_pairs, state_pairs
from tools.mini.start import mimetic_attention, position_waves
from tools.mini.tips import TipsFamily
from tools.mini.train import PAIRS, sort_sentences


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("weights")
    mini.install(root)
    return root


@pytest.fixture(scope="module")
def pool() -> Pool:
    return draw_pool(PAIRS, seed=99, workers=1)  # of another seed than was trained on


# What ships


def test_together_they_are_small_and_say_where_they_come_from() -> None:
    files = [path for path in mini.HERE.rglob("*") if path.suffix in (".safetensors", ".model")]
    assert sum(path.stat().st_size for path in files) < 12e6
    for name in (mini.TIPS, mini.CLIP):
        with safe_open(mini.HERE / name, framework="pt") as file:
            record = json.loads(file.metadata()["zsad-bench-mini"])
        assert {"script", "seed", "steps", "data", "losses", "provenance"} <= record.keys()


def test_the_same_files_are_written_everywhere_and_stay(installed: Path, tmp_path: Path) -> None:
    written = mini.install(tmp_path)
    assert {path.relative_to(tmp_path) for path in written} == {
        path.relative_to(installed) for path in installed.rglob("*") if path.is_file()
    }
    for path in written:
        assert path.read_bytes() == (installed / path.relative_to(tmp_path)).read_bytes()
    written[0].write_bytes(b"mine")
    assert mini.install(tmp_path) == [] and written[0].read_bytes() == b"mine"


def test_words_without_a_row_of_their_own_share_one(installed: Path) -> None:
    packed = clip.read_state(mini.HERE / mini.CLIP)
    whole = clip.read_state(installed / clip.file("mini").name)["token_embedding.weight"]
    assert whole.shape == (49408, 64) and whole.dtype == torch.float32
    ids = packed["token_embedding.weight.ids"].long()
    assert torch.equal(whole[ids], packed["token_embedding.weight.rows"].float())
    others = torch.ones(len(whole), dtype=torch.bool)
    others[ids] = False
    assert others.sum() > 40000
    assert (whole[others] == packed["token_embedding.weight.other"].float()).all()


# What they know


@torch.no_grad()
def test_flaws_of_new_pictures_are_found(installed: Path, pool: Pool) -> None:
    batch = pool.batch(np.random.default_rng(0), range(len(pool)), augment=False)
    sentences = state_pairs(np.random.default_rng(1), 24)
    for family in (_tips(installed), _clip(installed)):
        normal, faulty = family.encode_text(sentences).unflatten(0, (2, 24)).mean(dim=1)
        _, patches = family.encode_images(batch.images)
        unit = torch.nn.functional.normalize(patches, dim=-1)
        found = image_metrics((batch.cover.flatten() > 0.25).long(), (unit @ (faulty - normal)).flatten())
        auroc = found.values["image_auroc"]
        assert auroc is not None and auroc > 0.88


def _tips(root: Path) -> TipsFamily:
    variant, files = tips_weights.VARIANTS["mini"], tips_weights.weight_files("mini")
    family = TipsFamily.__new__(TipsFamily)
    family.vision = tips_weights.load_vision(root / files["vision"].name, variant)
    family.text = tips_weights.load_text(root / files["text"].name, variant)
    family.modules = torch.nn.ModuleList([family.vision, family.text])
    family.tokenizer = TipsTokenizer(root / files["tokenizer"].name)
    return family


def _clip(root: Path) -> ClipFamily:
    family = ClipFamily()
    family.model = clip.load("mini", root / clip.file("mini").name, quick_gelu=True)
    family.rows = torch.arange(family.model.vocab_size)
    return family


# How they are made


def test_no_stand_in_is_called_by_a_word_that_was_trained() -> None:
    names = {cls.name.lower() for recipe in RECIPES.values() for cls in recipe.classes}
    assert not names & set(NOUNS)
    drawn = {any_name(np.random.default_rng(seed)).lower() for seed in range(400)}
    assert not {name for name in drawn & names if not name.isdigit()}
    assert len(drawn) > 200


def test_sentences_name_the_defects_of_training_and_no_other() -> None:
    assert set(DEFECTS) == set(TRAINING_DEFECTS)
    words = {word for names in DEFECTS.values() for name in names for word in name.split()}
    assert not words & {word for kind in STANDIN_DEFECTS for word in kind.split("_")} - {"part"}
    plain, named = np.reshape(named_pairs(np.random.default_rng(0), ["gear"] * 9, ["dent"] * 9), (2, 9))
    assert all(any(word in sentence for word in DEFECTS["dent"]) for sentence in named)
    assert not any(any(word in sentence for word in DEFECTS["dent"]) for sentence in plain)


def test_sentences_are_sorted_by_state_before_pictures_come(tmp_path: Path) -> None:
    torch.manual_seed(0)
    family, rng = TipsFamily(tmp_path, 0), np.random.default_rng(0)
    before = family.loss_of_states(rng).item()
    sort_sentences(family, rng)
    perfect = np.log(32)  # every sentence has 32 of its state among 64
    assert family.loss_of_states(rng).item() - perfect < 0.25 * (before - perfect)


def test_the_same_pairs_are_drawn_by_any_number_of_workers(pool: Pool) -> None:
    again = draw_pool(3, seed=99, workers=2)
    assert np.array_equal(again.twins, pool.twins[:3]) and np.array_equal(again.cover, pool.cover[:3])
    assert pool.twins.shape == (PAIRS, 2, SIDE, SIDE, 3) and pool.cover.shape == (PAIRS, GRID, GRID)
    # A twin differs from the other where its defect is said to be.
    change = np.abs(pool.twins[:, 1].astype(int) - pool.twins[:, 0]).max(axis=-1)
    patches = change.reshape(PAIRS, GRID, 14, GRID, 14).mean(axis=(2, 4))
    assert all(
        np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.3
        for one, other in zip(patches, pool.cover, strict=True)
    )


def test_textures_objects_and_organs_take_turns_and_every_other_is_of_a_family(pool: Pool) -> None:
    for index, kind in enumerate(pool.kinds):
        assert kind in (TRAINING_KINDS, FAMILIES)[index % 2][index % 3]


def test_a_device_that_is_not_there_is_refused_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--device", "cuda:99", "--out", str(tmp_path / "out")])
    assert "cuda:99" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["tips", "clip"])
def test_everything_is_trained_and_survives_packing(name: str, pool: Pool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    family: Family = TipsFamily(tmp_path, 0) if name == "tips" else ClipFamily()
    batch = pool.batch(np.random.default_rng(0), [0, 1, 2, 3], augment=True)
    terms = family.loss(batch, np.random.default_rng(1))
    assert terms.keys() == family.weights.keys()
    torch.stack(list(terms.values())).sum().backward()
    idle = {
        key
        for key, tensor in family.modules.named_parameters()
        if tensor.grad is None or not tensor.grad.any()
    }
    assert idle == ({"0.mask_token"} if name == "tips" else {"0.logit_scale"})
    family.save(tmp_path, {})
    if name == "clip":
        packed = clip.read_state(tmp_path / mini.CLIP)
        whole = mini.unpacked(packed)
        rows = family.modules[0].token_embedding.weight
        word = int(clip.tokenize(["damaged"])[0, 1])
        torch.testing.assert_close(
            whole["token_embedding.weight"][word], rows[family.rows[word]], atol=1e-3, rtol=0
        )
        torch.testing.assert_close(
            whole["token_embedding.weight"][40000], rows[family.rows[40000]], atol=1e-3, rtol=0
        )
        clip.build("mini", whole, quick_gelu=True)


def test_attention_begins_with_what_is_alike_and_takes_it_away() -> None:
    torch.manual_seed(0)
    weights = torch.empty(192, 64), torch.empty(192), torch.empty(64, 64), torch.empty(64)
    mimetic_attention(*weights, heads=2)
    qkv, bias, projection, other = weights
    assert not bias.any() and not other.any()
    tokens = torch.nn.functional.normalize(torch.randn(40, 64), dim=-1)
    query, key, value = (tokens @ each.T for each in qkv.chunk(3))
    for head in range(2):
        rows = slice(32 * head, 32 * head + 32)
        agreement = query[:, rows] @ key[:, rows].T
        assert agreement.diagonal().mean() > 0.3 and agreement.mean().abs() < 0.05
    assert (torch.nn.functional.cosine_similarity(value @ projection.T, tokens) < -0.8).all()


def test_places_begin_the_more_alike_the_nearer_they_are() -> None:
    places = position_waves(5, 32)
    assert places.shape == (25, 32)
    apart = (places[:, None] - places).norm(dim=-1)
    assert (apart + torch.eye(25) > 0.01).all()
    assert apart[12, 13] < apart[12, 14] and apart[12, 7] < apart[12, 2]


def test_state_loss_falls_towards_the_wanted_state() -> None:
    pairs = torch.eye(4)[:2][:, None]
    sides = torch.stack([pairs[0, 0] + 0.95 * pairs[1, 0], pairs[1, 0] + 0.95 * pairs[0, 0]])
    right, wrong = (state_loss(sides, pairs, torch.tensor(wanted)) for wanted in ([0.0, 1.0], [1.0, 0.0]))
    assert right < 0.15 < wrong
    # Of its own pair only: the other picture's sentences do not count.
    own = torch.cat([pairs, pairs.flip(0)], dim=1)
    features = torch.stack([sides, sides.flip(0)])
    wanted = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    assert own_loss(features, own, wanted) < 0.15 < own_loss(features, own, 1 - wanted)


@pytest.mark.slow
def test_the_report_holds_every_method_and_what_training_gained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = [MethodRequest("chance"), MethodRequest("oracle"), MethodRequest("vand", "mini")]
    monkeypatch.setattr(report, "demo_requests", lambda: few)
    assert report.main(["--seeds", "0", "--scale", "tiny", "--root", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("demo: generated data, small models; not the paper's numbers")
    rows = {row.split("|")[1].strip(): row.split("|")[2:-1] for row in printed.splitlines()[-3:]}
    assert [cell.strip() for cell in rows["oracle"]] == ["100.0", "100.0", "-", "-"]
    assert rows["chance"][2:] == [" - ", " - "]
    after, before, gain = map(float, rows["vand"][1:])
    assert gain == pytest.approx(after - before, abs=0.11)
