"""Attacks: does a model give back what it was trained on?"""

from __future__ import annotations

import importlib

from ambient.config import nearest
from ambient.runs import UserError

COMMANDS = {
    "noise": "training images are noised, and restored in one step and by posterior samples (Figs. 2, 3, 8, 10)",
    "mask": "regions of training images are hidden, and filled by the model or by an inpainting pipeline (Figs. 1, 9)",
}


def main(argv: list[str]) -> None:
    """One of COMMANDS."""
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: python -m sdxl attack COMMAND [options]\n")
        print("\n".join(f"  {name:10}{title}" for name, title in COMMANDS.items()))
        return
    if argv[0] not in COMMANDS:
        raise UserError(f"unknown command attack {argv[0]!r}{nearest(argv[0], COMMANDS)}")
    importlib.import_module(f"sdxl.attack.{argv[0]}").main(argv[1:])
