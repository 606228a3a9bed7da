"""Pages of image experiments: they stand alone, show what was measured, and say what is true, also of bad numbers."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from html import unescape
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from PIL import Image

from ambient.paths import VarianceExploding
from harness.config import parse
from tests.toy.conftest import DIGITS
from tests.toy.test_figures import page_of, results_of, text_of
from toy.experiments import mnist as compare
from toy.experiments import table1
from toy.images.scoring import AT_N, LEVELS
from toy.images.source import ImageSource
from toy.report import digits_page as report
from toy.report import digits_panels as panels
from toy.report import figures_page, table, table1_page
from toy.report.drawing import Drawing
from toy.report.pictures import colour_of, image_grid, mosaic
from toy.report.style import COLOURS, INK

OUTSIDE = re.compile(r"https?:|//[a-z]|<script|<link|src=\"(?!\")|@import|url\(")


@pytest.fixture
def drawing(digit_run, hasty):
    results = results_of(digit_run)
    config = config_of(results)
    return Drawing(digit_run, results, ImageSource(config, config.level())(config.seed))


def config_of(results):
    known = {key: tuple(value) if isinstance(value, list) else value for key, value in results["config"].items()}
    return compare.MnistOptions(**{key: value for key, value in known.items() if key not in ("digest", "labels")})


# --- the pages -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", ["digit_run", "table1_run"])
def test_a_page_stands_alone_and_holds_every_figure(run, request):
    run = request.getfixturevalue(run)
    html, pictures = page_of(run)
    assert pictures == len(list((run / "figures").iterdir())) > 1
    assert not OUTSIDE.search(html)
    assert not re.search(r"\b(nan|inf|None)\b", text_of(html).split("About this run")[0])
    assert not re.search(r"\{\w*\}", text_of(html))  # no word was left unfilled


@pytest.mark.parametrize("run", ["digit_run", "table1_run"])
def test_figures_can_be_seen(run, request):
    for file in (request.getfixturevalue(run) / "figures").iterdir():
        pixels = np.asarray(Image.open(file).convert("RGB"))
        ink = (pixels < 200).any(2)
        height, width = ink.shape
        assert 400 < width < 2000
        assert 80 < height < 2200
        assert ink[:, : width // 2].mean() > 0.01
        assert ink[:, width // 2 :].mean() > 0.01


def test_the_page_of_a_comparison_holds_the_whole_table(digit_run):
    html, summary = page_of(digit_run)[0], results_of(digit_run)["summary"]
    assert len(summary) > 5
    for row in table.cells(summary, report.columns(summary))[1:]:
        for cell in row[1:]:
            assert f"<td>{cell}</td>" in html
    assert "excess\u00a0n</th>" in html


def test_the_page_of_a_known_world_speaks_of_the_exact_answer(tmp_path, hasty):
    known, short = ("--world", "smooth", "--path", "sdxl", "--t-n", "300"), ("--evaluations", "0.001")
    words = (*known, *short, "--skip", "wiener", "--method", "exact", "ours", "wiener")
    compare.main([*DIGITS, *words, "--out", str(tmp_path / "run")])
    text = text_of(page_of(tmp_path / "run")[0])
    assert "so that every best guess is known exactly" in text
    assert "the error that even h* cannot avoid" in " ".join(text.split())
    assert "1,000 of SDXL's schedule" in text
    assert "truth of real images is unknown" not in text
    assert not re.search(r"\b(nan|inf)\b", text.split("About this run")[0])


def test_the_page_of_a_run_with_clean_images_does_not_deny_them(tmp_path, hasty):
    out = tmp_path / "run"
    words = [*DIGITS, "--evaluations", "0.001", "--clean-share", "0.2", "--method", "ours", "ambient-only", "mixture"]
    compare.main([*words, "--out", str(out)])
    text = " ".join(text_of(page_of(out)[0]).split())
    results = results_of(out)
    config = config_of(results)
    problem = ImageSource(config, config.level())(config.seed)
    assert f"only {problem.clean} of 300 images are clean" in text
    assert 30 < problem.clean < 90  # 60, six standard deviations of 7 would be 42
    for denial in (
        "nobody",
        "no clean",
        "never seen",
        "ever seen",
        "no data",
        "not one training",
        "the noisy images alone",
        "put away",
    ):
        assert denial not in text.split("About this run")[0].replace("its clean version was put away", ""), denial
    drawing = Drawing(out, results, problem)
    assert [axes.get_ylabel() for axes in panels.data(drawing).axes] == ["clean", f"data:\n{problem.clean / 3:.2g} % clean"]
    figure = panels.errors(drawing)
    assert figure is not None
    assert "below the data's noise: clean images alone" in [text.get_text() for text in figure.axes[0].texts]
    assert "* uses the truth" not in table.as_text(results["summary"], report.columns(results["summary"]))
    [command] = [line for line in unescape(page_of(out)[0]).splitlines() if f"--out {out}" in line]
    words = shlex.split(command.removeprefix("<pre>").removesuffix("</pre>"))[4:]
    again = parse(compare.MnistOptions, words, prog="", description="", presets=compare.PRESETS)
    assert (again, again.out) == (replace(config, out=str(out), workers=1), str(out))


# --- what is shown is what was measured ------------------------------------------------------------------------------------


def test_the_noisy_images_shown_are_those_that_were_restored(drawing):
    """The Wiener filter, applied to them once more, gives what the run has stored."""
    x_0, x_t = (torch.from_numpy(images) for images in panels.probe(drawing))
    stored = drawing.arrays["wiener"]["restored"][AT_N]
    again = drawing.problem.gaussian().denoiser(drawing.problem.path)(x_t, drawing.problem.t_n)  # alpha = 1
    np.testing.assert_allclose(again.numpy(), stored, atol=1e-4)  # float32, and matrices of condition below 1e3
    assert np.abs(x_t.numpy() - x_0.numpy()).mean() > 0.3


def test_the_clean_images_shown_are_those_under_the_noise(drawing, hasty):
    clean = config_of(drawing.results).digits().train[:5].numpy()
    np.testing.assert_allclose(panels.clean_images(drawing, 5), clean, atol=1e-5)  # noise added and taken off in float32
    noise = panels.noisy_images(drawing.problem, 200) - panels.clean_images(drawing, 200)
    assert noise.std() == pytest.approx(0.6, rel=0.05)  # 12,800 numbers: 8 standard errors of .6 %


def test_methods_that_share_a_network_restore_once(drawing):
    labels = [axes.get_ylabel() for axes in panels.restored(drawing).axes]
    assert labels == ["real, held out", "noisy", "oracle *", "ours", "ambient-only", "mixture", "wiener"]


def test_images_stand_in_their_places():
    images = np.arange(5 * 4).reshape(5, 4)
    picture = mosaic(images, 3)
    assert picture.shape == (2 * 2 + 1, 3 * 2 + 2)
    np.testing.assert_array_equal(picture[0:2, 3:5], images[1].reshape(2, 2))
    np.testing.assert_array_equal(picture[3:5, 0:2], images[3].reshape(2, 2))
    assert np.isnan(picture[2]).all()
    assert np.isnan(picture[3:5, 6:8]).all()  # a sixth image there is not


def test_columns_stand_in_groups_under_their_headings():
    rows = [("ours", np.zeros((4, 9))), ("other", np.ones((4, 9)))]
    figure = image_grid(rows, headings=["left", "right"])
    assert [axes.get_title() for axes in figure.axes] == ["left", "right", "", ""]
    assert [axes.get_ylabel() for axes in figure.axes] == ["ours", "", "other", ""]


def test_names_have_the_colours_of_their_methods():
    assert colour_of("oracle *\nFD 3", COLOURS) == COLOURS["oracle"]
    assert colour_of("noisy", COLOURS) == INK
    assert to_rgb(colour_of("ours", COLOURS)) != to_rgb(INK)


# --- what is said follows the numbers -----------------------------------------------------------------------------------------


def with_errors(drawing, factors, spread=0.0):
    """The same run where the error of a method is a multiple of the oracle's at n and above, and another one below n.

    Args: factors: {method: (at and above, below)}; spread: of the factor between the two seeds.
    """
    rows = []
    for row in drawing.results["rows"]:
        above, below = factors.get(row["method"], (1.0, 1.0))
        off = spread * (1 if row["seed"] else -1) * (row["method"] != "oracle")
        mse = [0.1 * (below + off if level < 1 else above + off) for level in LEVELS]
        missing = row["method"] == "early-stop"
        rows.append(row | {"mse": [None if missing and level < 1 else value for level, value in zip(LEVELS, mse, strict=True)]})
    rows = compare.over_the_oracle(rows)
    return Drawing(drawing.out, {**drawing.results, "rows": rows, "summary": table.summarise(rows)}, drawing.problem)


GOOD = {"ours": (1.02, 1.10), "ambient-only": (1.03, 1.30), "mixture": (1.1, 1.4), "wiener": (1.4, 1.6)}
BAD = {"ours": (1.5, 2.0), "ambient-only": (1.2, 1.3), "mixture": (1.3, 1.4), "wiener": (1.4, 1.6)}


@pytest.mark.parametrize(("factors", "word", "other"), [(GOOD, "better", "worse"), (BAD, "worse", "better")])
def test_the_verdict_follows_the_numbers(drawing, factors, word, other):
    """Against the mixture that networks start from, at the data's noise; against the ambient loss alone, below it."""
    told = report.verdict(report.with_ratios(with_errors(drawing, factors, spread=1e-3).results), "mixture")
    assert told.count(word) == 2
    assert other not in told
    above, below = factors["ours"]
    assert f"({0.1 * above:.3f} ± 0.000 against {0.1 * factors['mixture'][0]:.3f} ± 0.000)" in told
    assert f"({below:.3f} ± 0.001 against 1.300 ± 0.001)" in told


