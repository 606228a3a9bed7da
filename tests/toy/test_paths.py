"""`--path`: equal levels are equal noise, so every path gives the numbers of the variance-exploding one; levels it lacks."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from tests.toy.command_line import Here, without_pool
from tests.toy.conftest import DIGITS
from toy.evaluation import normalised_errors
from toy.experiments import gmm, mnist
from toy.experiments.figures import FiguresOptions
from toy.experiments.memorization import MemorizationOptions
from toy.paths import PATHS, STEPS
from toy.registry import METHODS
from toy.report.style import COLOURS
from toy.training import Trainer

OTHERS = ("vp", "flow")
WORDS = {"vp": "variance preserving", "flow": "rectified flow"}


@pytest.fixture
def toy(monkeypatch, capsys):
    return Here(monkeypatch, capsys)


def summary(out):
    return {row["method"]: row for row in json.loads((out / "results.json").read_text())["summary"]}


def means(numbers):
    return np.array([np.nan if number is None else number["mean"] for number in numbers])


def field(out, method):
    with np.load(out / "methods" / method / "seed_0" / "arrays.npz") as arrays:
        return arrays["field"]


@pytest.mark.parametrize("path", ["ve", *OTHERS])
def test_a_level_is_the_noise_over_the_signal(path):
    levels = torch.tensor([0.02, 0.35, 0.6, 5.0], dtype=torch.float64)
    found = PATHS[path].path.noise_to_signal(PATHS[path].time(levels))
    torch.testing.assert_close(found, levels, rtol=1e-9, atol=0)


def test_steps_and_ratios_of_the_usual_levels_are_alike():
    ratios = PATHS["ve"].usual
    for steps, levels in ((STEPS.sweep, ratios.sweep), (STEPS.attacks, ratios.attacks)):
        found = PATHS["sdxl"].path.noise_to_signal(torch.tensor(steps))
        np.testing.assert_allclose(found, levels, rtol=0.05)
    for path in PATHS:
        assert FiguresOptions(path=path).levels == PATHS[path].usual.sweep[:3]
        assert MemorizationOptions(path=path).levels() == PATHS[path].usual.attacks


@pytest.mark.parametrize("path", OTHERS)
def test_points_on_another_path_have_the_numbers_of_the_exploding_one(path, smoke_run, tmp_path, monkeypatch):
    """Networks see what is divided by its size, and so the same inputs and targets on each path; sampling differs a little."""
    without_pool(monkeypatch)
    methods = ("exact", "ours", "ambient-only", "early-stop", "wiener")
    words = ("--preset", "smoke", "--evaluations", "0.002", "--path", path, "--method", *methods)
    gmm.main([*words, "--out", str(tmp_path)])
    here, there = summary(tmp_path), summary(smoke_run)
    for name in methods:
        np.testing.assert_allclose(means(here[name]["errors"]), means(there[name]["errors"]), rtol=1e-3, atol=1e-5)
        assert here[name]["sw2"]["mean"] == pytest.approx(there[name]["sw2"]["mean"], rel=0.02)
        if name != "early-stop":
            np.testing.assert_allclose(field(tmp_path, name), field(smoke_run, name), rtol=0, atol=0.01)
    assert WORDS[path] in (tmp_path / "report.html").read_text()


def test_a_network_learns_as_much_on_every_path(tmp_path):
    """At the data's noise the linear filter has 0.345 and the network 0.257 by then; the paths differ by a twentieth at most."""
    found = {}
    for path in ("ve", *OTHERS):
        problem = gmm.Source(gmm.GmmOptions(path=path))(0)
        trainer = Trainer(problem, tmp_path / path, {}, 0, 200_000, lambda *_: None, lambda: False)
        fitted = METHODS["ambient-only"].fit(problem, trainer)
        (found[path],) = normalised_errors(fitted, problem, count=2_000, levels=(1.0,))
    assert found["ve"] < 0.28
    for path in OTHERS:
        assert found[path] == pytest.approx(found["ve"], rel=0.1)


