"""A small SDXL, made once, and small noisy sets made without a VAE."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ambient.randomness import generator
from sdxl.corrupt import noisy_set
from sdxl.manifest import Header, Identity, Manifest
from sdxl.model import fresh, lora, tiny
from sdxl.model.base import PARTS, Base
from sdxl.run_command import quiet

quiet()


SMALL = {  # four transformer blocks in place of the 17 of `sdxl tiny`: a training step takes a fifth of the time
    "sample_size": 8,
    "block_out_channels": (16, 16),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
    "attention_head_dim": (2, 4),
    "norm_num_groups": 8,
}


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory) -> Base:
    """What `sdxl tiny` writes, but for a smaller UNet."""
    folder = tmp_path_factory.mktemp("small") / "sdxl"
    fresh.pipeline(replace(tiny.TINY, unet=SMALL), fresh.byte_tokenizer(), seed=0).save_pretrained(folder)
    return Base(folder)


@pytest.fixture(scope="session")
def whole_tiny_base(tmp_path_factory) -> Base:
    """What `sdxl tiny` writes."""
    folder = tmp_path_factory.mktemp("tiny") / "sdxl"
    tiny.write(folder)
    return Base(folder)


@pytest.fixture(scope="session")
def runs(tiny_base, tmp_path_factory) -> Path:
    """A directory of each command, see `rehearsed`."""
    from tests.sdxl import rehearsed

    return rehearsed.make(tmp_path_factory.mktemp("runs"), tiny_base)


def write_set(
    folder: Path,
    base: Base,
    *,
    images: int = 6,
    t_n: float | list[float] = 500,
    size: int = 8,
    shard: int = 4,
    null: dict[str, torch.Tensor] | None = None,
) -> Path:
    """A noisy set of random latents and embeddings that fits `base`."""
    folder.mkdir(parents=True)
    path, levels = base.path(), torch.tensor(t_n if isinstance(t_n, list) else [t_n] * images, dtype=torch.float64)
    source = generator(0, "a set for tests")
    x_0 = torch.randn(images, 4, size, size, generator=source)
    rows = {
        "x_n": path(levels).apply(x_0, torch.randn(x_0.shape, generator=source)),
        "t_n": levels,
        "prompt_embeds": torch.randn(images, 77, 2 * tiny.TINY.text, generator=source),
        "pooled": torch.randn(images, tiny.TINY.text, generator=source),
        "time_ids": torch.tensor([[64.0, 64, 0, 0, 64, 64]] * images),
    }
    for number, start in enumerate(range(0, images, shard)):
        part = slice(start, start + shard)
        names = tuple(f"image_{i}" for i in range(images))[part]
        part_rows = {name: value[part] for name, value in rows.items()}
        noisy_set.write_tensors(folder / noisy_set.shard_name(number), part_rows, Header("tests", names, names))
    zeros = {"prompt_embeds": torch.zeros(1, 77, 2 * tiny.TINY.text), "pooled": torch.zeros(1, tiny.TINY.text)}
    noisy_set.write_tensors(folder / noisy_set.NULL, null or zeros)
    noisy_set.write_manifest(folder, manifest(base, images=images, size=8 * size, shard=shard))
    return folder


def manifest(base: Base, *, images: int, size: int, shard: int) -> Manifest:
    """What `corrupt` would tell of a set from `base`; of its images it is invented."""
    models = {part: base.fingerprint(part) for part in ("vae", *PARTS)}
    identity = Identity(
        code="tests", data={"count": images}, t_n="of each image", models=models, no_caption="zeros",
        schedule=base.schedule_digest(), prediction=base.prediction(), transform="none", seed="", dtype="float32",
        vae_dtype="float32", shard=shard,
    )  # fmt: skip
    return Manifest(
        vae=models["vae"], schedule=identity.schedule, size=size, images=images, captions={"with": images},
        identity=identity, levels={}, source="tests", base="tiny", vae_name=None, left_out=(),
    )  # fmt: skip


def about(base: Base | str, **changes: object) -> lora.About:
    """What a LoRA on a base would say of itself; of its training it is invented."""
    said = lora.About(base="", data="tests", t_n=500.0, rank=4, alpha=4.0, weight=0.01, seed=0, steps=7)
    return replace(said, base=base if isinstance(base, str) else base.fingerprint("unet"), **changes)


@pytest.fixture
def small_set(tmp_path, tiny_base) -> Path:
    """Six images at t_n = 500."""
    return write_set(tmp_path / "noisy", tiny_base)


def rows_of(file: Path) -> list[dict]:
    """The lines of a metrics.jsonl."""
    return [json.loads(line) for line in file.read_text().splitlines()]
