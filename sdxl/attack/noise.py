"""What the noise attack does to each image: level by level, in one step and by samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from harness.errors import UserError
from sdxl.attack.options import NoiseAttackOptions
from sdxl.attack.plan import STRIPS, Attacker, AttackPlan
from sdxl.attack.restore import Attacked, attack
from sdxl.attack.strips import as_rgb, image_of, strip
from sdxl.images.sheets import save
from sdxl.manifest import Noised
from sdxl.model import sampling, vae
from sdxl.model.unet import denoiser
from sdxl.model.vae import picture
from sdxl.parallel import Group

ONE_STEP = "one_step"


class NoiseAttack(AttackPlan):
    """Every image at every level. Raises: UserError for what does not go together."""

    config: NoiseAttackOptions
    row = Noised

    def __init__(self, config: NoiseAttackOptions, group: Group):
        super().__init__(config, group)
        last = int(self.path.t_max)
        off = [t for t in config.t if not 1 <= t <= last]
        if off:
            raise UserError(f"--t must name times of the schedule, 1 .. {last}; got {off[0]}")

    def kinds(self) -> list[str]:
        return [ONE_STEP, *(f"sample_{j}" for j in range(self.config.samples))]

    def file(self, t: int, kind: str, image: int) -> Path:
        return Path(self.config.out) / "images" / f"t{t}_{kind}_{image:06d}.png"

    def results(self, image: int) -> list[tuple[Path, dict[str, Any]]]:
        return [(self.file(t, kind, image), {"t": t, "kind": kind}) for t in self.config.t for kind in self.kinds()]

    def shown(self, image: int) -> Path:
        return self.file(self.config.t[0], self.kinds()[-1], image)

    def costs(self) -> str:
        config, count = self.config, len(self.pictures)
        steps = sum(1 + config.samples * (len(sampling.stretch(self.times, start=t)) - 1) for t in config.t)
        return f"{count} images, {count * len(self.results(0))} results, {steps} evaluations of the UNet for each image"

    def attacker(self) -> Attacker:
        return Restorer(self)


class Restorer(Attacker):
    """Noises and restores."""

    def __init__(self, plan: NoiseAttack):
        super().__init__(plan)
        self.plan, self.denoiser = plan, denoiser(self.unet, plan.path, plan.base.prediction())

    def __call__(self, image: int) -> None:
        plan, config = self.plan, self.plan.config
        square, condition = self.read(plan, image)
        x_0, rows = vae.latent(self.vae, square[None]).to(self.device), []
        for t in config.t:
            options: dict[str, Any] = {"path": plan.path, "times": plan.times, "kernel": config.kernel, "seed": config.seed}
            keys = [plan.pictures[image].key]
            found = attack(self.denoiser, x_0, keys, t, samples=config.samples, condition=condition, **options)
            rows.append([image_of(square), *self.write(x_0, found, t, image)])
        if image < STRIPS:
            save(strip(rows, heads=self.heads(), sides=[f"t = {t}" for t in config.t]), plan.strip(image))

    def heads(self) -> list[str]:
        """Over the columns of a strip."""
        return ["image", "latent as RGB", "noisy latent", *(kind.replace("_", " ") for kind in self.plan.kinds())]

    def write(self, x_0: Tensor, found: Attacked, t: int, image: int) -> list[Any]:
        """The latent, the noisy latent, and the pictures as they were written. Paper: Fig. 2."""
        shown = [as_rgb(x_0[0]), as_rgb(found.x_t[0])]
        for kind, latent in zip(self.plan.kinds(), [found.one_step[0], *found.samples[:, 0]], strict=True):
            file = self.plan.file(t, kind, image)
            shown.append(picture(self.vae, latent, file.name))
            save(shown[-1], file)
        return shown
