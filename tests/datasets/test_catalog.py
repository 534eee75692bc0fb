"""The catalog against facts stated independently of it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest

import datasets.check
from datasets.catalog import CATALOG, GROUPS, NAME_SETS, ClashError, find, related
from datasets.catalog.read import read_entries

TOTALS = {  # normal and anomalous test images, from the papers and file lists named in the catalog
    "mvtec": (467, 1258),
    "visa": (962, 1200),
    "mpdd": (176, 282),
    "btad": (451, 290),
    "ksdd": (286, 54),
    "dagm": (6996, 1054),
    "dtd_synthetic": (357, 947),
    "headct": (100, 100),
    "brainmri": (98, 155),
    "br35h": (1500, 1500),
    "isic": (0, 379),
    "cvc_colondb": (0, 380),
    "cvc_clinicdb": (0, 612),
    "tn3k": (0, 614),
}
MORE = {
    "ksdd2": (894, 110),
    "mvtec_loco": (575, 993),
    "mvtec_ad2": (379, 705),
    "realiad": None,
    "rsdd": (387, 387),
    "wfdd": (203, 241),
    "goodsad": (1328, 1660),
    "mtd": (952, 392),
    "kvasir": (0, 1000),
    "endo": (0, 200),
    "cvc300": (0, 60),
    "bmad_brain": (640, 3075),
    "bmad_liver": (833, 660),
    "bmad_retina": (1041, 764),
    "covid": (1341, 219),
}
SUBSETS = {  # totals of protocols with rows of their own
    "mvtec:zs": (382, 906),
    "visa:zs": (783, 941),
    "mvtec_loco:logical": (575, 561),
    "mvtec_loco:structural": (575, 432),
}
LISTS = json.loads((Path(datasets.check.__file__).parent / "name_lists.json").read_text())["lists"]


def test_order_and_groups_are_the_papers() -> None:
    assert list(CATALOG) == [*TOTALS, *MORE]
    assert GROUPS["more"] == (*MORE, "mvtec:zs", "visa:zs")
    assert GROUPS["everything"] == (*TOTALS, *GROUPS["more"])
    assert GROUPS["bmad"] == ("bmad_brain", "bmad_liver", "bmad_retina")
    assert GROUPS["all"] == tuple(TOTALS)
    assert GROUPS["industrial"] == tuple(TOTALS)[:7]
    assert GROUPS["medical"] == tuple(TOTALS)[7:]
    levels = {key: entry.levels for key, entry in CATALOG.items()}
    assert all(levels[key] == ("image", "pixel") for key in GROUPS["industrial"])
    assert [levels[key] for key in GROUPS["medical"]] == [("image",)] * 3 + [("pixel",)] * 4


def _is(value: Any, kind: Any) -> bool:
    """Say whether a value of a TOML file is what the field's annotation says, all the way down."""
    arguments = get_args(kind)
    if is_dataclass(kind):
        return isinstance(value, kind) and all(
            _is(getattr(value, name), each) for name, each in get_type_hints(kind).items()
        )
    if get_origin(kind) is tuple:
        kinds = arguments[:1] * len(value or ()) if arguments[-1] is ... else arguments
        return type(value) is tuple and len(value) == len(kinds) and all(map(_is, value, kinds))
    if get_origin(kind) is Mapping:
        return all(_is(pair, tuple[arguments]) for pair in value.items())
    return any(_is(value, each) for each in arguments) if arguments else type(value) is kind


