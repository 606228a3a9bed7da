"""A report page, one file with its figures inside, and its pieces: text, formulas, tables."""

from __future__ import annotations

import base64
import re
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import yaml

from ambient.runs import write_atomically

PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 46rem; background: #fff; color: #222;
  font: 1.04rem/1.6 Georgia, "Times New Roman", serif; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0.5rem 0 0.3rem; }
h2 { font-size: 1.3rem; margin: 2.6rem 0 0.4rem; }
h1, h2, figcaption, table, summary, .by, .remark { font-family: system-ui, "Segoe UI", Helvetica, Arial, sans-serif; }
.by { color: #666; font-size: 0.92rem; }
.findings { border-left: 4px solid #d55e00; padding: 0.1rem 1rem; background: #fdf7f2; margin: 1.2rem 0; }
.findings p { margin: 0.6rem 0; }
.remark::first-letter { text-transform: uppercase; }
.remark { background: #f3f4f6; padding: 0.6rem 0.9rem; font-size: 0.92rem; margin: 0.6rem 0; }
figure { margin: 1.4rem 0; }
figure img { display: block; width: 100%; height: auto; }
figcaption { color: #555; font-size: 0.87rem; line-height: 1.45; margin-top: 0.5rem; }
.formula { text-align: center; margin: 1.2rem 0; overflow-x: auto; white-space: pre; font-size: 1.1rem; }
.fraction { display: inline-block; vertical-align: middle; text-align: center; }
.fraction > span { display: block; padding: 0 0.4em; }
.fraction > span + span { border-top: 1px solid #222; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.82rem; line-height: 1.35; width: 100%; }
th, td { padding: 0.35rem 0.5rem; text-align: right; border-bottom: 1px solid #e5e7eb; white-space: nowrap; vertical-align: top; }
th { white-space: normal; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; white-space: normal; min-width: 11rem; }
td small { display: block; color: #666; }
.dot { display: inline-block; width: 0.7em; height: 0.7em; border-radius: 50%; margin-right: 0.4em; }
pre { background: #f3f4f6; padding: 0.7rem 0.9rem; overflow-x: auto; font-size: 0.82rem; line-height: 1.45; }
code { white-space: nowrap; font-size: 0.9em; }
details { margin: 0.8rem 0; }
summary { cursor: pointer; font-size: 0.95rem; }
@media (min-width: 64rem) { .scroll, .wide { margin-left: -8rem; margin-right: -8rem; } }
@media print {
  body { max-width: none; font-size: 10pt; }
  figure, tr, .findings { break-inside: avoid; }
  pre { white-space: pre-wrap; }
}
</style>
</head>
<body>
$body
</body>
</html>
""")


def write_page(out: Path, title: str, parts: list[str]) -> None:
    """Write `out`/report.html: a heading and what is below it."""
    body = "\n".join([f"<h1>{escape(title)}</h1>", *parts])
    write_atomically(out / "report.html", PAGE.substitute(title=escape(title), body=body).encode())


def rich(text: str) -> str:
    """HTML from text with X_0, s^2, a - b, pi, *emphasis*, **weight** and `code`."""
    text = re.sub(r"\^([*\d])", lambda found: f"<sup>{found[1].replace('*', '&#42;')}</sup>", escape(text, quote=False))
    text = re.sub(r"\bpi\b", "&pi;", re.sub(r"(?<=\s)-(?=\s)|(?<=\()-(?=\d)", "&minus;", text))
    text = re.sub(r"\b([A-Za-z])_([a-z0-9])\b", r"\1<sub>\2</sub>", text)
    text = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", text, flags=re.DOTALL)
    text = re.sub(r"\*(.+?)\*", r"<i>\1</i>", text, flags=re.DOTALL)
    return re.sub(r"`(.+?)`", r"<code>\1</code>", text)


def paragraphs(text: str, *, kind: str = "") -> str:
    """Rich text, a paragraph between blank lines."""
    opening = f'<p class="{kind}">' if kind else "<p>"
    return "\n".join(f"{opening}{rich(part.strip())}</p>" for part in text.split("\n\n"))


def formula(start: str, above: str, below: str) -> str:
    """A line of its own, with a fraction at its end."""
    fraction = f'<span class="fraction"><span>{rich(above)}</span><span>{rich(below)}</span></span>' if below else ""
    return f'<p class="formula">{rich(start)}{fraction}</p>'


def bullets(sentences: list[str]) -> str:
    """Sentences as a list."""
    return "<ul>" + "".join(f"<li>{rich(sentence)}</li>" for sentence in sentences) + "</ul>"


def picture(out: Path, name: str, caption: str, *, wide: bool = False) -> str:
    """A figure of the run with its caption, inside the page, or beyond its margins; nothing if it was not drawn."""
    file = out / "figures" / f"{name}.png"
    if not file.exists():
        return ""
    data = base64.b64encode(file.read_bytes()).decode()
    opening = '<figure class="wide">' if wide else "<figure>"
    return f'{opening}<img alt="{name}" src="data:image/png;base64,{data}"><figcaption>{rich(caption)}</figcaption></figure>'


def table(head: list[str], rows: list[list[str]]) -> str:
    """Headings in words, cells in HTML."""
    headings = "".join(f"<th>{escape(heading).replace(' n', '&nbsp;n')}</th>" for heading in head)
    body = "\n".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{headings}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def highlights(sentences: list[str], heading: str = "What this run found") -> str:
    """The findings, set apart."""
    return f'<div class="findings">{"".join(map(paragraphs, [f"**{heading}**", *sentences]))}</div>'


def about_run(out: Path, config: dict[str, Any], *pictures: tuple[str, str]) -> list[str]:
    """What the run was: its configuration, its environment, and whatever else is there, (title, HTML)."""
    config_and_environment = [
        ("Configuration", code(yaml.safe_dump(config, sort_keys=False))),
        ("Environment", code((out / "environment.json").read_text())),
    ]
    shown = [folded(title, html) for title, html in (*pictures, *config_and_environment) if html]
    return ["<h2>About this run</h2>", *shown]


def folded(title: str, content: str) -> str:
    """Opened by a click."""
    return f"<details><summary>{escape(title)}</summary>{content}</details>"


def code(text: str) -> str:
    """Text as it is."""
    return f"<pre>{escape(text)}</pre>"
