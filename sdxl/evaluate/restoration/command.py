"""Table 1: models trained at several levels restore the same held-out images, under the same noise, in one step.

    python -m sdxl evaluate restoration --loras runs/t100 runs/t500 runs/t800 --data held_out --out runs/table1
    python -m sdxl evaluate restoration --loras run --data photographs --split held_out --resolution 128 --base tiny
    torchrun --nproc-per-node 8 -m sdxl evaluate restoration ...                     the same numbers, sooner

Errors are mean squares over the numbers of a latent, and over those of an image in [-1, 1] after decoding. All models see the
same noise, which follows from seed, image and level, so that their errors are compared in pairs: against the first of --loras.
Never take images that a model was trained on. Writes results.json (every error), table.md, table.csv, restoration.png. The same
command goes on where it was stopped.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.statistics import mean
from sdxl.evaluate import tables
from sdxl.evaluate.restoration import table as table1
from sdxl.evaluate.restoration.options import RestorationOptions
from sdxl.evaluate.restoration.table import SPACES
from sdxl.evaluate.results import Model, Restoration
from sdxl.run_command import started

OPTIONS = RestorationOptions


def main(argv: list[str]) -> None:
    """Restore what `argv` asks for."""
    with started(OPTIONS, argv, "evaluate restoration", __doc__) as (config, group):
        from sdxl.evaluate.restoration.measure import RestorationPlan, measure  # the models take seconds to import

        job = RestorationPlan(config, group)
        identity = group.together(job.identity)
        if config.dry_run:
            return group.say(*(f"{key}: {value}" for key, value in (asdict(config) | identity).items()))
        with group.results(config.out, identity) as stopping:
            measure(job, stopping)
            group.on_main(lambda: table1.write(Path(config.out), results_of(job, identity)))
        group.say((Path(config.out) / "table.md").read_text() + f"-> {config.out}")


def results_of(job: Any, identity: dict[str, Any]) -> Restoration:
    """Every error, by space, model, level and image. Raises: UserError where those of another process are not here."""
    from sdxl.evaluate.restoration.measure import known

    errors: dict[str, dict[str, Any]] = {space: {} for space in SPACES}
    alone: list[float] = []
    for number, model in enumerate(job.models):
        found = [known(job, number, i) for i in range(len(job.images))]
        if None in found:
            raise UserError(
                f"{job.file(number, found.index(None))} is not here: do all processes see the folder {job.config.out}?"
            )
        for space in SPACES if job.config.pixels else SPACES[:1]:
            errors[space][model.name] = tuple(zip(*(getattr(of, space) for of in found), strict=True))
        alone += [value for of in found if of for value in of.vae or ()]
    return Restoration(
        config=tables.asked(job.config), identity=identity, levels=tuple(job.levels), errors=errors,
        models=tuple(Model(m.name, m.t_n, m.weight) for m in job.models), images=tuple(p.key for p in job.images.pictures),
        vae_alone=mean(alone)._asdict() if alone else None,
    )  # fmt: skip
