"""How methods are found: by their files, in the suite and outside it, without importing them."""

import hashlib
import os
from pathlib import Path

import pytest

from methods import registry
from methods.registry import MethodError
from methods.static import COMPUTED

PLAIN = """
from methods.base import Prediction, ZeroShotDetector

class {name}(ZeroShotDetector):
    title = "{name}"

    def forward(self, images, prompts):
        maps = images.mean(dim=1)
        return Prediction(maps.amax(dim=(1, 2)), maps)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of methods from outside, in use."""
    (tmp_path / "own").mkdir()
    registry.use_folders([tmp_path / "own"])
    return tmp_path / "own"


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")


def own_keys() -> set[str]:
    """Return the keys that come from outside."""
    return {key for key in registry.keys() if registry.file_digest(key) is not None}  # noqa: SIM118


def test_a_method_is_imported_only_when_asked_for(folder: Path) -> None:
    write(folder, one=PLAIN.format(name="One") + "\nraise OSError('imported')\n")
    assert "one" in registry.keys()  # noqa: SIM118
    assert registry.card("one").title == "One"
    with pytest.raises(MethodError, match=r"one\.py cannot be imported: OSError: imported"):
        registry.find("one")


def test_a_method_may_derive_from_another_and_from_shared_bases(folder: Path) -> None:
    write(
        folder,
        shared=PLAIN.format(name="Base").replace('title = "Base"', "notes = 'shared'"),
        left="from .shared import Base\nclass Left(Base):\n    title = 'Left'\n",
        right="from . import left as other\nclass Right(other.Left):\n    title: str = 'Right'\n",
        clip_plus="from methods.clip import Clip\nclass ClipPlus(Clip):\n    title = 'CLIP+'\n",
        clip_far="import methods.clip\nclass ClipFar(methods.clip.Clip):\n    title = 'far'\n",
        unnamed="from methods.clip import Clip\nclass Unnamed(Clip):\n    notes = 'no title, no method'\n",
        stranger="class ZeroShotDetector: ...\nclass Stranger(ZeroShotDetector):\n    title = 'Stranger'\n",
    )
    assert own_keys() == {"left", "right", "clip_plus", "clip_far"}
    for key in own_keys():
        assert registry.find(key).title == registry.card(key).title
    assert registry.card("right").notes == "shared"
    assert registry.card("clip_plus").defaults == registry.card("clip").defaults
    assert "518" in registry.card("clip_plus").presets


def test_two_methods_in_one_file_are_an_error_of_that_file_alone(folder: Path) -> None:
    write(folder, two=PLAIN.format(name="A") + PLAIN.format(name="B"), one=PLAIN.format(name="One"))
    assert own_keys() == {"one"}
    with pytest.raises(MethodError, match=r"two\.py holds 2 methods, A and B; a file holds one"):
        registry.find("two")


BROKEN = {
    "syntax": ("def (:\n", r"broken\.py cannot be read: SyntaxError: .*\(broken\.py, line 1\)"),
    "null": ("a = '\0'\n", r"broken\.py cannot be read: "),
    "exit": (PLAIN.format(name="X") + "import sys\nsys.exit('bye')\n", "cannot be imported: SystemExit: bye"),
    "import": ("import no_such_thing\n" + PLAIN.format(name="X"), "No module named 'no_such_thing'"),
    "base": ("import math\n" + PLAIN.format(name="X") + "math.gone\n", "AttributeError: .*gone"),
    "circle": (
        "class A(B):\n    title = ''\nclass B(A):\n    title = ''\n",
        "cannot be read: Recursion",
    ),
    "lines": (PLAIN.format(name="X") + "raise ValueError('a\\nb')\n", "ValueError: a$"),
}


