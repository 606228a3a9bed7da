"""Docstrings as reStructuredText: formulas are rendered, names and files are linked, and the parts at the end become fields."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from typing import Any

import formulas

from ambient import CONTENTS

LABELS = {"Args": "Arguments", "Returns": "Returns", "Raises": "Raises", "Paper": "In the paper", "Source": "Source"}
LABELS |= {"Checked by": "Checked by"}
LABEL = re.compile(rf"(?:(?<=^)|(?<=[\s.;]))({'|'.join(LABELS)}):\s+")
FIELD = re.compile(r"^    (\w+): ([^=#\n]+?)(?: = [^#\n]+?)?(?:  # (.*))?$", re.MULTILINE)  # of a named tuple, with its comment
SHORT = 18  # characters; a formula that is shorter stands in the line of its text


@cache
def places() -> dict[str, str]:
    """The full name by each name under which docstrings may mention a public name: alone, or behind its module."""
    found = {}
    for module, names in CONTENTS.items():
        found |= {module: f"ambient.{module}", f"ambient.{module}": f"ambient.{module}"}
        for name in names:
            full = f"ambient.{module}.{name}"
            thing = getattr(importlib.import_module(f"ambient.{module}"), name)
            methods = {key for key in vars(thing) if not key.startswith("_")} if inspect.isclass(thing) else set()
            found |= {name: full, f"{module}.{name}": full, full: full}
            found |= {f"{prefix}.{key}": f"{full}.{key}" for key in methods for prefix in (name, full)}
    return found


def restructured(doc: str, owner: Any = None) -> str:
    """The docstring of `owner` in reStructuredText."""
    blocks: list[str] = []
    for paragraph in re.split(r"\n\s*\n", doc.strip("\n")):
        blocks += list(_paragraph(paragraph))
    if isinstance(owner, type) and issubclass(owner, tuple):
        fields = FIELD.findall(inspect.getsource(owner))
        described = (f"  * ``{name}``: {inline(comment or f'of the type {kind}')}" for name, kind, comment in fields)
        blocks.append(":Fields:\n\n" + "\n".join(described))
    return "\n\n".join(blocks)


def _paragraph(text: str) -> Iterator[str]:
    lines = text.split("\n")
    if all(line.startswith("    ") for line in lines):
        yield _indented([line[4:] for line in lines])
        return
    head, *labelled = LABEL.split(text)
    yield from _prose(head)
    fields = [_field(label, body) for label, body in zip(labelled[::2], labelled[1::2], strict=True)]
    if fields:
        yield "\n".join(fields)


def _indented(lines: list[str]) -> str:
    """Lines that stand apart: formulas, a table whose columns are two spaces apart, or code."""
    rows = [re.split(r" {2,}", line) for line in lines]
    if all(_is_formula(line) for line in lines):
        return "\n\n".join(_display(list(formulas.parts(line.strip()))) for line in lines)
    if any(len(row) > 1 for row in rows):
        joined: list[list[str]] = []
        for first, *others in rows:  # a line that begins with spaces continues the last cell
            joined = (
                [*joined, [first, *others]] if first else [*joined[:-1], [*joined[-1][:-1], f"{joined[-1][-1]} {others[-1]}"]]
            )
        cells = ("\n     - ".join(inline(cell) for cell in row) for row in joined)
        return ".. list-table::\n\n" + "\n".join(f"   * - {row}" for row in cells)
    return "::\n\n" + "\n".join(f"   {line}" for line in lines)


def _is_formula(line: str) -> bool:
    first, *others = formulas.parts(line.strip())
    return first.is_formula() and all(not re.search(r"\w", part.text) for part in others)


def _prose(text: str) -> Iterator[str]:
    """The paragraphs, lists and displayed formulas of a paragraph. Lines that begin with two spaces and a quote are a list."""
    for is_list, group in groupby(text.split("\n"), lambda line: line.startswith("  ")):
        lines = list(group)
        if is_list:
            items = re.split(r"\n(?=\")", "\n".join(line.removeprefix("  ") for line in lines))
            yield "\n".join(f"* {inline(' '.join(item.split()))}" for item in items)
        else:
            yield from _sentences(lines)


def _sentences(lines: list[str]) -> Iterator[str]:
    waiting: list[str] = []
    for line in lines:
        before = waiting[-1].rstrip() if waiting else "."
        shown, rest = _leading_formula(line) if before[-1] in ".:,;" else (None, line)
        if shown is not None:
            if waiting:
                yield from _ending_in_formula(" ".join(waiting))
            yield shown
            waiting = [rest] if rest else []
        else:
            waiting.append(line)
    if waiting:
        yield from _ending_in_formula(" ".join(waiting))


def _leading_formula(line: str) -> tuple[str | None, str]:
    """The formulas with which a line begins, displayed, and the rest; None and the line if they are part of a sentence."""
    pieces = list(formulas.parts(line.strip()))
    count = 0
    while count < len(pieces) and (pieces[count].is_formula() or (count and re.fullmatch(r",  +", pieces[count].text))):
        count += 1
    length = sum(len(piece.text) for piece in pieces[:count])
    rest = "".join(piece.text for piece in pieces[count:])
    states = any(piece.relation for piece in pieces[:count]) or rest.strip()[:1] in ("", ".")
    if length < SHORT or not states or (rest[:1] == " " and length < 0.6 * len(line)):
        return None, line
    return _display(pieces[:count]), rest.lstrip(" ,.;:")


def _ending_in_formula(text: str) -> Iterator[str]:
    """A paragraph, whose first sentence may end in a colon and a formula, which is then displayed."""
    pieces = list(formulas.parts(text))
    for index in range(1, len(pieces)):
        before, piece, after = pieces[index - 1].text, pieces[index], "".join(part.text for part in pieces[index + 1 :])
        if ". " in before:
            break
        if len(piece.text) >= SHORT and piece.is_formula() and before.endswith(": ") and re.match(r"\.(\s|$)|$", after):
            lead = "".join(part.text for part in pieces[:index])
            if len(lead) > SHORT:
                yield inline(lead)
                lead = ""
            yield _display([piece], lead)
            text = after.lstrip(". ")
            break
    if text:
        yield inline(text)


def _display(pieces: list[formulas.Part], lead: str = "") -> str:
    """Formulas on a line of their own, perhaps after a word."""
    latex = [piece.display if piece.is_formula() else r",\quad " if "," in piece.text else "" for piece in pieces]
    return ".. math::\n\n   " + "".join([rf"\text{{{lead}}}\quad "] * bool(lead) + latex)


def _field(label: str, body: str) -> str:
    body = " ".join(body.split())
    if label == "Args" and re.match(r"[\w, ]+: ", body):
        items = re.split(r"; (?=\w+(?:, \w+)*: )", body.rstrip("."))
        entries = (re.match(r"([\w, ]+): (.*)$", item) for item in items)
        listed = (
            f"* {', '.join(f'``{name}``' for name in entry[1].split(', '))}: {inline(entry[2])}" for entry in entries if entry
        )
        body = "\n\n  " + "\n  ".join(listed) + "\n"
    else:
        body = inline(body, reference=label in ("Paper", "Source"))
    return f":{LABELS[label]}: {body}"


def inline(text: str, *, reference: bool = False) -> str:
    """A text whose formulas, names and files are marked. In a reference, such as "App. C", single letters are no formulas."""
    marked = ""
    for part in formulas.parts(" ".join(text.split())):
        is_formula = part.is_formula() and (not reference or part.relation or "_" in part.text)
        piece = rf":math:`{part.latex}`" if is_formula else _words(part.text)
        beside = marked.endswith("`") or piece[0] in ":`"
        separator = r"\ " if marked and beside and not (marked[-1].isspace() or piece[0].isspace()) else ""  # it is not shown
        marked += separator + piece
    return marked


def _words(text: str) -> str:
    """Words without formulas: what stands in backquotes and what can only be a name or a file are marked."""
    pieces = re.split(r"(`[^`]+`|\"\w+\"|\b(?:theory_checks|tests|toy|sdxl)/[\w/]+\.py|\b[a-z][a-z0-9]*(?:_[a-z0-9]+)+\b)", text)
    for index in range(1, len(pieces), 2):
        pieces[index] = _marked(pieces[index].strip('`"'))
    pieces[::2] = [re.sub(r"([\\*`|_])", r"\\\1", piece) for piece in pieces[::2]]
    return "".join(pieces)


def _marked(code: str) -> str:
    check = re.fullmatch(r"theory_checks/(\w+)\.py", code)
    if check:
        return f":doc:`{code} </checks/{check[1]}>`"
    return f":py:obj:`{code} <{places()[code]}>`" if code in places() else f"``{code}``"
