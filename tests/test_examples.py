"""The example of one page: how long it is, what it imports, and that a short training of it already beats early stop."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.image import imread

from tests.test_layout import imported

PAGE = Path(__file__).resolve().parents[1] / "examples" / "ambient_in_100_lines.py"


@pytest.fixture(scope="module")
def example():
    specification = importlib.util.spec_from_file_location("ambient_in_100_lines", PAGE)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_it_is_one_page():
    lines = PAGE.read_text().splitlines()
    assert len(lines) <= 100
    assert max(map(len, lines)) <= 130


def test_it_needs_the_mathematics_torch_and_a_plot():
    assert imported(PAGE.read_text()) == {"ambient", "torch", "matplotlib", "sys"}


@pytest.fixture
def run(example, tmp_path, capsys):
    """Runs the example: its two distances, after looking at what it prints and draws."""

    def call(steps, count):
        plt.switch_backend("agg")
        ours, early_stop = example.main(tmp_path / "picture.png", "0", steps=steps, count=count)
        plt.close("all")
        assert f"{ours:.3f}" in (printed := capsys.readouterr().out)
        assert f"{early_stop:.3f}" in printed
        height, width = imread(tmp_path / "picture.png").shape[:2]
        assert width > 2 * height  # three panels beside one another
        return ours, early_stop

    return call


def test_it_prints_and_draws_after_a_few_steps(run):
    ours, early_stop = run(200, count=2_000)
    assert max(ours, early_stop) < 0.5


@pytest.mark.slow  # the code of the README, which is tested too, trains in the same way
def test_a_third_of_its_training_beats_early_stop(run):
    ours, early_stop = run(2000, count=20_000)
    assert ours < 0.85 * early_stop
    assert early_stop < 0.16  # a baseline that has learned: the exact denoiser has 0.12, the noisy points themselves 0.27


def test_its_distance_is_the_sliced_wasserstein_distance(example):
    """Of a shift by a vector m in the plane it is |m| / sqrt(2): the mean square of m along a random direction is |m|^2 / 2."""
    x = torch.randn(4000, 2, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    assert example.distance(x, x[torch.randperm(4000)]) < 1e-6
    assert example.distance(x, x + torch.tensor([0.6, 0.8])) == pytest.approx(2**-0.5, rel=0.15)
