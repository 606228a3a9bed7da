"""Write the mini SDXL that this package ships: small enough for a laptop, and trained on pictures of letters.

    python -m sdxl mini runs/mini
    python -m sdxl generate --base runs/mini --prompt "a large red letter k on a pale blue ground" --out runs/k

It generates pictures of 32 x 32 pixels. Its card, README.md in the folder, says how it was trained and what it can do.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.config import parse
from harness.options import Options
from sdxl import options
from sdxl.mini import shipped


@dataclass(frozen=True)
class MiniOptions(Options):
    """Options of `python -m sdxl mini`."""

    out: str = options.new_folder()


OPTIONS = MiniOptions


def main(argv: list[str]) -> None:
    """Write the model. Raises: UserError if the folder is not empty, or if the package is damaged."""
    config = parse(MiniOptions, argv, prog="python -m sdxl mini", description=__doc__ or "")
    folder = options.require_empty(config.out)
    shipped.copy(folder)
    print(f"a mini SDXL that knows letters -> {folder}")
