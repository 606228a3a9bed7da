"""The plan of `generate`: everything that it needs is found and checked before a model is loaded."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.files import digest
from sdxl.corrupt.noisy_set import NoisySet
from sdxl.generate.options import GenerateOptions
from sdxl.manifest import Made, Restored
from sdxl.model import lora, sampling
from sdxl.model.base import PARTS, dtype_of, find_with_vae, shapes
from sdxl.parallel import Group

NOT_IDENTITY = ("out", "batch", "dry_run")


class GenerationPlan:
    """The images, with their levels, captions and batches. `images`: their entries in the manifest.

    Raises: UserError for a model, a noisy set or captions that do not exist, or do not fit each other.
    """

    def __init__(self, config: GenerateOptions, group: Group):
        self.config, self.group = config, group
        self.noisy = NoisySet(config.posterior) if config.posterior else None
        self.captions = [] if self.noisy or config.null_caption else captions(config.prompt, config.prompts)
        text = () if self.noisy else PARTS
        self.base, self.vae = find_with_vae(config.base, config.vae, parts=("unet", "scheduler", *text))
        self.lora = lora.opened(config.lora, self.base) if config.lora else None
        models = self.base.identity("unet", "scheduler", *text) | self.vae.identity("vae")
        self.prints = {"base": models.pop("unet")} | models | ({"lora": self.lora.digest} if self.lora else {})
        self.dtype = dtype_of(config.dtype, group.device)
        self.path, self.times = self.base.path(), sampling.grid(self.base.schedule(), config.steps)
        if self.noisy is not None:
            self._check_set(self.noisy)
        self.levels = self.noisy.levels().tolist() if self.noisy else []
        self.images = [self._entry(i) for i in range(config.images)]
        self.resolution = self._resolution()
        edge = self.resolution // self.vae.pixels()
        self.shape = (self.vae.settings("vae").latent_channels, edge, edge)
        if self.noisy is not None:
            self.base.fit(self.noisy.shapes(), str(config.posterior))
        else:
            self.base.fit(shapes(self.base, self.vae, self.resolution), "the VAE and the text encoders")
        self._check_stop()
        self.batches = self._batches()
        if len(self.batches) < group.size:
            counts = f"--images {config.images} in batches of --batch {config.batch}"
            raise UserError(f"{counts} keep {len(self.batches)} of {group.size} processes busy; start fewer processes")

    def _check_set(self, noisy: NoisySet) -> None:
        """Raises: UserError for a noisy set that was made with another schedule or another VAE."""
        where = self.config.posterior
        if noisy.manifest.schedule != self.base.schedule_digest():
            raise UserError(f"{where} was made with another noise schedule than that of {self.config.base}")
        if noisy.manifest.vae != self.prints["vae"]:
            source = self.config.vae or self.config.base
            raise UserError(f"{where} was made with another VAE than that of {source}; give --vae the one it was made with")

    def _resolution(self) -> int:
        """The side of the images in pixels. Raises: UserError for another one than that of the noisy set."""
        asked = self.config.resolution
        if self.noisy is None:
            return asked or self.base.resolution(self.vae.pixels())
        size = self.noisy.manifest.size
        if asked not in (None, size):
            raise UserError(f"{self.config.posterior} is of {size} pixels, not of {asked}; leave --resolution out")
        return size

    def _check_stop(self) -> None:
        """Raises: UserError for a --stop that is not below the level where every image starts."""
        stop = self.config.stop
        if stop is None:
            return
        sampling.require_times("--stop", [stop], self.path.t_max)
        for image in self.images:
            if isinstance(image, Restored) and stop >= image.t_n:
                raise UserError(f"--stop {stop} is not below {image.t_n:g}, where {image.key} starts")
        if not self.noisy and stop >= self.times[0]:
            raise UserError(f"--stop {stop} is not below {self.times[0]:g}, where {self.config.steps} steps begin")

    def _batches(self) -> list[list[int]]:
        """The numbers of the images of each batch, all of one level. The last bits of an image may depend on its batch, which is
        therefore the same for any number of processes.
        """
        at: dict[float | None, list[int]] = {}
        for i in range(self.config.images):
            at.setdefault(self.start(i), []).append(i)
        size = self.config.batch
        return [together[k : k + size] for together in at.values() for k in range(0, len(together), size)]

    def _entry(self, image: int) -> Made:
        """The entry of an image in the manifest."""
        file = f"images/{image:06d}.png"
        if self.noisy is None:
            return Made(file, image, self.captions[image % len(self.captions)] if self.captions else None)
        row = image % len(self.noisy)
        key, caption = self.noisy.labels[row]
        return Restored(file, image, None if self.config.null_caption else caption, row, key, self.levels[row])

    def start(self, image: int) -> float | None:
        """The level from which an image starts; None: from pure noise."""
        return self.levels[image % len(self.levels)] if self.levels else None

    def stretch(self, image: int) -> list[float]:
        """The times at which an image is sampled."""
        return sampling.stretch(self.times, start=self.start(image), stop=float(self.config.stop or 0))

    def file(self, image: int) -> Path:
        """The file of an image."""
        return Path(self.config.out) / self.images[image].file

    def scale(self) -> float:
        """The scale of guidance; 1, which is no guidance, without captions."""
        return 1.0 if self.config.null_caption else self.config.guidance

    def identity(self) -> dict[str, Any]:
        """What the images depend on: options, and digests of the base, the VAE, the LoRA, the captions and the noisy set."""
        identity = self.config.without(*NOT_IDENTITY)
        identity |= {"resolution": self.resolution, "dtype": str(self.dtype).removeprefix("torch."), **self.prints}
        identity["times"] = " ".join(f"{t:g}" for t in self.times)
        if self.noisy is not None:
            identity["posterior"] = self.noisy.digest
        if self.config.prompts:
            identity["prompts"] = digest("\n".join(self.captions).encode())
        return identity

    def plan(self) -> list[str]:
        """The lines that --dry-run prints."""
        times, config, identity = self.stretch(0), self.config, self.identity()
        evaluations = (len(times) - 1 + (times[-1] > 0)) * (1 if self.scale() == 1 else 2)
        resolved = {key: identity[key] for key in ("resolution", "dtype")}
        return [
            *(f"{key}: {value}" for key, value in (asdict(config) | resolved).items()),
            *(f"found {key}: {value}" for key, value in self.prints.items()),
            f"times of image 0: {', '.join(f'{t:g}' for t in times)}" + (", then denoised once" if times[-1] else ""),
            f"evaluations of the UNet: {evaluations} for image 0",
            f"processes: {self.group.size} on {self.group.device.type}; {config.images} images in {len(self.batches)} batches",
        ]


def captions(prompt: str, file: str | None) -> list[str]:
    """`prompt`, or the lines of a file that are not empty. Raises: UserError if the file is empty or cannot be read."""
    if file is None:
        return [prompt]
    try:
        lines = [line.strip() for line in Path(file).read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {file}: {getattr(error, 'strerror', None) or 'it is no text in UTF-8'}") from error
    if not any(lines):
        raise UserError(f"{file} is empty; it must hold a caption on each line")
    return [line for line in lines if line]
