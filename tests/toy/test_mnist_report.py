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

from ambient.config import parse
from ambient.paths import VarianceExploding
from tests.toy.conftest import DIGITS
from tests.toy.test_figures import page_of, results_of, text_of
from toy import table
from toy.drawing import Drawing
from toy.methods import wiener
from toy.mnist import compare, figures_page, findings, panels, report, table1, table1_findings
from toy.mnist.pictures import colour_of, image_grid, mosaic
from toy.mnist.scoring import BELOW, LEVELS
from toy.mnist.source import ImageSource
from toy.style import COLOURS, INK

AT_N = len(BELOW)
OUTSIDE = re.compile(r"https?:|//[a-z]|<script|<link|src=\"(?!\")|@import|url\(")


@pytest.fixture
def drawing(digit_run, hasty):
    results = results_of(digit_run)
    config = config_of(results)
    return Drawing(digit_run, results, ImageSource(config, config.level())(config.seed))


def config_of(results):
    known = {key: tuple(value) if isinstance(value, list) else value for key, value in results["config"].items()}
    return compare.Config(**{key: value for key, value in known.items() if key not in ("digest", "labels")})


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
    assert "excess&nbsp;n</th>" in html


def test_the_page_of_a_known_world_speaks_of_the_exact_answer(tmp_path, hasty):
    known, short = ("--world", "smooth", "--path", "sdxl", "--t-n", "300"), ("--evaluations", "0.001")
    words = (*known, *short, "--skip", "wiener", "--method", "exact", "ours", "wiener")
    compare.main([*DIGITS, *words, "--out", str(tmp_path / "run")])
    text = text_of(page_of(tmp_path / "run")[0])
    assert "so that every best guess is known exactly" in text
    assert "the error that even h* cannot avoid" in " ".join(text.split())
    assert "1,000 of SDXL's schedule" in text
    assert "The network of ours starts from the best linear filter, which has an error of" in text
    assert "at the data's own noise (over the least possible)" in text
    assert "the truth of real images is unknown" not in text
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
        assert denial not in text.split("About this run")[0].replace("the clean one was put away", ""), denial
    drawing = Drawing(out, results, problem)
    assert [axes.get_ylabel() for axes in panels.data(drawing).axes] == ["clean", f"data:\n{problem.clean / 3:.2g} % clean"]
    figure = panels.errors(drawing)
    assert figure is not None
    assert "below the data's noise: clean images alone" in [text.get_text() for text in figure.axes[0].texts]
    assert "* uses the truth" not in table.as_text(results["summary"], report.columns(results["summary"]))
    (command,) = re.findall(r"python -m toy mnist (--.*)</pre>", unescape(page_of(out)[0]))
    again = parse(compare.Config, shlex.split(command), prog="", description="", presets=compare.PRESETS)
    assert (again, again.out) == (replace(config, out=str(out), workers=1), str(out))


# --- what is shown is what was measured ------------------------------------------------------------------------------------


def test_the_noisy_images_shown_are_those_that_were_restored(drawing):
    """The Wiener filter, applied to them once more, gives what the run has stored."""
    x_0, x_t = (torch.from_numpy(images) for images in panels.probe(drawing))
    stored = drawing.arrays["wiener"]["restored"][AT_N]
    again = wiener.filter_of(drawing.problem).denoiser(x_t, drawing.problem.t_n)  # alpha = 1
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


def test_findings_of_good_numbers(drawing):
    good = {"ours": (1.02, 1.10), "ambient-only": (1.03, 1.30), "mixture": (1.1, 1.4), "wiener": (1.4, 1.6)}
    start, above, below, effect, *_ = findings.of_comparison(with_errors(drawing, good, spread=1e-3))
    assert start.startswith(
        "The network of ours starts from the mixture of Wiener filters, fitted to the noisy images, which has"
    )
    assert "of 0.110 ± 0.000 at the data's own noise (per pixel, on held-out images). Trained, ours has 0.102 ± 0.000" in start
    assert start.endswith(": from the noisy images alone it has learned to do better.")
    assert "+2.0 ± 0.1 % at n, +2.0 ± 0.1 % at 1.5 n" in above
    assert re.search(r"ours is 1\.100 ± 0\.001 times that of the oracle", below)
    assert re.search(r"Smaller: oracle .*Larger: ambient-only \(1\.300.*wiener \(1\.600", below)
    assert effect.endswith("with consistency added it is 1.100 ± 0.001, lower.")


def test_findings_of_bad_numbers(drawing):
    bad = {"ours": (1.5, 2.0), "ambient-only": (1.2, 1.3), "mixture": (1.3, 1.4), "wiener": (1.4, 1.6)}
    start, above, below, effect, *_ = findings.of_comparison(with_errors(drawing, bad, spread=1e-3))
    assert start.endswith(": it does worse, nothing was learned.")
    assert "+50.0 ± 0.1 % at n" in above
    assert re.search(r"Smaller: oracle .*, ambient-only \(1\.300.*, wiener \(1\.600", below)
    assert effect.endswith("higher.")


