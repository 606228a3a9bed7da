"""The noise attack: exact models of known memory, the statistics on numbers made by hand, and the command as a user meets it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from ambient.paths import VarianceExploding
from ambient.randomness import generator
from ambient.worlds import Empirical, GaussianMixture
from harness import statistics
from harness.errors import Interrupted
from tests.toy.command_line import Here
from toy.data.digits import load
from toy.experiments import memorization
from toy.experiments.fit import interruptible
from toy.images import classifier as features
from toy.images import copies
from toy.images.attack import GROUPS, Attack, others
from toy.method import Fitted, watched
from toy.report.memorization_page import LEARNED, differences, tables, verdict

DIM, COUNT, SPREAD = 20, 150, 1.0
PATH = VarianceExploding()
WORLD = GaussianMixture(torch.ones(1), torch.zeros(1, DIM), SPREAD**2 * torch.eye(DIM)[None])
TRAINING, HELD_OUT = (WORLD.sample(COUNT, generator(0, name)) for name in ("training", "held out"))


class Plain:
    """Features that are the pixels."""

    def __call__(self, x):
        return x


def attacked(model, *levels, draws=2, steps=40, seed=0):
    attack = Attack(Plain(), TRAINING, HELD_OUT, levels, steps)
    return attack.on(Fitted(model), PATH, draws=draws, seed=seed)


def unchanged(x_t, t, condition=None):
    return x_t


# --- the attack ----------------------------------------------------------------------------------------------------------


def test_each_result_is_compared_with_both_groups_and_with_the_digit_it_was_made_from():
    """Noise of .03 moves a digit by .13, where others are 20^(1/2) or so away; the error is .03^2."""
    found = attacked(unchanged, 0.03, draws=1)
    for j in range(2):
        assert (found["nearest"][0, j, j] == np.arange(COUNT)).all()
        assert found["similarity"][0, j, j].min() > 0.99
        assert found["similarity"][0, j, 1 - j].max() < 0.95
    # of 3000 squares: 5 (2 / 3000)^(1/2) = .13
    np.testing.assert_allclose(found["error"][0, :, 0].mean(1), 0.03**2, rtol=0.13)


def test_the_noise_is_the_same_for_every_model_and_differs_between_seeds_levels_and_groups():
    one, other = attacked(unchanged, 1.0, 2.0), attacked(lambda x_t, t, condition=None: 0 * x_t + 1, 1.0, 2.0)
    np.testing.assert_array_equal(one["pictures"][:, 0], other["pictures"][:, 0])
    assert not np.array_equal(one["pictures"][:, 1], other["pictures"][:, 1])
    noise = (torch.from_numpy(one["pictures"][:, 0]) - TRAINING[:8]) / torch.tensor([1.0, 2.0])[:, None, None]
    assert abs(float(torch.corrcoef(noise.flatten(1))[0, 1])) < 0.4  # of 160 pairs, five standard deviations
    again = attacked(unchanged, 1.0, 2.0, seed=1)
    assert not np.array_equal(one["pictures"][:, 0], again["pictures"][:, 0])
    assert not np.allclose(one["error"][:, 0], one["error"][:, 1])


def test_posterior_samples_have_the_moments_of_the_posterior():
    """X_0 ~ N(0, I) at noise 1: mean x / 2, variance 1 / 2. 40 steps of a factor 1.1 leave a bias of a few per cent.

    3,000 x 6 residuals: standard error of the variance .5 (2 / 18,000)^(1/2) = .005. The prior has 1, one step 0.
    """
    attack = Attack(Plain(), TRAINING, HELD_OUT, (1.0,), 40)
    x_t = 2**0.5 * torch.randn(COUNT, DIM, generator=generator(0, "noisy"))
    drawn = torch.stack(attack.posterior(Fitted(WORLD.denoiser(PATH)), PATH, x_t, 1.0, 6, generator(0, "draws")))
    residual = drawn - x_t / 2
    assert float(residual.var()) == pytest.approx(0.5, rel=0.1)
    assert abs(float((residual * x_t).mean())) < 0.1  # regression on x_t of less than .05, where x_t has variance 2
    assert not torch.allclose(drawn[0], drawn[1])


def test_the_memoriser_copies_and_a_model_that_saw_neither_group_does_not():
    """Its samples are training points at every level; in one step it knows which where the noise is small."""
    levels = (0.3, 3.0)
    models = {"memoriser": Empirical(TRAINING).denoiser(PATH), "smooth": WORLD.denoiser(PATH)}
    arrays = {name: {k: v[None] for k, v in attacked(model, *levels).items()} for name, model in models.items()}
    near = arrays["memoriser"]["similarity"]
    assert near[:, :, :, 0, 1:].min() > 0.999
    assert near[:, 0, 0, 0, 0].min() > 0.999
    assert near[:, 1, 0, 0, 0].max() < 0.999
    rows = copies.summarise(arrays, levels)
    assert len(rows) == 2 * 2 * len(levels)
    for row in rows:
        low, high = row["memory"]["interval"]
        if row["model"] == "smooth":
            assert low <= 0 <= high
        elif (row["kind"], row["t"]) != ("one step", 3.0):
            assert low > 0.2
            assert row["training"]["copies"]["mean"] == 1
            assert row["across"]["mean"] > row["held out"]["similarity"]["mean"] + 0.1


def test_the_smooth_model_never_sees_an_attacked_digit():
    digits = load("digits8")
    rest = others(digits, 300)
    assert torch.equal(rest.train, digits.train[300:])
    assert len(rest.train_labels) == len(rest.train)
    assert rest.digest != digits.digest
    assert rest.digest != others(digits, 301).digest


# --- the statistics --------------------------------------------------------------------------------------------------------


def by_hand(similarity, *, seeds=2, draws=1, count=60, nearest=None, error=0.1):
    """Arrays of one level; `similarity` (2,) or broadcastable to (seeds, 1, 2, 2, 1 + draws, count)."""
    shape = (seeds, 1, 2, 2, 1 + draws, count)
    own = np.arange(count) if nearest is None else nearest
    return {
        "similarity": np.broadcast_to(similarity, shape).astype(np.float32),
        "nearest": np.broadcast_to(own, shape),
        "error": np.full((seeds, 1, 2, 1 + draws, count), error, np.float32),
    }


def test_differences_are_paired_digit_by_digit():
    """Digits differ by .2, the models by .05 on training and .01 on held-out digits, each: no spread is left in the pairs."""
    base = np.random.default_rng(0).uniform(0.4, 0.8, 60)
    loss = np.array([0.05, 0.01]).reshape(2, 1, 1, 1)
    row = copies.differences({"oracle": by_hand(base), "ours": by_hand(base - loss)}, (1.0,))[0]
    for key, value in (("training", 0.05), ("held out", 0.01), ("memory", 0.04)):
        assert row[key]["mean"] == pytest.approx(value, abs=1e-6)
        assert row[key]["interval"] == pytest.approx([value, value], abs=1e-6)
        assert row[key]["error"] == pytest.approx(0, abs=1e-6)


def test_intervals_are_over_digits_and_standard_errors_over_seeds():
    """Normal numbers of standard deviation 1: +- 1.96 / 20 for 400 digits; seeds at 0 and 1 have a standard error of 1 / 2."""
    values = np.random.default_rng(1).normal(size=400)
    found = copies.compared(np.stack([values, values + 1]))
    low, high = found["interval"]
    assert found["mean"] == pytest.approx(values.mean() + 0.5)
    assert found["error"] == pytest.approx(0.5)
    assert (high - low) / 2 == pytest.approx(1.96 / 20 * values.std(), rel=0.1)  # 1,000 resamples know it to about 4 %
    assert low < found["mean"] < high


def test_shares_thresholds_and_what_is_nearest():
    near = np.concatenate([np.full(30, 0.9), np.full(20, 0.94), np.full(10, 0.96)])
    row = copies.summarise({"ours": by_hand(near, nearest=np.arange(60) // 2)}, (1.0,))[0]
    numbers = row["training"]
    assert numbers["copies"]["mean"] == pytest.approx(10 / 60)
    assert numbers["itself"]["mean"] == pytest.approx(1 / 60)
    assert numbers["error"]["mean"] == pytest.approx(0.1)
    assert row["across"]["mean"] == pytest.approx(near.mean(), abs=1e-6)
    assert row["memory"]["mean"] == pytest.approx(0, abs=1e-6)


def test_baselines_leave_each_digit_itself_out():
    twins = torch.cat([torch.eye(4), torch.tensor([[1.0, 0, 0, 0]])])
    found = copies.baselines(Plain(), twins, torch.eye(4)[[1, 1, 2, 3, 3]])
    assert found["training"]["similarity"]["mean"] == pytest.approx(2 / 5)
    assert found["training"]["copies"]["mean"] == pytest.approx(2 / 5)
    assert found["held out"]["similarity"]["mean"] == pytest.approx(1)


def test_histograms_lose_nothing():
    edges = np.linspace(0.2, 1.0, 5)
    values = np.array([-0.3, 0.2, 0.45, 0.79, 1.0, 1.0] * 2).reshape(1, 2, 6)
    share, low, high = copies.shares_of_bins(values, edges)
    np.testing.assert_allclose(share, [2 / 6, 1 / 6, 1 / 6, 2 / 6])
    assert ((low <= share) & (share <= high)).all()


def results_with(gain: float) -> dict[str, Any]:
    """Training digits of the clean-trained network come nearer by `gain`; six of 60 are copies, above .95 whatever the gain."""
    rng = np.random.default_rng(2)
    noise = rng.normal(size=(3, 1, 2, 2, 2, 60)) * 0.01
    copied, nearer = np.zeros(noise.shape), np.zeros(noise.shape)
    copied[:, :, 0, 0, :, :6], nearer[:, :, 0, 0] = 0.4, gain
    models = {"oracle": by_hand(0.7 + nearer + noise + copied, seeds=3)}
    models |= {"ours": by_hand(0.7 - noise + copied, seeds=3, error=0.3)}
    models |= {"memoriser": by_hand(1.0, seeds=3), "smooth": by_hand(0.7 + noise, seeds=3)}
    results = {"baselines": {"variance": 0.2}}
    results |= {"summary": copies.summarise(models, (9.0,)), "differences": copies.differences(models, (9.0,))}
    return results


@pytest.mark.parametrize(
    ("gain", "counts"), [(0.1, "2 less, 0 not told apart"), (0.0, "0 less, 2 not"), (-0.1, "0 less, 0 not told apart, 2 more")]
)
def test_the_verdict_says_what_the_numbers_say(gain, counts):
    results = results_with(gain)
    told = verdict(results)
    if gain < 0:
        assert "Nothing can be concluded" in told  # it is further from its training digits than from held-out ones
        told = str([row[-1] for row in differences(results)])
        assert told.count("'more'") == 2
        return
    assert "10.0% of training digits and 0.0% of held-out ones" in told
    assert counts in told
    assert "At t = 9 ours restores no better than the average digit" in told
    assert all(len(row) == len(table[0]) for table in tables(results).values() for row in table)


@pytest.mark.parametrize(
    ("training", "held_out", "learned"),
    [(LEARNED, 0.0, True), (LEARNED - 1e-9, 0.0, False), (0.2, 0.2, False), (0.2, 0.2 - 1e-9, True)],
)
def test_the_clean_trained_network_has_learned_from_a_share_of_copies_on(training, held_out, learned):
    """One in a hundred training digits must be copies, and more of them than of held-out ones."""
    results = results_with(0.1)
    for row in results["summary"]:
        if row["model"] == "oracle":
            for group, share in zip(GROUPS, (training, held_out), strict=True):
                row[group]["copies"]["mean"] = share
    assert ("Nothing can be concluded" in verdict(results)) != learned


def test_without_memory_nothing_is_said_of_memory():
    """The clean-trained network copies no more than the other: that the other does not either is no sign of privacy."""
    noise = np.random.default_rng(2).normal(size=(3, 1, 2, 2, 2, 60)) * 0.01
    models = {name: by_hand(0.7 + noise, seeds=3) for name in ("oracle", "ours", "smooth")} | {"memoriser": by_hand(1.0, seeds=3)}
    results = {"baselines": {"variance": 0.2}}
    results |= {"summary": copies.summarise(models, (9.0,)), "differences": copies.differences(models, (9.0,))}
    assert "Nothing can be concluded about memory" in verdict(results)
    assert "0.0% of training digits" in verdict(results)
    assert "ours" not in verdict(results)


# --- the command -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def toy(monkeypatch, capsys):
    return Here(monkeypatch, capsys)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--images", "99"], "--images must be between 100 and 10,000,000; got 99"),
        (["--images", "1001"], "--images 1001 is more than there are held-out images to attack beside them (1000); at most 1000"),
        (["--images", "3501"], "leaves 499 of 4000 training images for the smooth model, which needs 500; at most 1000"),
        (["--attack", "1000"], "one of the steps 1 .. 999; got 1000"),
        (["--attack", "300.5"], "one of the steps 1 .. 999; got 300.5"),
        (["--attack", "50"], "--attack 50 lies below the level 100 of the data"),
        (["--attack", "300", "300"], "--attack names 300.0 twice"),
        (["--path", "ve", "--attack", "0"], "a standard deviation above 0 and at most 100; got 0"),
        (["--path", "ve", "--sigma-n", "1", "--attack", "0.5"], "--attack 0.5 lies below the level 1 of the data"),
        (
            ["--path", "ve", "--sigma-n", "0.01", "--attack", "0.02"],
            "--attack 0.02 is noise that hides nothing; attack above 0.02",
        ),
        (["--t-n", "1", "--attack", "1"], "--attack 1 is noise that hides nothing; attack above 1"),
        (["--t-n", "0"], "--t-n must be between 1 and 999; got 0"),
        (["--world", "smooth"], "--world does not know 'smooth'; known: digits"),
        (["--method", "our"], "--method does not know 'our'; did you mean ours?"),
        (["--draws", "0"], "--draws must be between 1"),
        (["--attak", "300"], "unknown option --attak; did you mean --attack?"),
    ],
    ids=str,
)
def test_mistakes_are_one_line(toy, words, message):
    assert message in toy.refusal("mnist", "memorization", *words)


def test_data_too_small_for_all_that_is_done_here(toy, tmp_path):
    file = tmp_path / "few.npz"
    np.savez(file, x_train=np.random.default_rng(0).random((500, 14, 14)), y_train=np.arange(500) % 10)
    assert "for the smooth model, which needs 500; take other data" in toy.refusal("mnist", "memorization", "--data", file)


def test_progress_of_an_attack_ends_at_the_whole_and_asks_whether_to_stop():
    attack, shares = Attack(Plain(), TRAINING, HELD_OUT, (1.0, 2.0), 5), []
    seen = interruptible("score", attack.effort(2), lambda what, share, loss: shares.append(share), lambda: len(shares) == 99)
    attack.on(watched(Fitted(unchanged), seen), PATH, draws=2, seed=0)
    assert shares == sorted(shares)
    assert shares[-1] == 1
    with pytest.raises(Interrupted, match="score: the same command does it again"):
        interruptible("score", 0, lambda *_: None, lambda: True)(1)


@pytest.mark.parametrize(
    ("changes", "levels"),
    [
        ({}, (300, 500, 700)),
        ({"t_n": 500}, (500, 700)),
        ({"t_n": 800}, (800,)),
        ({"path": "ve"}, (0.8, 1.6, 3.3)),
        ({"path": "ve", "sigma_n": 1.0}, (1.6, 3.3)),
    ],
)
def test_the_usual_levels_are_those_from_the_datas_own_on(changes, levels):
    assert memorization.MemorizationOptions(**changes).levels() == levels


def test_a_run_leaves_everything_and_resumes_to_the_same(toy, tmp_path, monkeypatch):
    monkeypatch.setenv("EXACT_AMBIENT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(features, "STEPS", 20)
    out = tmp_path / "run"
    monkeypatch.setattr(statistics, "RESAMPLES", 100)
    words = (
        "mnist",
        "memorization",
        "--preset",
        "smoke",
        "--data",
        "digits8",
        "--attack",
        "300",
        "--seeds",
        "2",
        "--method",
        "mixture",
        "--steps",
        "20",
        "--evaluations",
        "0.02",
        "--out",
        out,
    )
    first = toy(*words)
    assert first.code == 0, first.error
    assert first.out.startswith("reading digits8\n")
    assert f"oracle, mixture, memoriser, smooth, attacked at t = 300 on 200 digits -> {out}\n" in first.out
    assert "The clean-trained network (oracle) has" in first.out  # the verdict, whichever it is
    assert not (out / "checkpoints").exists()
    table = first.out[first.out.index("\nsamples") : first.out.index("\nmore columns")]
    assert "memoriser" in table
    assert max(map(len, table.splitlines())) <= 110
    results = json.loads((out / "results.json").read_text())
    assert [row["model"] for row in results["summary"] if row["kind"] == "samples"] == [
        "oracle",
        "mixture",
        "memoriser",
        "smooth",
    ]
    known = next(row for row in results["summary"] if (row["kind"], row["model"]) == ("samples", "memoriser"))
    assert known["training"]["copies"]["mean"] == 1
    assert {path.stem for path in (out / "figures").iterdir()} == {"similarity", "digits"}
    assert (out / "table.md").read_text().count("| memoriser | 300 |") == 2
    assert "Fig" in (out / "report.html").read_text()
    assert (out / "DONE").exists()
    made = {path: path.stat().st_mtime_ns for path in out.rglob("result.json")}
    second = toy(*words)
    assert second.code == 0
    assert json.loads((out / "results.json").read_text()) == results
    assert {path: path.stat().st_mtime_ns for path in out.rglob("result.json")} == made