@pytest.mark.parametrize("key", CATALOG)
def test_every_fact_is_of_the_kind_that_its_field_declares(key: str) -> None:
    entry = CATALOG[key]
    assert _is(entry, type(entry))
    assert entry.domain in ("industrial", "medical")
    assert entry.levels in (("image",), ("pixel",), ("image", "pixel"))
    assert all(protocol.counts.keys() <= {it.key for it in entry.classes} for protocol in entry.protocols)
    assert all(part.label in (0, 1) and part.split in ("train", "test") for part in entry.raw.parts)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("title =", "titel =", "titel"),
        ("layout =", "lay =", "lay"),
        ('classes = ["nut"]', "", "classes"),
        ('common = "all"', 'common = "none"', "none"),
        ('["nut"]', "{ nut = { count = [1, 2] } }", "count"),
    ],
)
def test_wrong_and_absent_facts_are_named_with_their_entry(
    old: str, new: str, named: str, tmp_path: Path
) -> None:
    facts = """
    [common.all]
    domain = "medical"
    levels = ["image"]
    licence = "none"
    homepage = "none"
    how_to_get = "Draw it."
    [own]
    common = "all"
    licence = "own"
    title = "Own"
    folders = ["own"]
    raw = { layout = "mvtec", folders = ["own"] }
    classes = ["nut"]
    """
    path = tmp_path / "own.toml"
    path.write_text(facts)
    (entry,) = read_entries(path)
    assert (entry.domain, entry.licence) == ("medical", "own")
    assert entry.expected() == {"nut": (None, None)}
    path.write_text(facts.replace(old, new))
    with pytest.raises(ValueError, match=rf"own\.toml: \[own\]: .*'{named}'"):
        read_entries(path)


@pytest.mark.parametrize("key", MORE)
def test_counts_beyond_the_fourteen_add_up_or_are_open(key: str) -> None:
    counts = CATALOG[key].expected().values()
    if MORE[key] is None:
        assert set(counts) == {(None, None)}
        assert "open" in CATALOG[key].notes
    else:
        assert tuple(map(sum, zip(*counts, strict=True))) == MORE[key]


@pytest.mark.parametrize("name", SUBSETS)
def test_counts_of_parts_add_up_and_are_never_the_default(name: str) -> None:
    key, _, protocol = name.partition(":")
    entry = CATALOG[key]
    counts = entry.expected(protocol).values()
    assert tuple(map(sum, zip(*counts, strict=True))) == SUBSETS[name]
    assert entry.protocol(None) is None
    assert set(entry.expected(protocol)) <= set(entry.expected())


@pytest.mark.parametrize("key", TOTALS)
def test_class_counts_add_up(key: str) -> None:
    entry = CATALOG[key]
    counts = list(entry.expected().values())
    protocol = entry.protocol(None)
    if protocol and protocol.total:
        assert protocol.total == TOTALS[key]
        assert [it.key for it in entry.classes if it.counts != (None, None)] == ["Class4"]
    else:
        assert tuple(map(sum, zip(*counts, strict=True))) == TOTALS[key]


def test_balanced_dagm_adds_up_to_what_adaclips_script_gives() -> None:
    counts = CATALOG["dagm"].expected("balanced").values()
    assert tuple(map(sum, zip(*counts, strict=True))) == (2100, 2100)


@pytest.mark.parametrize("key", LISTS)
def test_counts_agree_with_the_lengths_of_published_name_lists(key: str) -> None:
    entry = CATALOG[key]
    for listed in LISTS[key]:
        counts = entry.expected(listed.get("protocol")).values()
        normal, anomalous = map(sum, zip(*counts, strict=True))
        sizes = {
            "images": normal + anomalous,
            "masks": anomalous,
            "normal stems": normal,
            "anomalous stems": anomalous,
        }
        assert listed["count"] == sizes[listed["of"]], listed["of"]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("MVTec AD", "mvtec"),
        ("mvtec_anomaly_detection", "mvtec"),
        ("SDD", "ksdd"),
        ("KSDD", "ksdd"),
        ("DTD", "dtd_synthetic"),
        ("DTD-Synthetic", "dtd_synthetic"),
        ("CVC-ClinicDB", "cvc_clinicdb"),
        ("ClinicDB", "cvc_clinicdb"),
        ("cvc-colondb", "cvc_colondb"),
        ("brain_mri", "brainmri"),
        ("BTech_Dataset_transformed", "btad"),
    ],
)
def test_a_data_set_is_found_under_every_spelling(name: str, key: str) -> None:
    assert find(name).key == key


