"""Table 1: models trained at several levels restore the same held-out images, under the same noise, in one step.

    python -m sdxl evaluate restoration --loras runs/t100 runs/t500 runs/t800 --data held_out --out runs/table1
    python -m sdxl evaluate restoration --loras run --data photographs --split held_out --resolution 128 --base tiny
    torchrun --nproc-per-node 8 -m sdxl evaluate restoration ...                     the same numbers, sooner

Errors are mean squares over the numbers of a latent, and over those of an image in [-1, 1] after decoding. All models see the
same noise, which follows from seed, image and level, so that their errors are compared in pairs: against the first of --loras.
Never take images that a model was trained on. Writes results.json (every error), table.md, table.csv, restoration.png. The same
command resumes where it was stopped.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from sdxl.evaluate.restoration import table
from sdxl.evaluate.restoration.options import RestorationOptions
from sdxl.run_command import started

OPTIONS = RestorationOptions


def main(argv: list[str]) -> None:
    """Measure the errors that `argv` asks for."""
    with started(OPTIONS, argv, "evaluate restoration", __doc__) as (config, group):
        from sdxl.evaluate.restoration.measure import RestorationPlan, measure, results_of  # the models take seconds to import

        plan = RestorationPlan(config, group)
        identity = group.together(plan.identity)
        if config.dry_run:
            return group.say(*(f"{key}: {value}" for key, value in (asdict(config) | identity).items()))
        with group.results(config.out, identity) as stopping:
            measure(plan, stopping)
            group.on_main(lambda: table.write(Path(config.out), results_of(plan, identity)))
        group.say((Path(config.out) / "table.md").read_text() + f"-> {config.out}")
