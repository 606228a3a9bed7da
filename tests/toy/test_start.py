"""`--start related`: networks start from one that was trained on clean images of other classes, and on nothing else."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from harness.config import parse
from harness.errors import Interrupted, UserError
from tests.toy.command_line import Here, final_weights, same_bits
from tests.toy.conftest import DIGITS, START
from tests.toy.test_figures import page_of, text_of
from toy import training
from toy.data.digits import data_noise, load
from toy.experiments import mnist
from toy.images.source import ADAM, ImageSource
from toy.methods.start import pretrain
from toy.registry import METHODS
from toy.report import digits_page
from toy.training import Trainer

RELATED = ("--start", "related")
LOW, HIGH = set(range(5)), set(range(5, 10))


def labels_of(images: torch.Tensor) -> set[int]:
    """The labels of these images in scikit-learn's own arrays."""
    digits = load_digits()
    known = {pixels.astype(int).tobytes(): int(label) for pixels, label in zip(digits.data, digits.target, strict=True)}
    return {known[pixels.astype(int).tobytes()] for pixels in ((images.numpy() + 1) * 8).round()}


def options(*words: str) -> mnist.MnistOptions:
    return parse(mnist.MnistOptions, [*DIGITS, *words], prog="", description="", presets=mnist.PRESETS)


def problem_of(*words: str):
    config = options(*words)
    return ImageSource(config, config.level())(0)


@pytest.fixture(scope="module")
def problem(image_cache):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXACT_AMBIENT_CACHE", str(image_cache))
        return replace(problem_of(*RELATED), clean_batch=None)  # of the data's own classes: for the oracle alone


def trainer(problem, folder, stop=lambda: False, budget=1280):
    return Trainer(problem, folder, {}, 0, budget, lambda *_: None, stop, ADAM)


# --- the images ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("given", "related"), [((), LOW), ((7,), {7}), ((9, 0), {0, 9})])
def test_classes_are_related_or_data_and_none_is_both(given, related):
    digits, whole = load("digits8", related=given), load("digits8")
    assert digits.related is not None
    assert set(digits.related_labels) == labels_of(digits.related) == related
    for images, labels in ((digits.train, digits.train_labels), (digits.test, digits.test_labels)):
        assert labels_of(images) == set(labels.tolist()) == set(range(10)) - related
    assert len(digits.train) + len(digits.related) == len(whole.train)
    of_others = torch.tensor([label not in related for label in whole.test_labels.tolist()])
    assert torch.equal(digits.test, whole.test[of_others])
    assert digits.digest != whole.digest


