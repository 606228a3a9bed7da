"""Real digits, on a laptop: the paper's experimental section in miniature."""

from __future__ import annotations

import importlib

from ambient.config import nearest
from ambient.runs import UserError

COMMANDS = {
    "table1": "models trained at several noise levels restore held-out digits (Table 1)",
    "figures": "Frechet distance against the level of the data; posterior and unconditional samples (Figs. 4, 5, 6)",
    "memorization": "the noise attack on clean-trained and noisy-trained models (Fig. 8)",
}


def main(argv: list[str]) -> None:
    """The comparison of all methods, or one of COMMANDS."""
    if argv and argv[0] in COMMANDS:
        importlib.import_module(f"toy.mnist.{argv[0]}").main(argv[1:])
        return
    if argv and not argv[0].startswith("-"):
        raise UserError(f"unknown experiment mnist {argv[0]!r}{nearest(argv[0], COMMANDS)}")
    importlib.import_module("toy.mnist.compare").main(argv)
