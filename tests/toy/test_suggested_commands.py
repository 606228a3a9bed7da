"""The commands at the end of a page: they run, and keep the noise process of the page's own run."""

import shlex
import shutil

import pytest

from harness.config import parse
from tests.toy.conftest import DIGITS
from tests.toy.test_figures import page_of, results_of, text_of
from toy.experiments import figures, gmm, memorization, mnist, table1
from toy.experiments.gmm import GmmOptions, Source
from toy.report import pages

COMMANDS = {"gmm": gmm, "mnist": mnist, "table1": table1, "figures": figures, "memorization": memorization}


def suggested(run):
    """The options of each `python -m toy` command that the page of a run suggests, by the command's name."""
    _, block = text_of(page_of(run)[0]).split("makes this page again.")
    lines = [line for line in block.split("About this run")[0].splitlines() if line.startswith("python -m toy")][1:]
    options = []
    for _, _, _, *words in map(shlex.split, lines):
        names = [word for word in words[:2] if word in COMMANDS]
        module = COMMANDS[names[-1]]
        argv = words[len(names) :]
        options.append((names[-1], parse(module.OPTIONS, argv, prog="", description="", presets=module.PRESETS)))
    assert len(options) > 1
    return options


@pytest.mark.parametrize("run", ["own_data_run", "smoke_run"])
@pytest.mark.parametrize("path", ["ve", "vp"])
def test_the_page_of_points_keeps_the_path_and_the_number_of_points(run, path, request, tmp_path):
    run, out = request.getfixturevalue(run), tmp_path / "run"
    results = results_of(run)
    config = {key: tuple(v) if isinstance(v, list) else v for key, v in results["config"].items() if key != "data_digest"}
    shutil.copytree(run, out)
    results["config"]["path"] = path
    problem = Source(GmmOptions(**config))(0)
    pages.write_points(out, results, problem, "python -m toy gmm" + f" --path {path}" * (path != "ve"))
    options = [options for _, options in suggested(out)]
    assert {option.path for option in options} == {path}
    if problem.world is None:
        assert options[-1].points == problem.count == 72  # a tenth of 80 is held out


@pytest.mark.parametrize("path", ["flow", "sdxl"])
def test_the_page_of_digits_keeps_the_path(path, tmp_path, hasty):
    words = (*DIGITS, "--path", path, "--evaluations", "0.001", "--method", "wiener")
    mnist.main([*words, "--out", str(tmp_path)])
    assert {options.path for name, options in suggested(tmp_path) if name != "table1"} == {path}


def test_the_page_of_memorization_keeps_the_path(tmp_path, hasty):
    words = ("--preset", "smoke", "--data", "digits8", "--workers", "1", "--path", "ve", "--attack", "0.8", "--method", "wiener")
    memorization.main([*words, "--out", str(tmp_path)])
    assert {options.path for _, options in suggested(tmp_path)} == {"ve"}
