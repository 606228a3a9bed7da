"""Random numbers as a function of (seed, stream, step).

What a step draws depends on these three arguments and not on earlier draws. A training that resumes therefore needs no saved
random state. Different streams keep data, noise and evaluation independent of one another.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor


def generator(seed: int, stream: str, step: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """A new generator for one step of the named stream.

    torch's CPU generator keeps only 32 bits of its seed. Therefore, among N different triples (seed, stream, step), at least two
    give the same draws with probability about 1 - exp(-N^2 / 2^33).
    """
    digest = hashlib.sha256(f"{seed}/{stream}/{step}".encode()).digest()
    return torch.Generator(device=device).manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def fixed_noise(seed: int, key: str, shape: tuple[int, ...]) -> Tensor:
    """The noise that is added once to one sample of the data and then kept: standard normal, float32, a function of (seed, key).

    The key names the sample. All 128 bits of the key of numpy's Philox generator come from (seed, key). A seed of 32 bits would
    be too short: two of 70,000 images would share their noise with probability 0.43, and a search through all seeds could find
    the noise of an image. Whoever knows the seed and the key can remove the noise.
    """
    philox_key = int.from_bytes(hashlib.sha256(f"{seed}/lasting noise/{key}".encode()).digest()[:16], "little")
    return torch.from_numpy(np.random.Generator(np.random.Philox(key=philox_key)).standard_normal(shape, dtype=np.float32))