@pytest.mark.parametrize(("spread", "word"), [(0.002, "better"), (0.05, "not told apart")])
def test_seeds_that_overlap_are_not_told_apart(drawing, spread, word):
    """1.10 and 1.15: standard errors are `spread`, of the difference 1.4 times that; 18 of those, or .7."""
    close = {"ours": (1.1, 1.1), "ambient-only": (1.15, 1.15), "wiener": (1.4, 1.6)}
    told = report.verdict(report.with_ratios(with_errors(drawing, close, spread).results), "mixture")
    assert word in told.split("sub-n mean")[1]


def test_directions_that_stand_out_of_the_noise():
    """D = 4, N = 400, noise 2: directions count above 2^2 (4 / 400)^(1/2) = .4."""
    axes = torch.linalg.qr(torch.randn(50, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64))[0]
    centred = torch.linalg.qr(axes - axes.mean(0))[0][:, :4]  # orthonormal columns of mean 0
    images = centred * (49 * torch.tensor([2.0, 0.41, 0.39, 0.1], dtype=torch.float64)).sqrt()
    problem = SimpleNamespace(clean_test=images, path=VarianceExploding(), t_n=2.0, dim=4, count=400)
    count, share = report.visible_directions(problem)
    assert count == 2
    assert share == pytest.approx(2.41 / 2.9)