@pytest.mark.parametrize(("text", "said"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_stops_only_its_method(folder: Path, text: str, said: str) -> None:
    write(folder, broken=text, sound=PLAIN.format(name="Sound"))
    assert registry.find("sound").title == "Sound"
    assert registry.find("chance").title == "Chance"
    with pytest.raises(MethodError, match=said) as error:
        registry.find("broken")
    assert "\n" not in str(error.value)
    assert registry.failures() == {"broken": str(error.value)}


def test_a_file_that_is_not_text_stops_only_its_method(folder: Path) -> None:
    (folder / "broken.py").write_bytes(b"name = '\xff'\n")
    write(folder, sound=PLAIN.format(name="Sound"))
    assert own_keys() == {"sound"}
    assert registry.failures().keys() == {"broken"}


def test_a_broken_base_stops_those_that_derive_from_it(folder: Path) -> None:
    write(
        folder,
        base_of="def (:\n",
        child="from .base_of import Base\nclass Child(Base):\n    title = 'Child'\n",
        sound=PLAIN.format(name="Sound"),
    )
    assert own_keys() == {"sound"}
    with pytest.raises(MethodError, match=r"child\.py cannot be read: .*base_of\.py, line 1"):
        registry.find("child")


@pytest.mark.parametrize("text", [PLAIN.format(name="Mine"), "def (:\n"])
def test_a_key_that_exists_is_refused(folder: Path, text: str) -> None:
    write(folder, clip=text)
    with pytest.raises(MethodError, match=r"own/clip\.py: a method clip is in .*methods/clip\.py already"):
        registry.keys()


def test_a_helper_may_be_called_like_one_of_the_suite(folder: Path) -> None:
    write(folder, prompts="x = 1\n", mine="from .prompts import x\n" + PLAIN.format(name="Mine"))
    assert registry.find("mine").title == "Mine"


def test_two_folders_with_one_key_are_refused_and_a_folder_named_twice_is_not(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, mine=PLAIN.format(name="Mine"))
    registry.use_folders([tmp_path / "a", tmp_path / "b"])
    with pytest.raises(MethodError, match="rename"):
        registry.keys()
    registry.use_folders([tmp_path / "a", tmp_path / "b" / ".." / "a"])
    assert own_keys() == {"mine"}


def test_the_variable_names_several_folders_and_a_missing_one_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, **{name: PLAIN.format(name=name.title())})
    monkeypatch.setenv("ZSAD_METHODS", os.pathsep.join([str(tmp_path / "one"), str(tmp_path / "two")]))
    assert own_keys() == {"one", "two"}
    monkeypatch.setenv("ZSAD_METHODS", str(tmp_path / "none"))
    with pytest.raises(MethodError, match=r"no such folder of methods: .*none; see --methods-path"):
        registry.keys()


def test_the_module_of_an_outside_method_has_a_private_name(folder: Path) -> None:
    write(folder, json=PLAIN.format(name="Json"))
    import json as library  # noqa: PLC0415

    assert registry.find("json").__module__ != "json"
    assert library.loads("1") == 1


def test_the_digest_is_that_of_the_file_and_of_what_it_takes_from_its_folder(tmp_path: Path) -> None:
    def digests(name: str, helper: str) -> dict[str, str | None]:
        folder = tmp_path / name
        folder.mkdir()
        write(
            folder,
            alone=PLAIN.format(name="Alone"),
            helper=helper,
            helped="from .helper import x\n" + PLAIN.format(name="Helped"),
        )
        registry.use_folders([folder])
        return {key: registry.file_digest(key) for key in ("alone", "helped", "clip")}

    first, second = digests("first", "x = 1\n"), digests("second", "x = 2\n")
    assert first["alone"] == hashlib.sha256(PLAIN.format(name="Alone").encode()).hexdigest()
    assert first["alone"] == second["alone"]
    assert first["helped"] != second["helped"]
    assert first["clip"] is None
    with pytest.raises(KeyError, match="nothing"):
        registry.file_digest("nothing")


def test_unknown_key() -> None:
    with pytest.raises(KeyError, match="tipsomali"):
        registry.find("tipsomali")


@pytest.mark.parametrize("key", registry.keys())
def test_a_card_says_what_the_class_says(key: str) -> None:
    card, detector = registry.card(key), registry.find(key)
    for name in ("title", "paper", "code", "licence", "notes"):
        assert getattr(card, name) == getattr(detector, name)
    for name in ("defaults", "target_options", "selected_on"):
        assert getattr(card, name) == getattr(detector, name)
    presets = {name: getattr(preset, "options", preset) for name, preset in detector.presets.items()}
    assert card.presets == presets
    assert card.sources == (detector.sources or {})
    assert card.computed == ()
    assert card.learns == (detector.recipe is not None)
    assert card.keeps_features == (detector.encoder_options is not None)
    assert [option.name for option in card.options] == list(detector.defaults)
    assert [option.name for option in card.options if not option.meaning] == []


def test_a_card_follows_names_and_marks_what_is_computed(folder: Path) -> None:
    write(
        folder,
        mine="""
from methods.clip import Clip
def Preset(options, recipe):
    return options
SIZES = {"small": {"image_size": 14}}
BIG = "big"
class Mine(Clip):
    title = "Mine: " + BIG
    defaults = {
        **Clip.defaults,
        # How many steps it takes,
        "steps": 3,  # from 1
        "offset": -1.5,
        "chance": len("abc"),
        "parts": (1, len("ab")),
    }
    presets = SIZES | {"many": Preset({"steps": 9}, recipe=None)} | {BIG: {"steps": 3}}
    target_options = {name: {"steps": 4} for name in ("visa",)}
    recipe = None
""",
    )
    card = registry.card("mine")
    assert card.title == "Mine: big" == registry.find("mine").title
    assert card.presets == registry.find("mine").presets
    assert card.defaults["backbone"] == registry.card("clip").defaults["backbone"]
    assert card.defaults["offset"] == -1.5
    assert card.defaults["chance"] is COMPUTED
    assert card.defaults["parts"] == (1, COMPUTED)
    assert card.computed == ("target_options",)
    assert not card.learns
    assert card.keeps_features
    options = {option.name: option for option in card.options}
    assert options["steps"].meaning == "How many steps it takes, from 1"
    assert options["steps"].others == (9,)
    assert "OpenAI's logit scale is 100" in options["temperature"].meaning
    assert options["image_size"].others == (14,)
