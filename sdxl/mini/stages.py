"""The three trainings of the mini model: of the VAE, of the UNet with the text encoders, and of a classifier for measurements.

A stage has `weights`, the modules that it trains, and is called with the number of a step: it returns the loss of that step.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ambient.randomness import generator
from sdxl.images.sheets import from_bytes
from sdxl.mini import glyphs, models
from sdxl.mini.classifier import Classifier, labels_of
from sdxl.mini.options import PretrainOptions
from sdxl.model.base import Base
from sdxl.model.unet import denoiser
from sdxl.train.objective import Objective, order

RESIZED_SHARE, LARGEST_ORIGINAL = 0.2, 1024  # of pictures that are said to have been resized, and the size they had at most
NOISE_STD = 0.1  # standard deviation of the noise that the classifier sees on its pictures


class Stage(Protocol):
    """One training. `name` stands in metrics.jsonl and in checkpoints."""

    name: str
    weights: nn.ModuleDict
    steps: int
    learning_rate: float

    def __call__(self, step: int) -> Tensor: ...


class VaeStage:
    """The mean squared error of reconstructions, plus `kl` times the KL divergence of the latents from N(0, 1)."""

    name = "vae"

    def __init__(self, config: PretrainOptions, pipeline: Any, pictures: Tensor):
        self.config, self.pictures, self.vae = config, pictures, pipeline.vae
        self.weights = nn.ModuleDict({"vae": self.vae})
        self.steps, self.learning_rate = config.vae_steps, config.vae_learning_rate

    def __call__(self, step: int) -> Tensor:
        """The loss of a step."""
        pixels = from_bytes(self.pictures[_rows(self.pictures, self.config.vae_batch, self.config.seed, step)])
        latent = self.vae.encode(pixels).latent_dist
        noise = torch.randn(latent.mean.shape, generator=generator(self.config.seed, "noise of the VAE", step))
        error = (self.vae.decode(latent.mean + latent.std * noise).sample - pixels).square().mean()
        return error + self.config.kl * 0.5 * (latent.mean**2 + latent.var - 1 - latent.logvar).mean()


class UnetStage:
    """The loss of noise prediction, which is the ambient loss in units of eps at t_n = 0, of UNet and text encoders together."""

    name = "unet"

    def __init__(self, config: PretrainOptions, pipeline: Any, base: Base, latents: Tensor):
        self.config, self.latents = config, latents
        self.first, self.second = pipeline.text_encoder, pipeline.text_encoder_2
        self.weights = nn.ModuleDict({"unet": pipeline.unet, "text_encoder": self.first, "text_encoder_2": self.second})
        self.objective = Objective(base.path(), space="eps", min_snr=config.min_snr)
        self.denoiser = denoiser(pipeline.unet, base.path(), base.prediction())
        self.steps, self.learning_rate = config.unet_steps, config.unet_learning_rate
        captions = [glyphs.described(number, seed=config.seed).caption for number in range(len(latents))]
        self.tokens = pipeline.tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids

    def __call__(self, step: int) -> Tensor:
        """The loss of a step."""
        batch, seed = self.config.unet_batch, self.config.seed
        rows, t_n = _rows(self.latents, batch, seed, step), torch.zeros(batch, dtype=torch.float64)
        numbers = list(range(step * batch, (step + 1) * batch))
        draws = self.objective.draw(t_n, [False] * batch, self.latents.shape[1:], seed=seed, numbers=numbers)
        condition = self.condition(self.tokens[rows], generator(seed, "conditions", step))
        return self.objective(self.denoiser, self.latents[rows], t_n, condition, draws).ambient.mean()

    def condition(self, tokens: Tensor, source: torch.Generator) -> dict[str, Tensor]:
        """The condition of captions, as `TextEncoder` makes it; a share `caption_dropout` of them is replaced by zeros.

        Some pictures are said to have had another size, so that the model learns that a picture does not depend on it.
        """
        first = self.first(tokens, output_hidden_states=True)
        second = self.second(tokens, output_hidden_states=True)
        kept = (torch.rand(len(tokens), generator=source) >= self.config.caption_dropout).float()
        original = torch.randint(glyphs.SIZE // 2, LARGEST_ORIGINAL + 1, (len(tokens), 2), generator=source)
        original[torch.rand(len(tokens), generator=source) >= RESIZED_SHARE] = glyphs.SIZE
        sizes = torch.tensor([0, 0, glyphs.SIZE, glyphs.SIZE]).expand(len(tokens), 4)
        return {
            "prompt_embeds": torch.cat([first.hidden_states[-2], second.hidden_states[-2]], -1) * kept[:, None, None],
            "pooled": second.text_embeds * kept[:, None],
            "time_ids": torch.cat([original, sizes], 1).float(),
        }


class ClassifierStage:
    """The loss of the classifier. It sees half of the pictures as the VAE reconstructs them, and all of them with some noise."""

    name = "classifier"

    def __init__(self, config: PretrainOptions, pictures: Tensor, vae: Any, latents: Tensor):
        self.config, self.pictures, self.vae, self.latents = config, pictures, vae, latents
        self.classifier = Classifier(config.seed)
        self.weights = nn.ModuleDict({"classifier": self.classifier})
        self.steps, self.learning_rate = config.classifier_steps, config.classifier_learning_rate
        self.labels = labels_of([glyphs.described(number, seed=config.seed) for number in range(len(pictures))])

    def __call__(self, step: int) -> Tensor:
        """The loss of a step."""
        rows = _rows(self.pictures, self.config.classifier_batch, self.config.seed, step)
        clean = from_bytes(self.pictures[rows])
        pixels = clean + NOISE_STD * torch.randn(clean.shape, generator=generator(self.config.seed, "grain", step))
        pixels[::2] += models.decoded(self.vae, self.latents[rows[::2]]) - clean[::2]
        return self.classifier.loss(pixels, clean, {name: labels[rows] for name, labels in self.labels.items()})


def _rows(rows: Tensor, batch: int, seed: int, step: int) -> list[int]:
    """The indices of the rows of a step."""
    return order(len(rows), seed=seed, numbers=list(range(step * batch, (step + 1) * batch)))
