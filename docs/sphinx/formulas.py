r"""The formulas of docstrings, which are written in ASCII, as LaTeX.

The language is that of docs/notation.md: `E[X_n | X_t = x] = (alpha_n q^2 E[X_0 | X_t = x] + r sigma_n^2 x) / sigma_t^2`.
Its names are the closed list of symbols.py, so a formula ends where an English word begins.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from symbols import ALONE, UPRIGHT, NoFormula, name

RELATIONS = {"=": "=", "<": "<", ">": ">", "<=": r"\le", ">=": r"\ge", "~": r"\sim", "->": r"\to", "!=": r"\ne"}
Reader = Callable[[], tuple[str, str]]
CLOSING = {"(": ")", "[": "]"}
SPACE = re.compile(r"\s*")
TOKEN = re.compile(
    r"""(?P<number>\d+(?:,\d{3})+|\d+(?:\.\d+)?(?:e-?\d+)?)
    | (?P<name>[A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9]+(?:,[a-z]+)?)*'*)
    | (?P<operator><=|>=|!=|->|\|\||\.\.\.|\.\.|[-+*/^=<>~|()\[\]{},.])""",
    re.VERBOSE,
)


class Part(NamedTuple):
    """A piece of a text: words, or a formula in LaTeX."""

    text: str  # as it stands in the text
    latex: str = ""  # in a line of text, with a / b as a slash
    display: str = ""  # on a line of its own, with a / b as a fraction
    relation: bool = False  # whether it states an equality or an order

    def is_formula(self) -> bool:
        return self.latex != ""


def parts(text: str) -> Iterator[Part]:
    """The words and the formulas of a text, in order; formulas are as long as possible."""
    done = position = 0
    while position < len(text):
        found = _formula(text, position) if _may_begin(text, position) else None
        if found is None:
            position = _next_word(text, position)
            continue
        part, end = found
        if position > done:
            yield Part(text[done:position])
        yield part
        done = position = end
    if done < len(text):
        yield Part(text[done:])


def _may_begin(text: str, position: int) -> bool:
    before = text[position - 1 : position] if position else " "
    return not (text[position].isspace() or before.isalnum() or before in "_-`\"'/.")


def _next_word(text: str, position: int) -> int:
    """Where the next word begins; code in backquotes, words in quotation marks and addresses of files are one word."""
    found = re.compile(r'`[^`]*`|"[^"]*"|[\w./-]*/[\w./-]+\.\w+|[A-Za-z][\w-]*|.', re.DOTALL).match(text, position)
    return found.end() if found else position + 1


def _formula(text: str, start: int) -> tuple[Part, int] | None:
    """The longest formula that begins here, and where it ends; None if there is none, or only a number or a word."""
    try:
        inline, display = _Parser(text, start, fractions=False), _Parser(text, start, fractions=True)
        latex, fraction = inline.relations(), display.relations()
    except NoFormula:
        return None
    end, source = inline.end, text[start : inline.end]
    follows, after = text[end : end + 1], text[end + 1 : end + 2]
    if follows.isalnum() or (follows and follows in "_^`[") or (follows == "-" and after.isalpha()) or source in UPRIGHT:
        return None
    worth = re.search(r"[_^=<>']|\|\||[A-Za-z]\(|E\[|^\[|sqrt| [-+/.] | \.\. |^d\w/d\w$", source) or source.strip("+-") in ALONE
    shape = re.fullmatch(r"\(((\.\.\.|k|[A-Z]), )*(k|[A-Z]|\.\.\.|\*),?\)", source)
    return (Part(source, latex, fraction, inline.related), end) if worth or shape else None


class _Parser:
    """A parser by recursive descent that stops where the formula ends. Each method returns the LaTeX of what it has read."""

    def __init__(self, text: str, start: int, *, fractions: bool):
        self.text, self.end, self.fractions = text, start, fractions
        self.depth, self.related = 0, False

    def peek(self) -> re.Match[str] | None:
        """The next token."""
        return TOKEN.match(self.text, SPACE.match(self.text, self.end).end())  # type: ignore[union-attr]  # it always matches

    def take(self, token: re.Match[str]) -> str:
        self.end = token.end()
        return token[0]

    def optional(self, read: Callable[[], str], *operators: str) -> tuple[str, str] | None:
        """An operator and what follows it, or None, and then nothing is read."""
        before, token = self.end, self.peek()
        if token is None or token[0] not in operators or not self._stands_free(token):
            return None
        self.take(token)
        try:
            return token[0], read()
        except NoFormula:
            self.end = before
            return None

    def _stands_free(self, token: re.Match[str]) -> bool:
        """A dot is a product, a bar a condition, and a dash a difference, only between spaces."""
        around = self.text[token.start() - 1 : token.start()], self.text[token.end() : token.end() + 1]
        return token[0] not in (".", "|", "-") or all(space.isspace() for space in around)

    def relations(self) -> str:
        latex = self.sum()
        while found := self.optional(self.sum, *RELATIONS):
            latex += f" {RELATIONS[found[0]]} {found[1]}"
            self.related = self.related or self.depth == 0
        return latex

    def sum(self) -> str:
        token = self.peek()
        signed = token is not None and token[0] in ("-", "+")
        latex = f"{{{self.take(token)}{self.product()}}}" if token is not None and signed else self.product()
        while found := self.optional(self.product, "+", "-"):
            latex += f" {found[0]} {found[1]}"
        return latex

    def product(self) -> str:
        latex, bare = self.factors()
        while True:
            if found := self.optional(self.denominator, "/"):
                latex = rf"\frac{{{bare}}}{{{found[1]}}}" if self.fractions else f"{latex} / {found[1]}"
                bare = latex
            elif found := self.optional(lambda: self.factors()[0], "."):
                latex = bare = rf"{latex} \cdot {found[1]}"
            elif more := self.another(self.factors):
                latex = bare = _beside(latex, more)
            else:
                return latex

    def factors(self) -> tuple[str, str]:
        """Factors side by side; also without the brackets, if there is one factor in round brackets."""
        latex, bare = self.power()
        while more := self.another(self.power):
            latex = bare = _beside(latex, more)
        return latex, bare

    def another(self, read: Reader) -> str | None:
        """One more factor. What is on another line, or is a shape or a condition in brackets after a space, is none."""
        before, token = self.end, self.peek()
        if token is None or "\n" in self.text[before : token.start()]:
            return None
        inner = re.match(r"\(([^()]*)\)", self.text[token.start() :]) if token.start() > before else None
        if inner is not None and re.search(r"^$|,|=|<|>", inner[1]):
            return None
        try:
            return read()[0]
        except NoFormula:
            self.end = before
            return None

    def denominator(self) -> str:
        token = self.peek()
        latex, bare = self.power()
        if token is not None and token[0] == "d":  # d x_0 / d prediction
            return f"d\\, {self.power()[0]}"
        return bare if self.fractions else latex

    def power(self) -> tuple[str, str]:
        latex, bare = self.atom()
        while (token := self.peek()) is not None and token[0] == "^" and token.start() == self.end:
            self.take(token)
            sign = self.peek()
            minus = self.take(sign) if sign is not None and sign[0] == "-" else ""
            latex = bare = f"{latex}^{{{minus}{self.atom()[1]}}}"
        return latex, bare

    def atom(self) -> tuple[str, str]:
        """A name, a number, or something in brackets; also without the brackets, if they are round."""
        token = self.peek()
        if token is None:
            raise NoFormula
        match token.lastgroup, token[0]:
            case "number", text:
                self.take(token)
                latex = re.sub(r"^1e(-?\d+)$", r"10^{\1}", text).replace(",", "{,}")
                return latex, latex
            case "name", "sqrt":
                self.take(token)
                return (latex := rf"\sqrt{{{self.bracketed()}}}"), latex
            case "name", text:
                latex = name(text, inside=self.depth > 0)
                self.take(token)
                return latex, latex
            case "operator", "(" | "[":
                inner = self.bracketed()
                closing = CLOSING[token[0]]
                latex = rf"\left{token[0]}{inner}\right{closing}" if r"\frac" in inner else f"{token[0]}{inner}{closing}"
                return latex, inner if token[0] == "(" and ", " not in inner else latex
            case "operator", "||":
                self.take(token)
                self.depth += 1
                inner = self.relations()
                self.depth -= 1
                self.expect("||")
                return (latex := rf"\lVert {inner} \rVert"), latex
            case "operator", "..." | "..":
                self.take(token)
                return r"\ldots", r"\ldots"
            case "operator", "*" if self.depth:  # the axes of a shape
                return self.take(token), "*"
        raise NoFormula

    def bracketed(self) -> str:
        """What stands between two brackets: formulas, divided by commas or by the bar of a condition."""
        opening = self.peek()
        if opening is None or opening[0] not in CLOSING:
            raise NoFormula
        self.take(opening)
        self.depth += 1
        latex = "" if self._next_is(CLOSING[opening[0]]) else self.relations()
        while found := self.optional(self.relations, ",", "|"):
            latex += ", " + found[1] if found[0] == "," else rf" \mid {found[1]}"
        if self._next_is(","):  # a shape of one axis, (N,)
            self.expect(",")
            latex += ","
        self.depth -= 1
        self.expect(CLOSING[opening[0]])
        return latex

    def _next_is(self, text: str) -> bool:
        token = self.peek()
        return token is not None and token[0] == text

    def expect(self, text: str) -> None:
        token = self.peek()
        if token is None or token[0] != text:
            raise NoFormula
        self.take(token)


def _beside(left: str, right: str) -> str:
    """Two factors, with some space beside a word."""
    word = re.search(r"\\text\{\w+\}(\^\{\w+\})?$", left) or right.startswith(r"\text")
    return f"{left}\\, {right}" if word and not right.startswith(("(", "[", r"\left")) else f"{left} {right}"
