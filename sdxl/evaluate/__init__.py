"""What a model restores, what it generates, what it remembers."""

from __future__ import annotations

from ambient.config import dispatch

COMMANDS = {
    "restoration": "errors of several models that restore noised held-out images in one step (Table 1)",
    "fid": "Frechet distance and KID of generated images to a reference (Fig. 4)",
    "memorization": "similarity of images to the nearest training image, next to baselines (Figs. 3, 8, 9, 10)",
}
EXAMPLES = (
    "restoration --loras runs/t100 runs/t500 --data held_out --out runs/table1",
    "fid --generated images --reference photos --out runs/fid",
)


def main(argv: list[str]) -> None:
    """Hand the options to the evaluation named first."""
    dispatch("python -m sdxl evaluate", "sdxl.evaluate", COMMANDS, argv, EXAMPLES)