def test_spellings_never_collide() -> None:
    for entry in CATALOG.values():
        for name in (entry.key, entry.title, *entry.aliases, *entry.folders):
            assert find(name) is entry
    with pytest.raises(KeyError):
        find("mvtex")


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("Brain MRI", "brainmri", "bmad_brain"),
        ("Kolektor", "ksdd", "ksdd2"),
        ("Brain", "brainmri", "bmad_brain"),
    ],
)
def test_a_name_of_several_datasets_is_asked_back(name: str, first: str, last: str) -> None:
    with pytest.raises(ClashError) as caught:
        find(name)
    assert caught.value.question.startswith(f"{name!r} may be {first}")
    assert caught.value.question.endswith(f"or {last}; write the key")
    assert find("BrainMRI").key == find("brain_mri").key == find("BRAINMRI").key == "brainmri"
    assert find("Brain_AD").key == "bmad_brain"


def test_relations_hold_both_ways_and_name_datasets_there_are() -> None:
    for key, entry in CATALOG.items():
        for other, why in entry.related.items():
            assert other in CATALOG
            assert related(key, other) == related(other, key) == why
    assert "older form of CVC-ColonDB" in related("cvc_colondb", "cvc300")
    assert "unchecked" in related("bmad_brain", "br35h")
    assert related("mvtec", "visa") == related("mvtec", "mvtec") == related("own", "mvtec") == ""


def test_name_sets_differ_where_the_codes_do() -> None:
    other = {
        (key, it.prompts["anomalyclip"], it.prompts["adaclip"])
        for key, entry in CATALOG.items()
        for it in entry.classes
        if it.prompts["anomalyclip"] != it.prompts["adaclip"]
    }
    assert other == {
        ("ksdd", "electrical commutators", "SDD"),
        ("headct", "brain", "headct"),
        ("brainmri", "brain", "brain_mri"),
        ("br35h", "brain", "br35h"),
        ("isic", "skin", "isic"),
        ("cvc_colondb", "colon", "ColonDB"),
        ("cvc_clinicdb", "colon", "ClinicDB"),
        ("tn3k", "thyroid", "tn3k"),
        ("endo", "colon", "endo"),
    }
    assert all(set(it.prompts) == set(NAME_SETS) for entry in CATALOG.values() for it in entry.classes)
    # Raw names: what becomes of the underscore is each method's own rule.
    assert CATALOG["mvtec"].class_of("metal_nut").prompts["anomalyclip"] == "metal_nut"


def test_an_unknown_protocol_is_answered_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="thirds, whole, halves"):
        CATALOG["ksdd"].protocol("quarters")
    with pytest.raises(ValueError, match="none to choose from"):
        CATALOG["mpdd"].protocol("thirds")


def _padded(pattern: str, numbers: range) -> list[str]:
    return [pattern.format(number) for number in numbers]


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("headct", _padded("head_ct/{:03}.png", range(200))),
        ("cvc_colondb", _padded("images/{}.png", range(1, 381))),
        ("cvc_clinicdb", _padded("images/{}.png", range(1, 613))),
        ("cvc_clinicdb", _padded("masks/{}.png", range(1, 613))),
        ("cvc_clinicdb", _padded("Original/{}.tif", range(1, 613))),
        ("tn3k", _padded("test-mask/{:04}.jpg", range(614))),
        ("cvc300", _padded("images/{}.png", range(149, 209))),
    ],
)
def test_digests_of_numbered_files(key: str, names: list[str]) -> None:
    digest = hashlib.sha256("".join(f"{name}\n" for name in sorted(names)).encode()).hexdigest()
    assert digest in {listed["sha256"] for listed in LISTS[key]}


@pytest.mark.parametrize(
    "names",
    [
        # Folders of AdaCLIP's packages, and those of Tipsomaly's code, in the catalog's order.
        "mvtec_anomaly_detection VisA_20220922 MPDD BTech_Dataset_transformed SDD_anomaly_detection "
        "DAGM_anomaly_detection DTD-Synthetic HeadCT_anomaly_detection BrainMRI Br35h_anomaly_detection ISIC "
        "CVC-ColonDB CVC-ClinicDB TN3K",
        "mvtec visa mpdd btad sdd dagm dtd headct brainmri br35h isic cvc-colondb cvc-clinicdb tn3k",
    ],
)
def test_folders_of_other_codes_are_looked_for(names: str) -> None:
    for name, entry in zip(names.split(), map(CATALOG.get, GROUPS["all"]), strict=True):
        assert name.casefold() in {folder.casefold() for folder in entry.folders}