@pytest.mark.parametrize("path", OTHERS)
def test_points_of_ones_own_are_brought_onto_the_path(path, tmp_path, monkeypatch):
    """Clean ones among them. What is measured without the truth is measured at unit signal."""
    without_pool(monkeypatch)
    rng = np.random.default_rng(0)
    levels = rng.choice([0.0, 0.3, 0.5], 400)
    points = rng.normal(size=(400, 2)) * [2.0, 1.0] + levels[:, None] * rng.normal(size=(400, 2))
    np.savetxt(tmp_path / "points.csv", np.column_stack([points, levels]), delimiter=",", header="a,b,noise", comments="")
    words = ("--data", str(tmp_path / "points.csv"), "--noise-column", "noise", "--preset", "smoke", "--evaluations", "0.002")
    rows = {}
    for name in ("ve", path):
        gmm.main([*words, "--path", name, "--method", "ambient-only", "wiener", "--out", str(tmp_path / name)])
        rows[name] = summary(tmp_path / name)
    for method in ("ambient-only", "wiener"):
        for key in ("risk_1", "risk_1.5", "risk_3", "inconsistency", "sw2_noisy"):
            assert rows[path][method][key]["mean"] == pytest.approx(rows["ve"][method][key]["mean"], rel=0.05, abs=2e-3), key


@pytest.mark.parametrize("path", OTHERS)
def test_digits_on_another_path_have_the_numbers_of_the_exploding_one(path, tmp_path, hasty):
    words = (*DIGITS, "--evaluations", "0.001", "--method", "ambient-only", "mixture", "wiener")
    for name in ("ve", path):
        mnist.main([*words, "--path", name, "--out", str(tmp_path / name)])
    here, there = summary(tmp_path / path), summary(tmp_path / "ve")
    for method, row in here.items():
        np.testing.assert_allclose(means(row["mse"]), means(there[method]["mse"]), rtol=2e-3)


def test_runs_from_before_there_was_a_choice_are_of_the_exploding_path(smoke_run):
    assert "path" not in json.loads((smoke_run / "results.json").read_text())["config"]
    assert gmm.GmmOptions(path="flow").identity()["path"] == "flow"
    assert str(gmm.GmmOptions(path="flow").folder()) == "runs/gmm-flow-default"


def test_runs_on_digits_have_a_folder_for_each_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = []
    for options in (mnist.MnistOptions, FiguresOptions):
        for path in ("ve", "flow", "sdxl"):
            given = options(path=path, data="digits8", size=8, images=100)
            folders.append(str(given.opened("", given.digits())[0]))
    assert folders[:3] == ["runs/mnist-default", "runs/mnist-flow-default", "runs/mnist-sdxl-default"]
    assert folders[3:] == ["runs/mnist-ve-default", "runs/mnist-flow-default", "runs/mnist-default"]  # its usual path is sdxl


def test_a_method_without_a_colour_of_its_own_is_drawn():
    """As one that a user has just added to the registry."""
    assert COLOURS["mine"] == COLOURS["another"] not in {**COLOURS}.values()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("gmm", "--path", "sdxl"), "--path does not know 'sdxl'"),
        (("mnist", "--path", "vpp"), "--path does not know 'vpp'; did you mean vp?"),
        (("mnist", "--path", "flow", "--t-n", "500"), "--t-n means nothing on the flow path; give --sigma-n"),
        (("mnist", "--path", "vp", "--sigma-n", "40.5"), "on the vp path a level is sigma / alpha"),
        (("mnist", "figures", "--path", "flow", "--levels", "0.5", "500"), "on the flow path a level is sigma / alpha"),
        (("gmm", "--recipe", "approach=ddim"), "unknown --recipe 'approach'; did you mean descent_kernel?"),
        (("gmm", "--recipe", "crowding=1"), "unknown --recipe 'crowding'; did you mean level_power?"),
        (("gmm", "--recipe", "anchored=0"), "unknown --recipe 'anchored'; did you mean share_at_t_n?"),
        (("mnist", "--recipe", "start=0"), "unknown --recipe 'start'; did you mean warmup_share?"),
    ],
    ids=str,
)
def test_mistakes_about_paths_and_earlier_names_of_a_recipe(toy, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    assert message in toy.refusal(*words, "--preset", "smoke")


@pytest.mark.parametrize("path", OTHERS)
def test_the_largest_noise_has_levels_above_it(path):
    """Training adds up to three times the noise; the variance-preserving path ends before it has none of the signal left."""
    process = PATHS[path]
    process.path(process.time(10**0.5 * process.largest))
