"""The site: docstrings are rendered completely, every public name has its entry, and the built pages work without a network.

The tests of the built pages are marked slow; continuous integration runs them after `make docs`.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

import ambient
from tests.browser import BROWSER
from tests.test_layout import ROOT
from tests.test_paper_map import MODULES, PUBLIC

docstrings, extension, formulas, made_pages = map(importlib.import_module, ("docstrings", "extension", "formulas", "made_pages"))

DOCS = {name: inspect.cleandoc(doc) for name, doc in PUBLIC.items()}
DOCS |= {module: inspect.cleandoc(importlib.import_module(module).__doc__ or "") for module in MODULES}
LATEX = re.compile(r":math:`([^`]*)`|^\.\. math::\n\n   (.*)$", re.MULTILINE)
MARKUP = re.compile(r":[\w:]+:`[^`]*`|``[^`]*``|^\.\. .*\n\n?( .*\n?)*|::\n\n(   .*\n?)+|^:\w[\w ]*:", re.MULTILINE)
ASCII_FORMULA = re.compile(r"[A-Za-z]_[a-z0-9]\b|\^|\|\||[A-Z]\[|(?<![\w-])(alpha|sigma|sqrt|grad)\b|(?<=\s)=\s")


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("X_t = r X_n + q Z'", r"X_{t} = r X_{n} + q Z'"),
        ("E[X_n | X_t = x]", r"\mathbb{E} [X_{n} \mid X_{t} = x]"),
        ("(alpha_n q^2 x + r sigma_n^2 x) / sigma_t^2", r"\frac{\alpha_{n} q^{2} x + r \sigma_{n}^{2} x}{\sigma_{t}^{2}}"),
        ("2 (c / q) Z . (h - Y)", r"2 \left(\frac{c}{q}\right) Z \cdot (h - Y)"),
        ("||h(x_t, t) - E[h(X_s, s) | x_t]||^2", r"\lVert h (x_{t}, t) - \mathbb{E} [h (X_{s}, s) \mid x_{t}] \rVert^{2}"),
        ("sum_k w_k N(mu_k, C_k)", r"\sum_{k} w_{k} N (\mu_{k}, C_{k})"),
        ("(d x_0 / d prediction)^2", r"\left(\frac{d x_{0}}{d\, \text{prediction}}\right)^{2}"),
        ("(alpha^2 C_k + sigma^2 I)^-1", r"(\alpha^{2} C_{k} + \sigma^{2} I)^{-1}"),
        ("[-8, 8]", "[{-8}, 8]"),
    ],
)
def test_formulas_become_latex(text, latex):
    (part,) = formulas.parts(text)
    assert part.display.replace(r"\left(\frac", r"(\frac").replace(r"\right)", ")") == latex.replace(r"\left", "").replace(
        r"\right", ""
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a level t_n (q = 0) is", ["t_n", "(q = 0)"]),
        ("the log-SNR of `x_t` in theory_checks/test_sure.py", []),
        ('space "x_0" has a weight; see Eq. (6)-(7)', []),
        ("samples x (B, ...); a scheduler's own", ["x", "(B, ...)"]),
        ("the mean x_n of a batch", ["x_n"]),
    ],
)
def test_words_are_no_formulas(text, found):
    assert [part.text for part in formulas.parts(text) if part.is_formula()] == found
    assert "".join(part.text for part in formulas.parts(text)) == text


@pytest.mark.parametrize("name", DOCS)
def test_docstrings_are_rendered_without_a_rest(name):
    rendered = docstrings.restructured(DOCS[name])
    assert ASCII_FORMULA.findall(MARKUP.sub("", rendered)) == []
    for inline, display in LATEX.findall(rendered):
        assert extension.mathml(inline or display, "inline").startswith("<math")


def test_docstrings_with_formulas_have_them_rendered():
    stated = {name for name, doc in DOCS.items() if re.search(r"\w_\w'? = |\] = |\|\|\^2|\^2 / ", re.sub(r"`[^`]*`", "", doc))}
    assert len(stated) > 40
    assert {name for name in stated if not LATEX.search(docstrings.restructured(DOCS[name]))} == set()


def test_a_formula_that_is_left_in_ascii_is_found():
    assert ASCII_FORMULA.findall("the loss is w_t = 2 alpha^2")


def test_every_public_name_has_an_entry():
    pages = {f"ambient.{module}": made_pages._module_page(module) for module in ambient.CONTENTS}
    for name in PUBLIC:
        module, entry = name.split(".")[1:3]  # methods stand in the entry of their class
        assert re.search(rf"^\.\. auto(class|function):: ambient\.{module}\.{entry}$", pages[f"ambient.{module}"], re.MULTILINE)


def test_latex_becomes_mathml_or_is_refused():
    assert "<mo>" not in extension.mathml(r"\operatorname{Cov}", "inline")
    assert "&#x02032;</mo></mrow>" in extension.mathml("Z'", "inline")
    assert "<mtable" in extension.mathml(r"\begin{aligned} a &= b \\ &= c \end{aligned}", "block")
    with pytest.raises(ValueError, match="unheardof"):
        extension.mathml(r"\unheardof", "inline")


def test_broken_links_are_found(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "a.html").write_text('<p id="here"><a href="b/c.html#there"></a><a href="#here"></a><a href="https://x.org"></a>')
    (tmp_path / "b/c.html").write_text('<p id="there"><a href="../a.html#nowhere"></a><img src="d.png">')
    assert extension.broken_links(tmp_path) == [f"broken link: {link} in b/c.html" for link in ("../a.html#nowhere", "d.png")]


def test_links_of_a_notebook_lead_to_pages_and_files(tmp_path):
    source = ["[a](../docs/notation.md), [b](../ambient/losses.py), [c](02_b.ipynb), [d](03_c.ipynb)"]
    for name in ("01_a", "02_b"):
        (tmp_path / f"{name}.ipynb").write_text(json.dumps({"cells": [{"cell_type": "markdown", "source": source}]}))
    (cell,) = json.loads(made_pages._notebook(tmp_path / "01_a.ipynb"))["cells"]
    assert cell["source"] == "[a](../notation.md), [b](../../ambient/losses.py), [c](02_b.ipynb), d"


@pytest.mark.parametrize("path", sorted((ROOT / ".github/workflows").glob("*.yml")), ids=lambda path: path.stem)
def test_workflows_are_valid_and_pin_their_actions(path):
    workflow = yaml.safe_load(path.read_text())
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"]) for step in steps if "uses" in step)
    assert {"test": ".ci/run", "pages": "make docs"}[path.stem] in [step.get("run") for step in steps]


@pytest.fixture(scope="module")
def site() -> Path:
    """The built site; nothing is built again that has been built."""
    subprocess.run(["make", "docs"], cwd=ROOT, check=True)
    return ROOT / "build/site"


@pytest.mark.slow
def test_built_pages_have_all_names_and_need_no_network(site):
    pages = {path: extension.BeautifulSoup(path.read_text(), "html.parser") for path in site.rglob("*.html")}
    documented = {str(tag["id"]): tag for path, page in pages.items() if "api" in path.parts for tag in page.select("dt[id]")}
    assert set(PUBLIC) - set(documented) - {name for name, doc in PUBLIC.items() if not doc} == set()
    assert sum(len(page.find_all("math")) for page in pages.values()) > 1000
    fetched = [
        tag.get("src") or tag["href"] for page in pages.values() for tag in page.select("script[src], img[src], link[href]")
    ]
    assert [address for address in fetched if "://" in address] == []


@pytest.fixture
def page(site) -> Iterator[Any]:
    """A page of a browser without a network: pages are opened from the disk."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto((site / "index.html").as_uri())
        yield page
        browser.close()


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs a Chromium or Chrome")
@pytest.mark.parametrize("name", ["index.html", "story.html", "results.html", "api/losses.html"])
def test_pages_are_accessible_and_fit_a_phone(page, site, name):
    errors = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.set_viewport_size({"width": 360, "height": 800})
    page.goto((site / name).as_uri())
    assert errors == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    found = Axe().run(page).response["violations"]
    assert [violation["id"] for violation in found if violation["impact"] in ("serious", "critical")] == []


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs a Chromium or Chrome")
def test_search_works_from_the_disk(page, site):
    page.goto(f"{(site / 'search.html').as_uri()}?q=antithetic_ambient")
    page.get_by_role("link", name="ambient.losses.antithetic_ambient").click()
    assert page.url.endswith("api/losses.html#ambient.losses.antithetic_ambient")
