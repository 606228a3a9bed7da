"""Sphinx: how the site is built from the pages of this folder. `make docs` calls it."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "sphinx")]

project = "exact-ambient"
copyright = "the exact-ambient authors, Apache-2.0"
extensions = ["sphinx.ext.autodoc", "sphinx.ext.viewcode", "myst_nb", "extension"]
exclude_patterns = ["figures/*", "sphinx/*"]
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(torch|nn|collections|typing|abc)\b.*|Tensor|Any|Callable|Iterator|Times|Skip|.*Function")]

myst_enable_extensions = ["dollarmath", "amsmath", "substitution", "colon_fence"]
myst_heading_anchors = 4
nb_execution_mode = "off"

autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_type_aliases = {name: name for name in ("Times", "Function")}
add_module_names = False
python_use_unqualified_type_names = True

html_extra_path = ["explainer.html"]
myst_substitutions = {
    name: f'The <a href="{folder}explainer.html">explainer</a> is a page to play with, in the browser.'
    for name, folder in (("explainer", ""), ("explainer_beside", "../"))
}

html_theme = "furo"
html_title = "exact-ambient"
html_static_path = ["sphinx/static"]
html_css_files = ["site.css"]
html_js_files = [("site.js", {"defer": "defer"})]
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
html_show_search_summary = False  # summaries are fetched, which a browser refuses for pages opened from a disk
