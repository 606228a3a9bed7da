"""Report pages: a Jinja2 template, rendered into one HTML file that contains its figures."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from harness.files import write_atomically


def write(out: Path, package: str, template: str, **values: Any) -> None:
    """Render `package`/templates/`template` with `values` and write it as `out`/report.html.

    The template also gets `figures`, the PNG files of `out`/figures by name, as data URIs.
    """
    figures = {file.stem: _data_uri(file) for file in sorted((out / "figures").glob("*.png"))}
    write_atomically(out / "report.html", render(package, template, **values, figures=figures).encode())


def render(package: str, template: str, **values: Any) -> str:
    """The text of `package`/templates/`template` with these values; in HTML they are escaped. An undefined name is an error."""
    loader = ChoiceLoader([PackageLoader(package), PackageLoader("harness")])
    options: dict[str, Any] = {"undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    environment = Environment(autoescape=".html" in template, loader=loader, **options)
    environment.filters |= {"rich": rich, "prose": prose, "yaml": lambda value: yaml.safe_dump(value, sort_keys=False)}
    return environment.get_template(template).render(**values)


def about_run(out: Path, command: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The values that base.html.j2 needs about a run: its command, its config and its environment."""
    return {"command": command, "config": dict(config), "environment": (out / "environment.json").read_text()}


def rich(text: str) -> Markup:
    """HTML from text with X_0, s^2, a - b, pi, *emphasis*, **bold** and `code`. Text that is already markup stays as it is."""
    html = re.sub(r"\^([*\d])", lambda match: f"<sup>{match[1].replace('*', '&#42;')}</sup>", str(escape(text)))
    html = re.sub(r"\bpi\b", "&pi;", re.sub(r"(?<=\s)-(?=\s)|(?<=\()-(?=\d)", "&minus;", html))
    html = re.sub(r"\b([A-Za-z])_([a-z0-9])\b", r"\1<sub>\2</sub>", html)
    html = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", html, flags=re.DOTALL)
    html = re.sub(r"\*(.+?)\*", r"<i>\1</i>", html, flags=re.DOTALL)
    return Markup(re.sub(r"`(.+?)`", r"<code>\1</code>", html))


def prose(text: str, kind: str = "") -> Markup:
    """Rich text in paragraphs, which blank lines separate; `kind` is the CSS class of a paragraph."""
    opening = Markup('<p class="{}">').format(kind) if kind else Markup("<p>")
    parts = [part.strip() for part in re.split(r"\n\s*\n", str(rich(text))) if part.strip()]
    return Markup("\n").join(opening + Markup(part) + Markup("</p>") for part in parts)


def _data_uri(file: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(file.read_bytes()).decode()}"
