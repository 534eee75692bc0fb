"""The command line from end to end: what it does, what it says, how it exits."""

import json
import multiprocessing
import subprocess
import sys
import time
import warnings
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from bench.cli import VERBS, main
from bench.cli.common import parse_source
from bench.cli.pictures import Classes
from bench.demo.standin import stand_in_folders
from bench.errors import BenchError
from bench.run.protocol import parse_methods
from bench.store.cells import CellStore
from datasets.catalog import CATALOG
from datasets.meta import own_key
from methods import registry
from tests.bench.conftest import Run, make_mvtec_layout

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def standins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of three prepared stand-in datasets: both levels, image only, pixel only."""
    root = tmp_path_factory.mktemp("standins")
    stand_in_folders(root, keys=("mpdd", "headct", "isic"), scale="tiny")
    return root


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_with_examples(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "examples:" in text
    assert f"run_bench.py {verb}" in text


def test_from_run_to_table(
    run: Run, standins: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--methods", "chance", "oracle", "--datasets", "mpdd", "headct", "isic")
    roots = ("--data-root", standins / "prepared")
    assert run("run", *words, *roots, "--dry-run") == 0
    assert "0 here already" in capsys.readouterr().out
    assert not (tmp_path / "results").exists()
    assert run("run", *words, *roots) == 0
    capsys.readouterr()
    assert run("run", *words, *roots) == 0
    assert "0 to compute" in capsys.readouterr().out
    assert run("table", "--format", "md") == 0
    table = capsys.readouterr().out
    assert "100.0, 100.0, 100.0" in table
    assert "demo: generated data" in table
    for layout in ("per-class", "methods"):
        assert run("table", "--layout", layout, "--format", "json") == 0
        assert json.loads(capsys.readouterr().out)["layout"] == layout
    assert run("table", "--format", "latex", "--out", "paper.tex") == 0
    assert r"\toprule" in (tmp_path / "paper.tex").read_text()


def test_prepare_and_check(run: Run, standins: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("prepare", "mpdd", "--from", standins / "raw" / "mpdd") == 0
    assert "MPDD" in capsys.readouterr().out
    assert run("check", "--datasets", "mpdd") in (0, 1)
    assert "fingerprint" in capsys.readouterr().out


def test_try_prints_a_report(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("try", "--methods", "chance", "musc") == 0
    report = capsys.readouterr().out
    assert "batch of 1 as batch of all" in report
    assert "encoded by 1 as all at once" in report
    assert "FAILED" not in report


def test_try_names_the_member_that_is_not_implemented(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bare.py").write_text(
        OWN.replace("Own", "Bare")
        + "    @classmethod\n    def files(cls, options, source):\n"
        + "        from methods.weights import WeightFile\n"
        + "        return {'vision': WeightFile(name='bare.pth', by_hand='nowhere')}\n"
    )
    (tmp_path / "raises.py").write_text(
        OWN.replace("Own", "Raises") + "    def forward(self, images, prompts):\n        return 1 / 0\n"
    )
    assert run("try", "--methods", "bare", "raises", "chance", "--methods-path", ".") == 1
    said = capsys.readouterr().out
    assert "implement write_untrained in Bare" in said
    assert "ZeroDivisionError" in said
    assert "batch of 1 as batch of all" in said  # the next method is tried all the same


def test_list_shows_everything_and_one_thing(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list") == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("tipsomaly", "adaclip", "cvc_clinicdb", "pixel_aupro_exact"))
    for key in ("tipsomaly", "ksdd", "pixel_aupro"):
        assert run("list", key) == 0
        assert key in capsys.readouterr().out


def test_help_and_list_do_not_wait_for_heavy_libraries() -> None:
    code = (
        "import sys\nfrom bench.cli import main\n"
        "for words in ('--help', 'list', 'list tipsomaly', 'list mvtec'):\n"
        "    try:\n        main(words.split())\n    except SystemExit: ...\n"
        "    print({'torch', 'pandas', 'skimage', 'sklearn', 'open_clip', 'matplotlib'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines.count("set()") == 4 and lines[-1] == "set()"


OWN = """
from methods.chance import Chance
class Own(Chance):
    title = "Own"
    defaults = {"image_size": 28, "seed": 3}  # the seed
