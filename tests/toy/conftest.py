"""Finished runs, shared by the tests that look at what a run leaves behind."""

from pathlib import Path

import numpy as np
import pytest

from toy import gmm


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory) -> Path:
    """A run of every step on the default world; its networks are hardly trained."""
    out = tmp_path_factory.mktemp("runs") / "smoke"
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
    gmm.main([*words, "--preset", "smoke", "--method", "ours", "ambient-only", "early-stop", "wiener"])
    return out
