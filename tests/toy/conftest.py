"""Finished runs, shared by the tests that look at what a run leaves behind."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.toy.command_line import without_pool
from toy.experiments import gmm, table1
from toy.experiments import mnist as compare
from toy.images import classifier as features


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory) -> Path:
    """A run of every step on the default world; its networks are hardly trained."""
    out = tmp_path_factory.mktemp("runs") / "smoke"
    with pytest.MonkeyPatch.context() as patch:
        without_pool(patch)
        gmm.main(["--preset", "smoke", "--evaluations", "0.002", "--out", str(out)])
    return out


@pytest.fixture(scope="session")
def own_data_run(tmp_path_factory) -> Path:
    """A run on a file of 80 points in three dimensions, fewer than the paper dares."""
    folder = tmp_path_factory.mktemp("own data")
    points = np.random.default_rng(0).normal(size=(80, 3)) * [3.0, 1.0, 0.5]
    np.savetxt(folder / "points.csv", points, delimiter=",", header="a,b,c", comments="")
    out = folder / "run"
    words = ["--data", str(folder / "points.csv"), "--sigma-n", "0.4", "--evaluations", "0.002", "--out", str(out)]
    with pytest.MonkeyPatch.context() as patch:
        without_pool(patch)
        gmm.main([*words, "--preset", "smoke", "--method", "ours", "ambient-only", "early-stop", "wiener"])
    return out


@pytest.fixture(scope="session")
def image_cache(tmp_path_factory) -> Path:
    """What image experiments keep, apart from the user's own."""
    return tmp_path_factory.mktemp("cache of images")


@pytest.fixture
def hasty(image_cache, monkeypatch) -> None:
    """That cache, and a classifier that is hardly trained."""
    _hurry(monkeypatch, image_cache)


def _hurry(patch: pytest.MonkeyPatch, cache: Path) -> None:
    patch.setenv("EXACT_AMBIENT_CACHE", str(cache))
    patch.setattr(features, "STEPS", 20)
    without_pool(patch)


DIGITS = ("--preset", "smoke", "--data", "digits8", "--images", "300", "--workers", "1", "--points", "100")
METHODS = ("oracle", "ours", "ambient-only", "early-stop", "mixture", "wiener")
COMPARED = (*DIGITS, "--evaluations", "0.001", "--seeds", "2", "--method", *METHODS)
START = (*DIGITS, "--evaluations", "0.001", "--start", "related", "--method", "oracle", "ambient-only", "early-stop", "mixture")
TABLE1 = (*DIGITS, "--evaluations", "0.004", "--levels", "500")


def _made(command: Callable[[list[str]], None], words: tuple[str, ...], out: Path, cache: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        _hurry(patch, cache)
        command([*words, "--out", str(out)])
    return out


@pytest.fixture(scope="session")
def digit_run(tmp_path_factory, image_cache) -> Path:
    """A comparison on real digits of 8x8 pixels, two seeds; its networks are hardly trained."""
    return _made(compare.main, COMPARED, tmp_path_factory.mktemp("images") / "digits", image_cache)


@pytest.fixture(scope="session")
def start_run(tmp_path_factory, image_cache) -> Path:
    """A comparison on digits from 5 to 9, whose networks start from one that was trained on clean digits from 0 to 4."""
    return _made(compare.main, START, tmp_path_factory.mktemp("images") / "start", image_cache)


@pytest.fixture(scope="session")
def table1_run(tmp_path_factory, image_cache) -> Path:
    """Table 1 on the same digits."""
    return _made(table1.main, TABLE1, tmp_path_factory.mktemp("images") / "table1", image_cache)