"""


def test_methods_from_another_folder_are_listed_and_run(
    run: Run, standins: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my").mkdir()
    (tmp_path / "my" / "own.py").write_text(OWN)
    (tmp_path / "my" / "bad.py").write_text(OWN + "import no_such_thing\n")
    (tmp_path / "my" / "worse.py").write_text("def (:")
    assert run("list", "--methods-path", "my") == 0
    listed = capsys.readouterr().out
    assert "own " in listed
    assert "not usable: " in listed
    assert "worse.py, line 1" in listed
    assert run("list", "own", "--methods-path", "my") == 0
    assert "my/own.py" in capsys.readouterr().out
    assert run("list", "worse", "--methods-path", "my") == 2
    assert "worse.py cannot be read" in capsys.readouterr().err
    roots = ("--data-root", standins / "prepared", "--methods-path", tmp_path / "my")
    assert run("run", "--methods", "own", "--datasets", "headct", *roots) == 0
    assert "1 cells written" in capsys.readouterr().out
    assert run("run", "--methods", "bad", "own", "worse", "--datasets", "headct", *roots) == 1
    said = capsys.readouterr()
    assert "left out: " in said.err
    assert "No module named 'no_such_thing'" in said.err
    assert "worse.py cannot be read" in said.err
    assert "1 were there" in said.out
    assert run("list", "own") == 2  # without the folder it is not there


@pytest.mark.parametrize("key", registry.keys())
def test_the_options_listed_can_be_set_as_shown_and_change_nothing(
    key: str, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("list", key) == 0
    lines = capsys.readouterr().out.partition("\noption")[2].splitlines()[2:]
    words = [line.split() for line in lines if line[:1].strip()]
    shown = {row[0]: row[1] for row in words}
    assert shown.keys() == registry.card(key).defaults.keys()
    (request,) = parse_methods([key], shown)
    assert request.options(None) == registry.find(key).resolve({})


BAD_REQUESTS = [
    (("rnu",), "did you mean 'run'"),
    (("run", "--methods", "chanse", "--datasets", "mvtec"), "did you mean 'chance'"),
    (("run", "--methods", "chance", "--datasets", "mvtek"), "did you mean 'mvtec'"),
    (("run", "--methods", "chance", "--datasets", "mvtec", "--device", "cuda:99"), "use --device cpu"),
    (("run", "--methods", "chance", "--datasets", "mvtec", "--device", "tpu"), "auto, cpu, cuda"),
    (("run", "--methods", "chance", "--datasets", "mvtec", "--device", "cpu,tpu"), "auto, cpu, cuda"),
    (("run", "--methods", "chance", "--datasets", "mvtec", "--processes", "0"), "at least 1"),
    (("run", "--methods", "chance", "--datasets", "mvtec", "--save-maps", "--collect"), "no --collect"),
    (("run", "--methods", "chance", "--datasets", "mvtec", "--batch-size", "0"), "at least 1"),
    (("run", "--methods", "chance", "--datasets", "mvtec", "--set", "sead=1"), "did you mean 'seed'"),
    (("run", "--methods", "chance", "--datasets", "mvtec", "--shard", "5/2"), "from 1 to 2"),
    (("table",), "no cells yet"),
    (("list", "--methods-path", "nowhere"), "no such folder of methods"),
    (("list", "tipsomalie"), "did you mean 'tipsomaly'"),
    (("prepare", "mvtec", "--from", "nowhere"), "nowhere"),
    (("predict", "--method", "chance", "nowhere.jpg"), "nowhere.jpg"),
    (("train", "--methods", "winclip", "--source", "mvtec"), "winclip learns nothing"),
    (("train", "--methods", "vand", "--source", "mvtec"), "no such data root to look for mvtec"),
]


@pytest.mark.parametrize(("words", "said"), BAD_REQUESTS, ids=[" ".join(words) for words, _ in BAD_REQUESTS])
def test_a_bad_request_gets_one_clear_line(
    run: Run, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert len([line for line in error.splitlines() if line.startswith("error:")]) == 1


def test_absent_data_fail_the_run_and_name_the_mend(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("run", "--methods", "chance", "--datasets", "mvtec") == 1
    assert "mvtec" in capsys.readouterr().err


def test_debug_shows_the_traceback(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--debug", "table") == 2
    assert "Traceback" in capsys.readouterr().err


def test_an_unwritable_results_folder_is_noticed_before_work(
    run: Run, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert run("run", "--methods", "chance", "--datasets", data, "--results", tmp_path / "file" / "r") == 2
    assert "--results" in capsys.readouterr().err


def test_a_failing_class_makes_the_exit_code_nonzero(run: Run, data: Path, tmp_path: Path) -> None:
    (data / "bolt" / "test" / "good" / "000.png").write_bytes(b"not a picture")
    assert run("run", "--methods", "chance", "--datasets", data) == 1
    assert len(list(CellStore(tmp_path / "results" / "runs"))) == 1


def _begun(data: Path, results: Path) -> BaseProcess:
    """Return a process of its own that has begun to run a method."""
    words = ["run", "--methods", "chance", "--datasets", str(data), "--results", str(results)]
    process = multiprocessing.get_context("fork").Process(target=lambda: sys.exit(main(words)))
    process.start()
    return process


def test_a_run_killed_and_repeated_does_only_the_rest(run: Run, tmp_path: Path) -> None:
    data = make_mvtec_layout(tmp_path / "many", tuple(f"part{index}" for index in range(12)))
    store = CellStore(tmp_path / "results" / "runs")
    first = _begun(data, tmp_path / "results")
    while first.is_alive() and not list(store):
        time.sleep(0.01)
    first.kill()
    first.join()
    before = {cell["key"]: cell["provenance"]["started"] for cell in store}
    assert before
    assert run("run", "--methods", "chance", "--datasets", data) == 0
    after = {cell["key"]: cell["provenance"]["started"] for cell in store}
    assert len(after) == 12
    assert before.items() <= after.items(), "finished cells are kept as they were"


def test_two_runs_at_once_do_no_harm(run: Run, tmp_path: Path) -> None:
    data = make_mvtec_layout(tmp_path / "some", tuple(f"part{index}" for index in range(4)))
    runs = [_begun(data, tmp_path / "results") for _ in range(2)]
    for each in runs:
        each.join(240)
    assert [each.exitcode for each in runs] == [0, 0]
    assert len(list(CellStore(tmp_path / "results" / "runs"))) == 4


def test_shards_together_are_the_whole(run: Run, tmp_path: Path) -> None:
    data = make_mvtec_layout(tmp_path / "some", tuple(f"part{index}" for index in range(4)))
    for shard in ("1/2", "2/2"):
        assert run("run", "--methods", "chance", "--datasets", data, "--shard", shard) == 0
    assert len(list(CellStore(tmp_path / "results" / "runs"))) == 4


def test_a_protocol_is_named_as_everywhere(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in_folders(tmp_path / "s", keys=("ksdd",), scale="tiny")
    raw = tmp_path / "s" / "raw"
    assert run("prepare", "ksdd:whole", "--from", raw, "--data-root", "data") == 0
    assert (tmp_path / "data" / "ksdd_whole" / "meta.json").is_file()
    assert run("prepare", "ksdd:whole", "--from", raw, "--protocol", "thirds", "--data-root", "other") == 2
    assert "name one protocol" in capsys.readouterr().err
    assert run("prepare", "medical", "--from", raw) == 2
    assert "a group; prepare its datasets one by one" in capsys.readouterr().err


def test_list_shows_the_address_it_speaks_of(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", "mvtec") == 0
    shown = capsys.readouterr().out
    assert CATALOG["mvtec"].archives[0].url in shown, "in one piece, to be copied"
    assert "467 normal, 1258 anomalous" in shown
    assert run("list", "dagm") == 0
    assert "test: 6996 normal, 1054 anomalous; balanced: 2100 normal" in capsys.readouterr().out


def test_a_source_is_named_as_a_dataset_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    own = own_key(tmp_path / "mine")
    for text in ("mine", "./mine", str(tmp_path / "mine"), own):
        assert str(parse_source(text)) == own
    assert str(parse_source("MVTec+mine~7")) == f"mvtec+{own}~7"
    assert parse_source(None) is None
    with pytest.raises(BenchError, match="--source: 'mvtec~x' names no source"):
        parse_source("mvtec~x")


def test_a_picture_by_its_path_is_not_searched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.png").touch()
    assert Classes([]).name([tmp_path / "a.png"], tmp_path / "out") == [(tmp_path / "a.png", "object")]
    assert capsys.readouterr().err == ""


def test_a_warning_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    main(["list"])
    assert warnings.formatwarning("Odd.", UserWarning, "file.py", 3, "x = 1") == "warning: Odd.\n"
