"""What this site adds to Sphinx: pages that are made, rendered docstrings, links from code, MathML, and a check of links."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import made_pages
from bs4 import BeautifulSoup
from docstrings import places, restructured
from docutils import nodes
from latex2mathml.converter import convert
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util import logging
from sphinx.util.inspect import signature as autodoc_signature
from sphinx.util.inspect import stringify_signature

from ambient.samplers import State

FIELD_OF_A_TUPLE = type(vars(State)["t"])
LOG = logging.getLogger(__name__)


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("config-inited", made_pages.write)
    app.connect("autodoc-process-docstring", _docstring)
    app.connect("autodoc-process-signature", _signature)
    app.connect("autodoc-skip-member", _skip)
    app.connect("html-page-context", _accessible, priority=900)
    app.connect("build-finished", _check_links)
    app.add_transform(LinkedCode)
    app.add_transform(PunctuationAfterMath)
    app.add_transform(NumbersInTables)
    app.add_html_math_renderer("mathml", inline_renderers=(_inline_math, None), block_renderers=(_block_math, None))


def _docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = restructured("\n".join(lines), obj).splitlines()


def _signature(app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str, returns: str) -> tuple[str, str] | None:
    """A protocol is shown with the signature of its call."""
    if not getattr(obj, "_is_protocol", False):
        return None
    call = stringify_signature(autodoc_signature(obj.__call__, bound_method=True, type_aliases=app.config.autodoc_type_aliases))
    return (call.rpartition(" -> ")[0], call.rpartition(" -> ")[2])


def _skip(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """The fields of a named tuple stand in the text of its class already."""
    return True if isinstance(obj, FIELD_OF_A_TUPLE) else None


def _accessible(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    """Headings of the navigation get a level."""
    tree = context.get("furo_navigation_tree", "")
    context["furo_navigation_tree"] = tree.replace('role="heading"', 'role="heading" aria-level="2"')


class LinkedCode(SphinxTransform):
    """Code in a sentence that names a part of `ambient` or a check becomes a link to its page."""

    default_priority = 200

    def apply(self, **kwargs: Any) -> None:
        for node in list(self.document.findall(nodes.literal)):
            code = node.astext()
            if isinstance(node.parent, (nodes.reference, pending_xref, nodes.title)):
                continue
            check = re.fullmatch(r"theory_checks/(\w+)\.py", code)
            module = re.fullmatch(r"ambient/(\w+)\.py", code)
            target = f"ambient.{module[1]}" if module else places().get(code, "") if "." in code else ""
            if check and check[1] != "__init__":
                link = {"refdomain": "std", "reftype": "doc", "reftarget": f"/checks/{check[1]}", "refexplicit": True}
            elif target:
                link = {"refdomain": "py", "reftype": "obj", "reftarget": target, "refexplicit": True}
            else:
                continue
            reference = pending_xref(code, refdoc=self.env.docname, refwarn=True, **link)
            node.replace_self(reference)
            reference += _in_table(code, breakable=not check) if isinstance(reference.parent.parent, nodes.entry) else node


def _in_table(code: str, *, breakable: bool) -> nodes.literal:
    """A name without its package, perhaps broken after dots and underscores: in a table there is little room."""
    short = re.sub(r"^(ambient\.|theory_checks/)", "", code)
    literal = nodes.literal()
    for piece in re.split(r"(?<=[._])", short) if breakable else [short]:
        literal += [nodes.Text(piece), nodes.raw("", "<wbr>", format="html")] if breakable else [nodes.Text(piece)]
    return literal


class NumbersInTables(SphinxTransform):
    """A number with its standard error is broken before the sign at most."""

    default_priority = 870

    def apply(self, **kwargs: Any) -> None:
        for text in list(self.document.findall(nodes.Text)):
            if "± " in text and isinstance(text.parent.parent, nodes.entry):
                text.parent.replace(text, nodes.Text(text.replace("± ", "±\u00a0")))


class PunctuationAfterMath(SphinxTransform):
    """Punctuation after a formula becomes part of it, since browsers would break the line between them."""

    default_priority = 880

    def apply(self, **kwargs: Any) -> None:
        for node in list(self.document.findall(nodes.math)):
            following = node.next_node(siblings=True, descend=False)
            found = re.match(r"[.,;:)]+", following.astext()) if isinstance(following, nodes.Text) else None
            if found and following is not None:
                node["then"] = found.group()
                following.parent[node.parent.index(node) + 1] = nodes.Text(following.astext()[found.end() :])


TIDIER = {  # what the library writes, and what browsers lay out better
    r"<mo>&#x02016;</mo>": r'<mo stretchy="false">&#x02016;</mo>',  # the bars of a norm have equal height
    r"((?:&#x00028;|\[|&#x0003D;|&#x0002C;)</mo>)<mo>&#x02212;</mo>": r'\1<mo form="prefix">&#x02212;</mo>',  # a sign
    r"<mo>([A-Za-z]+)</mo>": r"<mi>\1</mi>",  # a function has no space before its bracket, ...
    r"(?<!<msub>)(?<!<msup>)<mi>([a-z]{2,})</mi>(?!<mo stretchy=\"false\">&#x00028;|<mrow><mo stretchy=\"true\")": (
        r'<mi>\1</mi><mspace width="0.17em"/>'  # ... but one before its argument
    ),
    r"<mtext>\((\d+)\)</mtext></mrow></math>": r'<mspace width="2em"/><mtext>(\1)</mtext></mrow></math>',  # an equation's number
    r"<msup>((?:(?!<msup>).)*?)<mi>(&#x0203[234];)</mi></msup>": r'<mrow>\1<mo lspace="0" rspace="0">\2</mo></mrow>',
    r"<msubsup>((?:(?!<msubsup>).)*?)<mi>(&#x0203[234];)</mi></msubsup>": (
        r'<mrow><msub>\1</msub><mo lspace="0" rspace="0">\2</mo></mrow>'  # the sign of a prime is raised already
    ),
}


def mathml(latex: str, display: str) -> str:
    """LaTeX as MathML. Raises: ValueError for a command that is not known."""
    latex = latex.replace("{aligned}", "{split}").replace("{gathered}", "{matrix}")  # the library's names of these
    result = convert(re.sub(r"(\\[bB]igg?[lr]?)\\[lr]Vert", r"\1\\|", latex), display=display)
    if unknown := re.search(r"\\[a-zA-Z]+|<mi>&</mi>", result):
        raise ValueError(f"{unknown.group()} is not known")
    for pattern, tidied in TIDIER.items():
        result = re.sub(pattern, tidied, result)
    return result


def _rendered(node: nodes.Element, display: str) -> str:
    try:
        return mathml(node.astext(), display)
    except Exception as error:  # the library has errors of many kinds
        LOG.warning("this formula cannot be rendered: %s (%r)", node.astext(), error, location=node)
        return ""


def _inline_math(translator: Any, node: nodes.math) -> None:
    translator.body.append(f'<span class="formula">{_rendered(node, "inline")}{node.get("then", "")}</span>')
    raise nodes.SkipNode


def _block_math(translator: Any, node: nodes.math_block) -> None:
    translator.body.append(translator.starttag(node, "div", CLASS="math-display"))
    translator.body.append(_rendered(node, "block") + "</div>")
    raise nodes.SkipNode


def _check_links(app: Sphinx, exception: Exception | None) -> None:
    """Warn of each broken link; other sites are not asked."""
    if exception is None and app.builder.name == "html":
        for link in broken_links(Path(app.outdir)):
            LOG.warning(link)


def broken_links(site: Path) -> list[str]:
    """The links and pictures in the pages of a folder whose file or anchor does not exist."""
    pages = {path: BeautifulSoup(path.read_text(), "html.parser") for path in site.resolve().rglob("*.html")}
    anchors = {path: {str(tag["id"]) for tag in page.find_all(id=True)} for path, page in pages.items()}
    broken = []
    for path, page in pages.items():
        for tag in page.find_all(["a", "img", "link", "script"]):
            address = urlsplit(str(tag.get("href") or tag.get("src") or ""))
            if address.scheme or address.netloc:
                continue
            target = (path.parent / unquote(address.path)).resolve() if address.path else path
            anchor = unquote(address.fragment)
            if not target.is_file() or (anchor and target in anchors and anchor not in anchors[target]):
                broken.append(f"broken link: {address.geturl()} in {path.relative_to(site.resolve())}")
    return broken