def test_labels_that_cannot_be_related(tmp_path):
    images, numbers = np.random.default_rng(0).integers(0, 256, (200, 8, 8), np.uint8), np.arange(200) % 3
    files = {"bare": {}, "one": {"y_train": numbers * 0}, "half": {"y_train": numbers, "x_test": images}}
    for name, more in files.items():
        np.savez(tmp_path / f"{name}.npz", x_train=images, **more)
    for data, given, message in (
        (f"{tmp_path}/bare.npz", (), "needs a label for each image"),
        (f"{tmp_path}/half.npz", (), "needs a label for each image"),
        (f"{tmp_path}/one.npz", (), "must name some labels"),
        ("digits8", (3, 11), "no training image has the label 11 of --related"),
        ("digits8", tuple(range(10)), "leave images of others"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            load(data, related=given)
        assert "\n" not in str(caught.value)


def test_networks_of_noisy_data_see_clean_images_of_other_classes_alone(problem, tmp_path):
    assert labels_of(problem.related_batch(500, torch.Generator())) == LOW
    x_n, t_n = problem.points
    assert bool((t_n == problem.t_n).all())
    assert labels_of(x_n - problem.t_n * data_noise(len(x_n), problem.dim, 0)) == labels_of(problem.clean_test) == HIGH
    made = trainer(problem, tmp_path)
    pretrain(made)  # neither takes clean images of the data's classes: there are none
    METHODS["ambient-only"].fit(problem, made)
    assert {folder.name for folder in tmp_path.iterdir()} == {"start", "ambient-only"}


def test_left_out_classes_without_a_start(hasty):
    config = options("--related", "3", "4")
    digits = config.digits()
    assert labels_of(digits.train) == set(range(10)) - {3, 4}
    assert problem_of("--related", "3", "4").related_batch is None
    assert config.identity(digits)["related"] == (3, 4)


def test_a_run_on_all_classes_is_known_as_before():
    config = options()
    assert {"start", "related"}.isdisjoint(config.identity(config.digits()))


# --- the training ----------------------------------------------------------------------------------------------------------


def test_every_network_starts_from_the_average_of_the_first_training(problem, tmp_path, monkeypatch):
    begun = []

    class Noted(training._State):
        def __init__(self, denoiser, optimiser):
            begun.append(copy.deepcopy(denoiser.state_dict()))
            super().__init__(denoiser, optimiser)

    monkeypatch.setattr(training, "_State", Noted)
    made = trainer(problem, tmp_path)
    pretrain(made)
    assert made.evaluations == 1280
    for name in ("ours", "paper", "sure-denoise"):
        METHODS[name].fit(problem, made)
    stored = next((tmp_path / "start/checkpoints").glob("*-*"))
    assert stored.name.startswith("step_000000010")  # 1,280 evaluations in batches of 128
    average = made.start.state_dict()
    assert not same_bits(begun[0], average)
    assert len(begun) == 5  # two of sure-denoise
    assert all(same_bits(state, average) for state in begun[1:])


def test_an_interrupted_start_goes_on_to_the_same_bits(problem, tmp_path):
    """The first training stops after four steps, that of the method after three; both go on."""

    def after(steps):
        calls = iter(range(10**6))
        return lambda: next(calls) >= steps - 1

    whole, parts = tmp_path / "whole/networks/seed_0", tmp_path / "parts/networks/seed_0"
    made = trainer(problem, whole)
    pretrain(made)
    METHODS["ambient-only"].fit(problem, made)
    with pytest.raises(Interrupted, match="start is saved at step 4"):
        pretrain(trainer(problem, parts, after(4)))
    again = trainer(problem, parts)
    pretrain(again)
    again.stop_requested = after(3)
    with pytest.raises(Interrupted, match="ambient-only is saved at step 3"):
        METHODS["ambient-only"].fit(problem, again)
    last = trainer(problem, parts)
    pretrain(last)
    METHODS["ambient-only"].fit(problem, last)
    for network in ("start", "ambient-only"):
        assert same_bits(final_weights(tmp_path / "whole", network), final_weights(tmp_path / "parts", network))
    assert last.evaluations == made.evaluations == 2 * 1280


# --- a run -----------------------------------------------------------------------------------------------------------------


def test_a_run_counts_the_first_training_and_makes_it_once(start_run, hasty):
    run = start_run
    rows = {row["method"]: row for row in json.loads((run / "results.json").read_text())["rows"]}
    spent = {name: row["network_evaluations"] for name, row in rows.items()}
    assert spent == {"start": 1024, "oracle": 2048, "ambient-only": 2048, "early-stop": 2048, "mixture": 0}
    assert None not in rows["start"]["mse"]
    networks = run / "networks/seed_0"
    assert {folder.name for folder in networks.iterdir()} == {"start", "oracle", "ambient-only"}
    (networks / "../../methods/oracle/seed_0/result.json").unlink()
    before = {file: file.stat().st_mtime_ns for file in networks.glob("*/checkpoints/*")}
    mnist.main([*START, "--out", str(run)])
    assert {file: file.stat().st_mtime_ns for file in networks.glob("*/checkpoints/*")} == before


def test_the_page_says_what_the_start_was(start_run, digit_run):
    text = " ".join(text_of(page_of(start_run)[0]).split())
    count = len(load("digits8", related=()).related)
    assert f"{count} clean images" in text
    assert "0, 1, 2, 3, 4" in text
    assert "0.00102 million network evaluations" in text
    assert "clean images of other" not in text_of(page_of(digit_run)[0])


def test_the_verdict_compares_with_the_start():
    def number(mean):
        return {"mean": mean, "error": None, "count": 1}

    below = {"ours": 1.2, "start": 1.5, "mixture": 1.7}
    rows = [{"method": name, "sub_n": number(value), "mse": [number(value)] * 9} for name, value in below.items()]
    told = digits_page.verdict(rows, "mixture")
    assert re.search(r"better.*1\.200 against 1\.700.*better.*1\.200 against 1\.500", told)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--start", "relatd"], "--start does not know 'relatd'; did you mean related?"),
        (["--start", "related", "--related", "12"], "no training image has the label 12 of --related"),
        (["--related", "1", "1"], "--related names 1 twice"),
        (["table1", "--start", "related"], "unknown option --start"),
    ],
    ids=str,
)
def test_mistakes_are_one_line(monkeypatch, capsys, tmp_path, words, message):
    monkeypatch.chdir(tmp_path)
    assert message in Here(monkeypatch, capsys).refusal("mnist", *words, "--preset", "smoke", "--data", "digits8")
    assert list(tmp_path.iterdir()) == []
