"""`python -m sdxl COMMAND [options]`."""

from __future__ import annotations

from ambient.config import command, dispatch
from ambient.runs import UserError

COMMANDS = {
    "tiny": "write a tiny SDXL with random weights, for rehearsals on a laptop",
    "corrupt": "turn images and captions into a noisy set on disk, once",
    "train": "fine-tune SDXL by LoRA on a noisy set alone",
    "generate": "generate images from a base and a LoRA: samples, the paper's early stop, or posterior samples",
    "evaluate": "measure the restoration of held-out images, Frechet distance and KID, or memorization",
    "attack": "test whether a model reproduces images it was trained on, hidden by noise or by a mask",
    "figures": "draw the paper's figures and its table from the results of the other commands, on one page",
    "rehearse": "run all of these commands on the tiny SDXL, in minutes on a laptop",
}
EXAMPLES = ("rehearse", "corrupt --data photos --t-n 500 --out noisy")


def main(argv: list[str]) -> None:
    """Hand the options to the command named first."""
    try:
        dispatch("python -m sdxl", "sdxl", COMMANDS, argv, EXAMPLES)
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name} is not installed; pip install -c constraints.txt -e '.[sdxl]'") from error


if __name__ == "__main__":
    command(main)
