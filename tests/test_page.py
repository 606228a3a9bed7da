"""Report pages: text in their notation, a page that stands alone, and commands that pages suggest."""

import importlib
import re
import shlex
from pathlib import Path

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from harness import page
from harness.config import parse
from sdxl.__main__ import COMMANDS as SDXL
from toy.__main__ import COMMANDS as TOY

TEMPLATES = sorted(Path(__file__).resolve().parents[1].glob("*/templates/*.j2"))
SUGGESTED = [line for file in TEMPLATES for line in re.findall(r'^"?python -m ([^"\n<]*)', file.read_text(), re.MULTILINE)]
COMMANDS = {
    f"{track} {name}": (it.options(), getattr(importlib.import_module(it.module), "PRESETS", None))
    for track, table in (("toy", TOY), ("sdxl", SDXL))
    for name, it in table.items()
}


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("s_n^2 of X_0", "<p>s<sub>n</sub><sup>2</sup> of X<sub>0</sub></p>"),
        ("*any* **weight** h^* and h^*", "<p><i>any</i> <b>weight</b> h<sup>&#42;</sup> and h<sup>&#42;</sup></p>"),
        ("a < b & `--seeds 3`", "<p>a &lt; b &amp; <code>--seeds 3</code></p>"),
        ("x - y, exp(-2 pi)\n\nz", "<p>x &minus; y, exp(&minus;2 &pi;)</p>\n<p>z</p>"),
        ("<script>alert(1)</script>", "<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>"),
        (Markup("<b>X_0</b>"), "<p><b>X<sub>0</sub></b></p>"),
    ],
)
def test_rich_text(text, html):
    assert page.prose(text) == html


def test_a_word_that_nobody_gave_is_an_error(tmp_path):
    with pytest.raises(UndefinedError):
        page.write(tmp_path, "toy", "noised.html.j2", config={})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("line", [line for line in SUGGESTED if "{{" not in line])
def test_what_a_page_suggests_is_a_command(line):
    """Its options are options of that command, with values that it takes. With {{ }}: tests/toy/test_suggested_commands.py."""
    name, option, rest = line.partition(" --")
    kind, presets = COMMANDS[name]
    parse(kind, shlex.split(option + rest), prog="", description="", presets=presets)


def test_every_command_with_a_page_or_for_one_is_suggested():
    others = {"sdxl tiny", "sdxl mini", "sdxl pretrain", "sdxl figures", "sdxl rehearse", "sdxl reproduce"}
    assert {re.split(r" --| ?\{\{", line)[0] for line in SUGGESTED} == set(COMMANDS) - others
