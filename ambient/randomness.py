"""Randomness as a function: a generator from (seed, stream, step).

Nothing is saved and nothing is lost on resume: what a step draws depends on the three arguments and on nothing that was
drawn before. Streams keep data, noise and evaluation independent of one another.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor


def generator(seed: int, stream: str, step: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """A fresh generator for one step of one named stream. Seed 0 is a seed like any other.

    torch's CPU generator keeps 32 bits of its seed: two of N triples share their draws with probability about N^2 / 2^33.
    """
    digest = hashlib.sha256(f"{seed}/{stream}/{step}".encode()).digest()
    return torch.Generator(device=device).manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def lasting_noise(seed: int, key: str, shape: tuple[int, ...]) -> Tensor:
    """Standard normal float32 noise that stays with one datum for ever: all 128 bits of numpy's Philox follow from (seed, key).

    With torch's 32 bits two of 70,000 images would likely share their noise, and any seed could be found by trying.
    Who knows the seed and the key can take the noise off again.
    """
    key_of_philox = int.from_bytes(hashlib.sha256(f"{seed}/lasting noise/{key}".encode()).digest()[:16], "little")
    return torch.from_numpy(np.random.Generator(np.random.Philox(key=key_of_philox)).standard_normal(shape, dtype=np.float32))
