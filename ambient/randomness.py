"""Randomness as a function: a generator from (seed, stream, step).

Nothing is saved and nothing is lost on resume: what a step draws depends on the three arguments and on nothing that was
drawn before. Streams keep data, noise and evaluation independent of one another.
"""

from __future__ import annotations

import hashlib

import torch


def generator(seed: int, stream: str, step: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """A fresh generator for one step of one named stream. Seed 0 is a seed like any other.

    torch's CPU generator keeps 32 bits of its seed: two of N triples share their draws with probability about N^2 / 2^33.
    """
    digest = hashlib.sha256(f"{seed}/{stream}/{step}".encode()).digest()
    return torch.Generator(device=device).manual_seed(int.from_bytes(digest[:8], "little") >> 1)
