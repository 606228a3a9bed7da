"""Randomness is a function of (seed, stream, step)."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from ambient import randomness
from ambient.randomness import fixed_noise, generator
from tests.faults import planted
from tests.noise import check_independent


def draws(*which) -> list[float]:
    return torch.rand(4, dtype=torch.float64, generator=generator(*which)).tolist()


def test_the_same_three_give_the_same_draws():
    assert draws(3, "train", 7) == draws(3, "train", 7)
    assert draws(3, "train") == draws(3, "train", 0)


def test_any_other_gives_others():
    wanted = [
        (3, "train", 7),
        (4, "train", 7),
        (3, "evaluate", 7),
        (3, "train", 8),
        (7, "train", 3),
        (0, "", 0),
        (-3, "train", 7),
    ]
    assert len({tuple(draws(*which)) for which in wanted}) == len(wanted)


def test_nothing_global_is_used():
    before = torch.random.get_rng_state()
    draws(3, "train", 7)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(1)
    first = draws(0, "data")
    torch.manual_seed(2)
    assert draws(0, "data") == first


def test_what_was_drawn_before_does_not_matter():
    first = draws(3, "train", 8)
    draws(3, "train", 7)
    assert draws(3, "train", 8) == first


def test_a_resumed_run_of_another_version_draws_the_same():
    """The seed of (3, "train", 7) is the first 8 bytes of sha256("3/train/7"), little-endian, halved."""
    assert generator(3, "train", 7).initial_seed() == int.from_bytes(bytes.fromhex("163335ff2d81e917"), "little") >> 1


def test_noise_that_lasts_is_drawn_the_same_by_another_version():
    """Philox, whose key is the first 16 bytes of sha256("7/lasting noise/a"), little-endian."""
    key = int.from_bytes(bytes.fromhex("7d0ff7315cbcfebe01a6ac8f4714b6f0"), "little")
    expected = np.random.Generator(np.random.Philox(key=key)).standard_normal((3, 5), dtype=np.float32)
    assert torch.equal(fixed_noise(7, "a", (3, 5)), torch.from_numpy(expected))
    assert fixed_noise(7, "a", (2,)).tolist() == pytest.approx([1.1455295, 0.3514793], rel=1e-6)
    assert torch.equal(fixed_noise(7, "a", (15,)), fixed_noise(7, "a", (3, 5)).flatten())


def streams(code: ModuleType = randomness) -> dict[str, Tensor]:
    """What other keys, seeds, names and steps draw."""
    shape = (65_536,)
    lasting = {
        "an image": code.fixed_noise(2**200, "photos/1.png", shape),
        "the next image": code.fixed_noise(2**200, "photos/2.png", shape),
        "a key that begins alike": code.fixed_noise(2**200, "photos/1.png.png", shape),
        "the next seed": code.fixed_noise(2**200 + 1, "photos/1.png", shape),
        "a seed and a key that end alike": code.fixed_noise(1, "1", shape),
        "seed and key the other way": code.fixed_noise(11, "", shape),
    }
    drawn = {
        "a step": (0, "training", 7),
        "the next step": (0, "training", 8),
        "another stream": (0, "lasting noise", 7),
        "another seed": (1, "training", 7),
        "step and seed the other way": (7, "training", 0),
    }
    return lasting | {name: torch.randn(shape, generator=code.generator(*which)) for name, which in drawn.items()}


def test_all_noise_is_standard_normal_and_independent():
    check_independent(streams())


LASTING, DRAWN = 'f"{seed}/lasting noise/{key}"', 'f"{seed}/{stream}/{step}"'
FAULTS = {
    "the key is left out": (LASTING, 'f"{seed}/lasting noise"'),
    "the seed is left out": (LASTING, 'f"lasting noise/{key}"'),
    "the key is cut": (LASTING, 'f"{seed}/lasting noise/{key[:12]}"'),
    "the seed is cut": (LASTING, 'f"{seed % 2**32 // 2}/lasting noise/{key}"'),
    "seed and key run together": (LASTING, 'f"lasting noise/{seed}{key}"'),
    "it is uniform": ("standard_normal(shape, dtype=np.float32)", "random(shape, dtype=np.float32) - 0.5"),
    "it is repeated": ("standard_normal(shape, dtype=np.float32)", "standard_normal(shape[0] // 2, dtype=np.float32).repeat(2)"),
    "the step is left out": (DRAWN, 'f"{seed}/{stream}"'),
    "the stream is left out": (DRAWN, 'f"{seed}/{step}"'),
    "the seed of a stream is left out": (DRAWN, 'f"{stream}/{step}"'),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_the_noise_are_refused(fault):
    with pytest.raises(AssertionError, match=r"standard errors|unique"):
        check_independent(streams(planted(randomness, FAULTS[fault])))
