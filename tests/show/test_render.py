import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.errors import BenchError
from bench.show import FORMATS, Table, build, build_published, render, write_table, write_tables
from bench.show.render_latex import PACKAGES

Make = Callable[..., Any]


def test_latex_compiles(tables: list[Table], tmp_path: Path) -> None:
    body = "\n".join(render(table, "latex") for table in tables)
    document = f"\\documentclass[twocolumn]{{article}}\n\\usepackage{{{','.join(PACKAGES)}}}\n"
    (tmp_path / "all.tex").write_text(
        f"{document}\\begin{{document}}\n{body}\\end{{document}}\n", encoding="utf-8"
    )
    program = shutil.which("pdflatex") or shutil.which("tectonic")
    if program is None:
        pytest.skip("neither pdflatex nor tectonic is installed; the structure is tested below")
    options = ["-interaction=nonstopmode", "-halt-on-error"] if program.endswith("pdflatex") else []
    done = subprocess.run(
        [program, *options, "all.tex"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=100
    )
    if "not found" in done.stdout and ".sty" in done.stdout:
        pytest.skip(
            "this LaTeX lacks a package: " + done.stdout[done.stdout.index("File `") :].split("\n")[0]
        )
    assert done.returncode == 0, done.stdout[-3000:]
    assert (tmp_path / "all.pdf").stat().st_size > 10_000


def test_latex_is_well_formed(tables: list[Table]) -> None:
    for table in tables:
        text = render(table, "latex")
        for name in ("table*", "tabular", "adjustbox", "minipage"):
            assert text.count(f"\\begin{{{name}}}") == text.count(f"\\end{{{name}}}") > 0
        unescaped = text.replace(r"\{", "").replace(r"\}", "")
        assert unescaped.count("{") == unescaped.count("}")
        width = len(table.stubs) + len(table.columns)
        lines = [line for line in text.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
        assert len(lines) >= sum(len(section.rows) for section in table.sections)
        for line in lines:
            assert line.replace(r"\&", "").count("&") == width - 1, line
        assert text.startswith("% Needs \\usepackage{" + ",".join(PACKAGES))


def test_latex_looks_like_the_papers_table() -> None:
    text = render(build_published("tipsomaly_paper"), "latex")
    assert r"\begin{tabular}{llcccc}" in text
    assert r"\multirow{8}{*}{Industrial} & MVTec & (86.1, 93.5, 88.9) &" in text
    assert r"\multirow{5}{*}{Medical} & ISIC &" in text
    assert r"\multicolumn{6}{c}{\textit{Pixel level (AUROC, AUPRO, F1-max)}} \\" in text
    for rule in (r"\toprule", r"\bottomrule"):
        assert text.count(rule) == 1


def test_markdown_tables_are_aligned_and_rectangular(tables: list[Table]) -> None:
    for table in tables:
        blocks = [part for part in render(table).split("\n\n") if part.startswith("|")]
        assert len(blocks) == len(table.sections)
        for block in blocks:
            lines = [line.replace(r"\|", "..") for line in block.splitlines()]
            assert len({len(line) for line in lines}) == 1
            assert {line.count("|") for line in lines} == {
                len(table.stubs) + len(table.columns) + sum(table.rules()) + 1
            }


def test_markdown_escapes_what_would_be_markup(tables: list[Table]) -> None:
    text = render(tables[0])
    assert r"100% #1\_{x} \<b>$^\~\\" in text
    assert "R&D_50% Größe" in text
    assert r"a_b&c\|d\*e" in render(tables[2])


def test_json_holds_the_whole_table_at_full_precision(tables: list[Table]) -> None:
    for table in tables:
        content = json.loads(render(table, "json"))
        values = [
            value
            for section in content["sections"]
            for row in section["rows"]
            for entry in row["entries"]
            for value in entry
        ]
        assert [value["shown"] for value in values] == [value.text for value in table.values()]
        assert list(content)[-1] == "footer"
        assert [set(column) for column in content["columns"]] == [
            {"title", "span", "setting", "group"} for _ in table.columns
        ]
        for section, shown in zip(table.sections, content["sections"], strict=True):
            assert shown["title"] == section.title
            assert [(row["labels"], row["average"]) for row in shown["rows"]] == [
                ([*row.labels], row.is_average) for row in section.rows
            ]
    thirds = json.loads(render(tables[0], "json"))["sections"][0]["rows"][1]["entries"][0][0]
    for name in ("dataset_key", "data", "weights", "commit", "cells"):  # tests/bench/test_table_data.py
        assert thirds.pop(name)
    assert thirds == {
        "metric": "image_auroc",
        "setting": "inductive",
        "number": 0.91,
        "std": None,
        "seeds": {},
        "shown": "91.0",
        "rank": None,
        "marks": ["partial"],
    }


def test_every_format_ends_with_the_footer(tables: list[Table]) -> None:
    for table in tables:
        for form in FORMATS:
            last = [
                line for line in render(table, form).splitlines() if "commit" in line or "printed in" in line
            ]
            assert last, form


def test_tables_are_written_as_markdown_and_latex(make_dataset: Make, tmp_path: Path) -> None:
    table = build(make_dataset("m", "visa", 0.9))
    paths = write_tables(table, tmp_path / "new" / "tables", "paper")
    assert [path.name for path in paths] == ["paper.md", "paper.tex"]
    assert paths[0].read_text(encoding="utf-8") == render(table, "md")
    assert paths[1].read_text(encoding="utf-8") == render(table, "latex")
    (tmp_path / "file").touch()
    with pytest.raises(BenchError, match=r"cannot write .*file"):
        write_tables(table, tmp_path / "file", "paper")


def test_misspelt_layouts_and_formats_are_answered(make_dataset: Make) -> None:
    cells = make_dataset("m", "visa", 0.9)
    with pytest.raises(BenchError, match="did you mean 'per-class'"):
        build(cells, "perclass")
    with pytest.raises(BenchError, match="did you mean 'latex'"):
        render(build(cells), "latx")


def test_control_characters_of_data_reach_no_terminal_and_no_line(make_cell: Make) -> None:
    evil = "a\x1b[2J\nb\r\x07\u202ec\u2028d\udcff\x9b"
    cells = [
        make_cell("m", "odd", f"class {evil}", 0.5, dataset_title=f"set {evil}", title=f"T{evil}"),
        make_cell("m", "odd", "x", 0.5, dataset_title=f"set {evil}", title=f"T{evil}", n_classes=3),
    ]
    cells[1]["metrics"]["image_ap"], cells[1]["reasons"]["image_ap"] = None, f"why {evil}"
    for layout in ("paper", "per-class", "methods"):
        table = build(cells, layout, headline=None)
        for form in FORMATS:
            text = render(table, form)
            bad = {letter for letter in text if not letter.isprintable() and letter != "\n"}
            assert bad == set(), form
            text.encode()
        assert r"a\x1b[2J\nb\r\x07\u202ec\u2028d\udcff\x9b" in "".join(
            [table.footer, *table.notes, *(value.subject.dataset for value in table.values())]
        )
    lines = render(build(cells, "per-class"), "csv").splitlines()
    assert all(line.startswith(("paper,", "zsad-bench,", "# ")) for line in lines)


def test_published_files_are_escaped_too(tmp_path: Path) -> None:
    path = tmp_path / "evil.csv"
    path.write_text(
        "paper,method,dataset,level,metric,value\nP,M\x1b[2J,VisA,image,auroc,50\n", encoding="utf-8"
    )
    assert build_published(str(path)).columns[0].title == r"M\x1b[2J"


def test_an_interrupted_write_leaves_the_old_table(
    make_dataset: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, path = build(make_dataset("m", "visa", 0.9)), tmp_path / "paper.md"
    write_table(table, "md", path, "--out")
    before = path.read_text(encoding="utf-8")

    def torn(self: Path, content: bytes) -> int:
        with self.open("wb") as file:
            file.write(content[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", torn)
    with pytest.raises(BenchError, match=r"cannot write .*paper.md: No space left.*another --out"):
        write_table(build(make_dataset("m", "visa", 0.8)), "md", path, "--out")
    assert path.read_text(encoding="utf-8") == before
    assert [each.name for each in tmp_path.iterdir()] == ["paper.md"]