# --- Table 1 ----------------------------------------------------------------------------------------------------------------


def table1_results(errors, mean_image=0.4):
    """A summary from {(t, t_n): MSE}."""
    summary = []
    for (t, t_n), mse in errors.items():
        off = mse / errors[t, 0] - 1
        row = {"t": t, "t_n": t_n, "own": t >= t_n, "mse": mse, "std": 0.01, "difference": off}
        summary.append(row | {"error_images": 0.003, "error_seeds": 0.004})
    levels = sorted({t_n for _, t_n in errors} - {0})
    return {
        "summary": summary,
        "config": {"levels": levels, "seeds": 3, "skip": "mixture", "clean_share": 0.0},
        "mean_image": mean_image,
    }


TABLE1 = {(900, 0): 0.2, (900, 100): 0.201, (900, 800): 0.204, (500, 0): 0.1, (500, 100): 0.101, (500, 800): 0.25}


def test_the_verdict_is_of_noisy_trained_models_at_and_above_their_own_level():
    assert table1_page.agreement(table1_results(TABLE1)["summary"]) == {900: pytest.approx(0.204 / 0.201 - 1)}
    told = table1_page.verdict(table1_results(TABLE1))
    assert "worse" in told
    assert "+2.0 ± 0.5 % for t_n = 800 at t = 900" in told  # (.3^2 + .4^2)^(1/2) = .5
    assert "1.5%" in told
    assert "less than the 3%" in told


