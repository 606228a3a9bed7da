"""The row of a noisy set that an image becomes: its noise and its random crop follow from the seed and the whole key."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from ambient.randomness import fixed_noise, generator
from sdxl.corrupt.corruptor import Corruptor
from sdxl.corrupt.options import CorruptOptions
from sdxl.images.crop import fit
from sdxl.images.pictures import Picture
from sdxl.model.vae import latent

T_N = 300
PHOTOGRAPH = Image.fromarray(torch.randint(256, (64, 200, 3), generator=generator(0, "photograph")).byte().numpy())


@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize("key", ["a.png", "one/a.png", "two/a.png"])
def test_noise_and_crop_follow_from_seed_and_key(tiny_base, seed, key):
    options = CorruptOptions(t_n=T_N, resolution=64, crop="random", seed=seed)
    corruptor = Corruptor(options, tiny_base, tiny_base, torch.device("cpu"))
    row = corruptor(Picture(key, "", T_N, lambda: b""), PHOTOGRAPH)
    pixels, time_ids = fit(PHOTOGRAPH, 64, "random", seed, key)
    x_0 = latent(corruptor.vae, pixels[None])
    alpha, sigma = tiny_base.path()(torch.tensor([float(T_N)]))
    expected = float(alpha) * x_0 + float(sigma) * fixed_noise(seed, key, tuple(x_0.shape))
    torch.testing.assert_close(row["x_n"], expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(row["time_ids"], time_ids[None])
