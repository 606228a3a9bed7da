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

    torch's CPU generator keeps only 32 bits of its seed. Of N different triples (seed, stream, step), some two therefore give the
    same draws with probability about N^2 / 2^33.
    """
    digest = hashlib.sha256(f"{seed}/{stream}/{step}".encode()).digest()
    return torch.Generator(device=device).manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def lasting_noise(seed: int, key: str, shape: tuple[int, ...]) -> Tensor:
    """The noise that one sample of the data gets once and for all: standard normal, float32, a function of (seed, key).

    The key names the sample. All 128 bits of the state of numpy's Philox generator come from (seed, key), because 32 bits are too
    few: two of 70,000 images would probably share their noise, and a search could find any seed. Whoever knows the seed and the
    key can remove the noise.
    """
    philox_key = int.from_bytes(hashlib.sha256(f"{seed}/lasting noise/{key}".encode()).digest()[:16], "little")
    return torch.from_numpy(np.random.Generator(np.random.Philox(key=philox_key)).standard_normal(shape, dtype=np.float32))
