"""A tiny SDXL, made once, and small noisy sets made without a VAE."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ambient.randomness import generator
from sdxl import noisy_set, tiny
from sdxl.base import Base, quiet

quiet()


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory) -> Base:
    """The tiny SDXL."""
    folder = tmp_path_factory.mktemp("tiny") / "sdxl"
    tiny.write(folder)
    return Base(folder)


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
        "prompt_embeds": torch.randn(images, 77, 2 * tiny.TEXT, generator=source),
        "pooled": torch.randn(images, tiny.TEXT, generator=source),
        "time_ids": torch.tensor([[64.0, 64, 0, 0, 64, 64]] * images),
    }
    for number, start in enumerate(range(0, images, shard)):
        part = slice(start, start + shard)
        names = [f"image_{i}" for i in range(images)][part]
        part_rows = {name: value[part] for name, value in rows.items()}
        noisy_set.write_shard(folder / noisy_set.shard_name(number), part_rows, names, names, "tests")
    zeros = {"prompt_embeds": torch.zeros(1, 77, 2 * tiny.TEXT), "pooled": torch.zeros(1, tiny.TEXT)}
    noisy_set.write_null(folder, null or zeros)
    noisy_set.write_manifest(folder, {"vae": base.fingerprint("vae"), "schedule": base.schedule_digest(), "size": 8 * size})
    return folder


@pytest.fixture
def small_set(tmp_path, tiny_base) -> Path:
    """Six images at t_n = 500."""
    return write_set(tmp_path / "noisy", tiny_base)


def rows_of(file: Path) -> list[dict]:
    """The lines of a metrics.jsonl."""
    return [json.loads(line) for line in file.read_text().splitlines()]
