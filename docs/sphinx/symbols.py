"""The names of which the formulas of docstrings are made, and their LaTeX."""

from __future__ import annotations

import re

GREEK = {"alpha", "beta", "gamma", "eta", "lambda", "mu", "phi", "pi", "sigma", "tau", "theta"}
FUNCTIONS = {"log": r"\log", "ln": r"\ln", "exp": r"\exp", "min": r"\min", "max": r"\max", "sum": r"\sum", "grad": r"\nabla"}
FUNCTIONS |= {name: rf"\operatorname{{{name}}}" for name in ("div", "tr", "Var", "Cov", "softmax", "skip")}
UPRIGHT = {"SNR", "MMSE", "prediction", "data_std", "data_variance", "alphas_cumprod", "centre", "std", "vector"}
INSIDE = {"condition", "mean"}  # English words, which are names only between brackets
# names whose part below the line is a word:
BELOW = {"c_in", "c_out", "c_noise", "c_skip", "beta_min", "beta_max", "t_max", "J_DSM", "J_SURE"}
SPECIAL = {"E": r"\mathbb{E}", "eps": r"\varepsilon", "dh": "dh", "dx": "dx", "dq": "dq", "dt": "dt", "df": "df"}
ALONE = GREEK | {"eps"} | set("BCDFIKLNRVYZcefghijkmnqrstvwx")  # formulas by themselves


class NoFormula(Exception):  # noqa: N818, it is the answer of a parser and no error
    """No formula begins here."""


def name(text: str, *, inside: bool) -> str:
    """The LaTeX of a name, which may be inside of brackets. Raises: NoFormula for a word that is not in the lists."""
    bare, primes = text.rstrip("'"), "'" * (len(text) - len(text.rstrip("'")))
    if bare in UPRIGHT or (inside and bare in INSIDE):
        return rf"\text{{{bare}}}"
    base, *below = bare.split("_", 1)
    if base in GREEK:
        latex = rf"\{base}"
    elif base in FUNCTIONS or base in SPECIAL:
        latex = FUNCTIONS.get(base) or SPECIAL[base]
    elif len(base) == 1 and (below or base not in "aA"):
        latex = base
    else:
        raise NoFormula
    if below:
        if not (bare in BELOW or re.fullmatch(r"[a-z0-9]|[a-z],[a-z]{1,2}|[a-z]{2}", below[0])):
            raise NoFormula
        latex += rf"_{{\text{{{below[0]}}}}}" if bare in BELOW else f"_{{{below[0]}}}"
    return latex + primes
