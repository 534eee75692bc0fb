"""Requests: what a word on the command line asks for, and the column it fills."""

import pytest

from bench.errors import BenchError
from bench.run.protocol import MethodRequest, expand_datasets, parse_methods, protocol_source
from methods.registry import find, keys


def test_all_is_every_method_but_the_baselines() -> None:
    found = {request.key for request in parse_methods(["all"], {})}
    assert found == set(keys()) - {"chance", "oracle"}
    assert {"tipsomaly", "winclip", "vand", "anomalyclip", "adaclip", "clip"} <= found


def test_a_misspelt_method_is_answered_with_the_nearest() -> None:
    with pytest.raises(BenchError, match="did you mean 'tipsomaly'"):
        parse_methods(["tipsomali"], {})


def test_a_misspelt_preset_and_option_are_answered_with_the_nearest() -> None:
    with pytest.raises(BenchError, match="did you mean 'no-local-evidence'"):
        parse_methods(["tipsomaly:no-local-evidense"], {})
    with pytest.raises(BenchError, match="did you mean 'sigma'"):
        parse_methods(["tipsomaly"], {"sigm": "1"})


def test_a_value_must_fit_its_option() -> None:
    with pytest.raises(BenchError, match="image_size=big"):
        parse_methods(["tipsomaly"], {"image_size": "big"})


def test_a_request_is_spelt_in_one_way() -> None:
    (plain,) = parse_methods(["tipsomaly"], {})
    (idle,) = parse_methods(["tipsomaly"], {"cls_token": "2"})
    assert idle.variant is plain.variant is None
    (preset,) = parse_methods(["tipsomaly:no-local-evidence"], {})
    (spelt_out,) = parse_methods(["tipsomaly"], {"local_evidence": "false"})
    assert spelt_out.variant == preset.variant == "no-local-evidence"
    (both,) = parse_methods(["tipsomaly:no-local-evidence"], {"sigma": "0"})
    assert both.variant in {"no-local-evidence,sigma=0.0", "no-local-evidence,sigma=0"}


def test_a_preset_that_changes_no_option_keeps_its_name() -> None:
    (plain,) = parse_methods(["aaclip"], {})
    (usual,) = parse_methods(["aaclip:usual-sources"], {})
    assert (plain.variant, usual.variant) == (None, "usual-sources")
    sources = [
        str(protocol_source(request, target)) for request in (plain, usual) for target in ("btad", "visa")
    ]
    assert sources == ["visa", "mvtec", "mvtec", "mvtec"]
    assert str(protocol_source(usual, "mvtec")) == "visa"


def test_an_explicit_option_wins_over_what_the_paper_uses_on_a_target() -> None:
    (plain,) = parse_methods(["tipsomaly"], {})
    assert plain.options("headct")["prompt_type"] == "medical"
    assert plain.options("isic")["prompt_type"] == "industrial"
    (explicit,) = parse_methods(["tipsomaly"], {"prompt_type": "industrial"})
    assert explicit.options("headct")["prompt_type"] == "industrial"
    assert explicit.variant is not None, "it differs from the paper's column on HeadCT"


def test_the_protocol_never_trains_on_the_target() -> None:
    targets = ("mvtec", "visa", "mpdd", "cvc_colondb", "cvc_clinicdb", "headct", "something_else")
    for key in keys():
        for request in (MethodRequest(key, preset) for preset in (None, *find(key).presets)):
            for target in targets:
                source = protocol_source(request, target)
                assert source is None or target not in source.datasets, f"{key} on {target}: {source}"


def test_sources_of_the_published_protocols() -> None:
    for key in ("tipsomaly", "vand", "anomalyclip"):
        detector = find(key)
        options = detector.resolve({})
        assert detector.source_for("mvtec", options) == "visa"
        assert detector.source_for("visa", options) == detector.source_for("isic", options) == "mvtec"
    adaclip = find("adaclip")
    assert adaclip.source_for("mvtec", adaclip.resolve({})) == "visa+cvc_clinicdb"
    assert adaclip.source_for("cvc_colondb", adaclip.resolve({})) == "visa+cvc_clinicdb"
    assert adaclip.source_for("cvc_clinicdb", adaclip.resolve({})) == "mvtec+cvc_colondb"
    assert find("winclip").source_for("mvtec", find("winclip").resolve({})) is None


def test_groups_expand_in_order_and_once() -> None:
    groups = {"all": ("a", "b", "c"), "some": ("b", "a")}
    assert expand_datasets(["b", "all", "x"], groups) == ["b", "a", "c", "x"]