@pytest.mark.parametrize(("spread", "words"), [(0.002, "Larger: ambient-only"), (0.05, "Not told apart from it:.* ambient-only")])
def test_seeds_that_overlap_are_not_told_apart(drawing, spread, words):
    """1.10 and 1.15: standard errors are `spread`, of the difference 1.4 times that; 18 of those, or .7."""
    close = {"ours": (1.1, 1.1), "ambient-only": (1.15, 1.15), "wiener": (1.4, 1.6)}
    below = findings.of_comparison(with_errors(drawing, close, spread))[2]
    assert re.search(words, below)


@pytest.mark.parametrize(
    ("mean", "error", "text"),
    [
        (0.0234, None, "+2.3 %"),
        (-0.0234, 0.004, "-2.3 ± 0.4 %"),
        (0.0002, None, "0.0 %"),
        (-0.0002, None, "0.0 %"),
        (3.0, None, "+300.0 %"),
    ],
)
def test_shares_in_words(mean, error, text):
    assert findings.percent({"mean": mean, "error": error}) == text


def test_directions_that_stand_out_of_the_noise():
    """D = 4, N = 400, noise 2: directions count above 2^2 (4 / 400)^(1/2) = .4."""
    axes = torch.linalg.qr(torch.randn(50, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64))[0]
    centred = torch.linalg.qr(axes - axes.mean(0))[0][:, :4]  # orthonormal columns of mean 0
    images = centred * (49 * torch.tensor([2.0, 0.41, 0.39, 0.1], dtype=torch.float64)).sqrt()
    problem = SimpleNamespace(clean_test=images, path=VarianceExploding(), t_n=2.0, dim=4, count=400)
    count, share = findings.visible_directions(problem)
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


GOOD = {(900, 0): 0.2, (900, 100): 0.201, (900, 800): 0.204, (500, 0): 0.1, (500, 100): 0.101, (500, 800): 0.25}


def test_agreement_is_of_noisy_trained_models_at_and_above_their_own_level():
    assert table1_findings.agreement(table1_results(GOOD)["summary"]) == {900: pytest.approx(0.204 / 0.201 - 1)}
    together, loss, below, scale = table1_findings.findings(table1_results(GOOD))
    assert "within 1.5% of each other** (1.5% at t = 900): less than 3%." in together
    assert "+2.0 ± 0.5 %, by the one at t_n = 800, restoring at t = 900" in loss  # (.3^2 + .4^2)^(1/2) = .5
    assert "+150.0 ± 0.5 % for t_n = 800 at t = 500" in below
    assert "has 2.00 times the error of the clean-trained model; at t = 500 it is 4 times" in scale


def test_with_clean_images_nobody_is_said_to_extrapolate():
    results = table1_results(GOOD)
    results["config"]["clean_share"] = 0.1
    assert "Below the level of its noisy images a model has the clean ones alone" in table1_findings.findings(results)[2]


def test_disagreement_is_said():
    together = table1_findings.findings(table1_results(GOOD | {(900, 100): 0.19}))[0]
    assert "within 7.4% of each other" in together
    assert "more than 3%" in together


def test_the_table_marks_what_lies_below_the_level_of_the_data():
    head, *body = table1_findings.cells(table1_results(GOOD))
    assert head == ["trained", "t = 900", "t = 500"]
    assert [[cell.startswith("~") for cell in row[1:]] for row in body] == [[False, False]] * 2 + [[False, True]] + [
        [False, False]
    ] + [[False, True]]


def test_paired_differences_and_their_errors(tmp_path):
    """Two seeds whose models lose 8 % and 12 % on every image: 10 %, by images .1 times their relative standard error."""
    config = table1.Config(levels=(500,), seeds=2)
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


@pytest.mark.parametrize(("clean", "learned"), [(3.5, True), (29.0, False)])
def test_the_page_of_levels_says_when_even_clean_digits_taught_nothing(clean, learned):
    def row(level, method, mean):
        return {"level": level, "method": method, "frechet": [{"mean": mean, "error": None, "count": 1}]}

    rows = [row(0.0, "oracle", clean), *(row(500, name, 30.0) for name in ("ours", "ambient-only", "early-stop"))]
    found = figures_page.findings({"summary": rows, "floor": 1.1, "count": 1000, "config": {"levels": [500]}})
    assert ("it has not learned to draw them" in found[0]) != learned
    assert "The floor is a Frechet distance of 1.10, between 1,000 training digits and as many held-out ones" in " ".join(found)
