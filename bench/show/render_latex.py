"""A table as LaTeX: booktabs rules, bold and underlined numbers, ready for `\\input`."""

from collections.abc import Sequence
from itertools import groupby

from bench.show.model import NOT_APPLICABLE, Entry, Row, Section, Table, Value, common_symbols, only_gap
from bench.store.marks import Mark

PACKAGES = ("adjustbox", "booktabs", "multirow", "xcolor")
"""What the document must load."""

_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
    "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}",
}  # fmt: skip
_END = "\\end{table*}\n"
_SYMBOLS = {"*": "*", "†": r"\dagger", "‡": r"\ddagger", "¶": r"\P", "§": r"\S"} | {
    "◇": r"\diamond",
    "≈": r"\approx",
    "△": r"\triangle",
}
"""Symbols without an entry are drawn in another way: the protocol's is a box."""


def render(table: Table) -> str:
    """Return the table as one float, in the per-class layout as one for each section.

    The document needs the packages named in `PACKAGES`; the first line says so. A table wider than the
    text is shrunk to fit.
    """
    head = f"% Needs \\usepackage{{{','.join(PACKAGES)}}}."
    if table.layout != "per-class":
        return f"{head}\n{_float(table, table.sections, table.title, table.layout)}{_notes(table)}{_END}"
    floats = [
        _float(table, [section], f"{table.title}: {section.title}", f"{table.layout}-{number}")
        for number, section in enumerate(table.sections, start=1)
    ]
    return f"{head}\n{f'{_END}'.join(floats)}{_notes(table)}{_END}"


def _float(table: Table, sections: Sequence[Section], caption: str, label: str) -> str:
    """Return the float but for its notes and its end."""
    width = len(table.stubs) + len(table.columns)
    columns = "".join("|c" if rule else "c" for rule in table.rules())
    lines = [
        r"\begin{table*}[tp]",
        r"  \centering",
        f"  \\caption{{{_escape(caption)}.}}",
        f"  \\label{{tab:zsad-{label}}}\\smallskip",
        *(f"  {{\\small\\textbf{{{_escape(line)}}}\\par\\smallskip}}" for line in table.headlines),
        r"  \begin{adjustbox}{max width=\textwidth, max totalheight=0.85\textheight}",
        f"  \\begin{{tabular}}{{{'l' * len(table.stubs)}{columns}}}",
        r"    \toprule",
        *(f"    {line}" for line in _head(table)),
    ]
    for section in sections:
        lines.append(r"    \midrule")
        if section.title and table.layout != "per-class":
            lines.append(f"    \\multicolumn{{{width}}}{{c}}{{\\textit{{{_escape(section.title)}}}}} \\\\")
            lines.append(r"    \midrule")
        lines += [f"    {line}" for line in _rows(table, section.rows)]
    return "\n".join((*lines, r"    \bottomrule", r"  \end{tabular}", r"  \end{adjustbox}", ""))


def _notes(table: Table) -> str:
    notes = [
        f"{_superscript(symbol) or _box('0.0')}\\,{_escape(meaning)}" for symbol, meaning in table.legend()
    ]
    notes += [_escape(note) for note in (*table.notes, table.footer)]
    lines = [r"  \par\smallskip", r"  \begin{minipage}{\textwidth}\raggedright\scriptsize"]
    lines += [f"    {note}\\par" for note in notes]
    return "\n".join((*lines, r"  \end{minipage}", ""))


def _head(table: Table) -> list[str]:
    stubs, heads = len(table.stubs), []
    if any(column.span for column in table.columns):
        spans, rules, place = [], [], stubs + 1
        for span, group in groupby(table.columns, key=lambda column: column.span):
            count = len(list(group))
            spans.append(f"\\multicolumn{{{count}}}{{c}}{{{_escape(span)}}}")
            rules.append(f"\\cmidrule(lr){{{place}-{place + count - 1}}}")
            place += count
        heads += [f"{' & ' * stubs}{' & '.join(spans)} \\\\", " ".join(rules)]
    titles = [*table.stubs, *(column.title for column in table.columns)]
    return [*heads, f"{' & '.join(map(_escape, titles))} \\\\"]


def _rows(table: Table, rows: Sequence[Row]) -> list[str]:
    """Return the lines of a section; rows with the same first label share it where there is a second one."""
    lines: list[str] = []
    width, shares = len(table.stubs) + len(table.columns), len(table.stubs) > 1
    for _, block in groupby(rows, key=lambda row: row.labels[0] if shares else id(row)):
        members = list(block)
        if lines and (shares or members[0].is_average):
            lines.append(r"\midrule")
        for place, row in enumerate(members):
            labels = [_escape(label) for label in row.labels]
            if shares:
                labels[0] = f"\\multirow{{{len(members)}}}{{*}}{{{labels[0]}}}" if place == 0 else ""
                if row.is_average and place and not members[place - 1].is_average:
                    lines.append(f"\\cmidrule(l){{2-{width}}}")
            lines.append(f"{' & '.join((*labels, *map(_entry, row.entries)))} \\\\")
    return lines


def _entry(entry: Entry) -> str:
    if len(entry) == 1:
        return _value(entry[0], entry[0].symbols)
    if gap := only_gap(entry):
        return _gap(gap)
    shared = common_symbols(entry)
    inner = ", ".join(_value(value, "" if shared else value.symbols) for value in entry)
    return f"({inner}){_superscript(shared)}"


def _gap(text: str) -> str:
    return "--" if text == NOT_APPLICABLE else _escape(text)


def _value(value: Value, symbols: str) -> str:
    heavy = r"\textbf{\boldmath" if value.signed else r"\textbf{"
    text = f"${value.text}$" if value.signed else value.text
    if value.shown is None:
        text = _gap(value.text)
    elif value.bold:
        text = f"{heavy}{text}}}"
    elif value.rank == 2:
        text = f"\\underline{{{text}}}"
    if value.spread is not None:
        text += f"{{\\scriptsize$\\,\\pm\\,{value.spread}$}}"
    if Mark.SEEN in value.marks:
        text = f"\\textcolor{{gray}}{{{text}}}"
    return (_box(text) if Mark.PROTOCOL in value.marks else text) + _superscript(symbols)


def _box(text: str) -> str:
    return f"{{\\setlength{{\\fboxsep}}{{1pt}}\\fbox{{{text}}}}}"


def _superscript(symbols: str) -> str:
    drawn = "".join(_SYMBOLS.get(symbol, "") for symbol in symbols)
    return f"$^{{{drawn}}}$" if drawn else ""


def _escape(text: str) -> str:
    return "".join(_SPECIAL.get(letter, letter) for letter in text)