@pytest.mark.parametrize(("mse", "word"), [(0.2014, "not told apart"), (0.19, "better")])
def test_one_word_for_the_largest_difference(mse, word):
    """The bound is 1 %, twice a standard error of .5 %: .7 % more is within it, 5 % less is beyond."""
    told = table1_page.verdict(table1_results({(900, 0): 0.2, (900, 500): mse}))
    assert word in told


def test_disagreement_is_said():
    told = table1_page.verdict(table1_results(TABLE1 | {(900, 100): 0.19}))
    assert "7.4%" in told
    assert "more than the 3%" in told


def test_the_table_marks_what_lies_below_the_level_of_the_data():
    head, *body = table1_page.cells(table1_results(TABLE1))
    assert head == ["trained", "t = 900", "t = 500"]
    *models, mean_image = body
    marked = [[cell.startswith("~") for cell in row[1:]] for row in models]
    assert marked == [[False, False], [False, False], [False, True], [False, False], [False, True]]
    assert mean_image[1:] == ["2.00 times", "4.00 times"]


def test_paired_differences_and_their_errors(tmp_path):
    """Two seeds whose models lose 8 % and 12 % on every image: 10 %, by images .1 times their relative standard error."""
    config = table1.Table1Options(levels=(500,), seeds=2)
    clean = np.random.default_rng(0).uniform(1, 3, (len(table1.EVALUATED), 100))
    for level, method, factors in ((0, "oracle", (1.0, 1.0)), (500, "ambient-only", (1.08, 1.12))):
        for seed, factor in enumerate(factors):
            folder = tmp_path / f"t_n={level}" / "methods" / method / f"seed_{seed}"
            folder.mkdir(parents=True)
            np.savez(folder / "arrays.npz", errors=factor * clean)
    by_key = {(row["t"], row["t_n"]): row for row in table1.summarise(tmp_path, config)}
    assert len(by_key) == 2 * len(table1.EVALUATED)
    for number, t in enumerate(table1.EVALUATED):
        row, relative = by_key[t, 500], clean[number].std(ddof=1) / clean[number].mean()
        assert row["mse"] == pytest.approx(1.1 * clean[number].mean())
        assert row["std"] == pytest.approx(1.1 * clean[number].std(ddof=1))
        assert row["difference"] == pytest.approx(0.1)
        assert row["error_images"] == pytest.approx(0.1 * relative / 10)  # of 100 images
        assert row["error_seeds"] == pytest.approx(0.02)  # of .08 and .12: .0283 / 2^(1/2)
        assert by_key[t, 0]["difference"] == 0


OTHERS = {"ours": 20.0, "ambient-only": 30.0, "early-stop": 10.0}


@pytest.mark.parametrize(("clean", "learned"), [(3.5, True), (29.0, False)])
def test_the_page_of_levels_says_when_even_clean_digits_taught_nothing(clean, learned):
    def row(level, method, mean):
        return {"level": level, "method": method, "frechet": [{"mean": mean, "error": None, "count": 1}]}

    rows = [row(0.0, "oracle", clean), *(row(500, name, value) for name, value in OTHERS.items())]
    told = figures_page.verdict({"summary": rows, "floor": 1.1, "count": 1000, "config": {"levels": [500], "path": "sdxl"}})
    assert ("Nothing can be concluded" in told) != learned
    assert ("ours **is better than** ambient-only (20.000 against 30.000)" in told) == learned
    assert ("it **is worse than** early-stop (20.000 against 10.000)" in told) == learned
