"""Randomness is a function of (seed, stream, step)."""

from __future__ import annotations

import torch

from ambient.randomness import generator, lasting_noise


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


def test_noise_that_lasts_follows_from_seed_and_key_and_is_standard_normal():
    noise = lasting_noise(2**200 + 1, "a", (40_000,))
    assert noise.dtype == torch.float32
    assert torch.equal(noise, lasting_noise(2**200 + 1, "a", (40_000,)))
    assert not torch.equal(noise, lasting_noise(2**200, "a", (40_000,)))
    assert abs(float((noise * lasting_noise(2**200 + 1, "b", (40_000,))).mean())) < 5 / 200  # five standard errors, as below
    assert abs(float(noise.mean())) < 5 / 200
    assert abs(float(noise.square().mean()) - 1) < 5 * 2**0.5 / 200
