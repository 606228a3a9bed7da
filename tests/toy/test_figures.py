"""What a run draws and writes: figures that are there and can be seen, a page that stands alone and tells the truth."""

import json
import math
import re
from dataclasses import replace
from html import unescape

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from PIL import Image

from toy.experiments.gmm import GmmOptions, Source
from toy.problem import remarks
from toy.registry import METHODS
from toy.report import pages as report
from toy.report import table
from toy.report.drawing import Drawing
from toy.report.figures import errors
from toy.report.panels import fields
from toy.report.style import COLOURS, RC, spread_out
from toy.report.verdict import NONE, against, relation, with_truth, without_truth

DATA_URI = re.compile(r"data:image/png;base64,[A-Za-z0-9+/=]+")


def results_of(run):
    return json.loads((run / "results.json").read_text())


def page_of(run):
    """The report without its pictures, and how many there were."""
    return DATA_URI.subn("", (run / "report.html").read_text())


def text_of(html):
    return unescape(re.sub(r"<[^>]+>", "", re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL)))


@pytest.fixture
def drawing(smoke_run):
    results = results_of(smoke_run)
    return Drawing(smoke_run, results, Source(GmmOptions(preset="smoke"))(0))


@pytest.mark.parametrize(
    ("run", "expected"), [("smoke_run", {"samples", "errors", "fields"}), ("own_data_run", {"samples", "without_truth"})]
)
def test_what_a_problem_allows_is_drawn_and_nothing_else(run, expected, request):
    folder = request.getfixturevalue(run) / "figures"
    assert {file.name for file in folder.iterdir()} == {f"{name}.png" for name in expected}
    for file in folder.iterdir():
        with Image.open(file) as image:
            image.load()
            pixels = np.asarray(image.convert("RGB"))
        height, width, _ = pixels.shape
        assert 500 < width < 2000
        assert 150 < height < 2000
        ink = (pixels < 200).any(2)
        assert ink.mean() > 0.01, f"{file.name} is all but empty"
        assert ink[:, : width // 2].any()
        assert ink[:, width // 2 :].any()


def test_lines_that_coincide_can_all_be_seen(drawing):
    """Networks that are hardly trained have the same errors; early-stop has those of ambient-only in any run."""
    with mpl.rc_context(RC):
        figure = errors(drawing)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
    pixels, box = np.asarray(canvas.buffer_rgba())[..., :3], figure.axes[0].get_window_extent()
    inside = pixels[len(pixels) - int(box.y1) : len(pixels) - int(box.y0), int(box.x0) : int(box.x1)]
    for name in ("ours", "paper", "ambient-only", "early-stop", "wiener"):
        assert (inside == np.round(255 * np.array(to_rgb(COLOURS[name])))).all(-1).sum() > 50, f"{name} is hidden"


def test_drawing_changes_no_global_style(smoke_run):
    assert mpl.rcParams["axes.spines.top"] == mpl.rcParamsDefault["axes.spines.top"]
    assert mpl.rcParams["savefig.dpi"] == mpl.rcParamsDefault["savefig.dpi"]


def test_every_method_has_a_colour_of_its_own():
    assert set(COLOURS) == set(METHODS)
    assert len(set(COLOURS.values())) == len(COLOURS)


@pytest.mark.parametrize("run", ["smoke_run", "own_data_run"])
def test_the_report_holds_the_whole_table_and_stands_alone(run, request):
    run = request.getfixturevalue(run)
    html, pictures = page_of(run)
    text = text_of(html)
    summary = results_of(run)["summary"]
    assert pictures == len(list((run / "figures").iterdir()))
    assert summary
    for row in summary:
        assert row["title"] in text
    body = re.search(r"<tbody>(.*?)</tbody>", html, re.DOTALL)
    assert body is not None
    shown = [re.findall(r"<td>([^<]*)</td>", line) for line in body[1].split("</tr>") if "<td>" in line]
    assert [numbers[:-1] for numbers in shown] == [numbers for _, *numbers in table.cells(summary)[1:]]
    assert not re.search(r"https?:|//[a-z]|<script|<link|src=\"(?!\")|@import|url\(", html)
    assert not re.search(r"\b(nan|inf|None)\b", text.split("About this run")[0], re.IGNORECASE)


def test_the_report_of_an_untrained_network_claims_nothing(smoke_run):
    html = page_of(smoke_run)[0]
    box = re.search(r'<div class="verdict">(.*?)</div>', html, re.DOTALL)
    assert box is not None
    assert "is not told apart from" in text_of(box[1])
    assert "is better than" not in text_of(box[1])


def test_the_report_warns_of_too_few_points_in_the_words_of_the_terminal(own_data_run):
    config = GmmOptions(
        **{
            key: tuple(v) if isinstance(v, list) else v
            for key, v in results_of(own_data_run)["config"].items()
            if key != "data_digest"
        }
    )
    said = remarks(Source(config)(0))
    assert any("only 72 points" in remark for remark in said)
    text = text_of(page_of(own_data_run)[0])
    for remark in said:
        assert remark in text


def test_the_report_explains_the_deconvolution_where_it_was_run_alone(drawing):
    def told(**results):
        return report.known(replace(drawing, results={**drawing.results, **results}))["deconvolved"]

    wiener = next(row for row in drawing.summary if row["method"] == "wiener")
    assert not told()
    assert told(summary=[*drawing.summary, {**wiener, "method": "deconvolution"}])
    assert told(wall=[{"noise": 0.35}])


def number(mean, error=None):
    return {"mean": mean, "error": error, "count": 1 if error is None else 3}


def changed(drawing, **sub_n):
    """The same run with other sub-n means, {method: (mean, error)}; none for methods that are not named."""
    summary = [dict(row) for row in drawing.summary]
    for row in summary:
        mean = sub_n.get(row["method"].replace("-", "_"))
        row["sub_n"] = None if mean is None else number(*mean)
    return Drawing(drawing.out, {**drawing.results, "summary": summary}, drawing.problem)


def test_the_region_of_a_field_is_not_cut(drawing):
    figure = fields(drawing)
    grid = drawing.arrays["exact"]["grid"]
    for axes in figure.axes[:4]:
        (x0, y0), (x1, y1) = axes.collections[0].get_paths()[0].get_extents().get_points()
        (left, right), (below, above) = axes.get_xlim(), axes.get_ylim()
        assert max(left, grid[0, 0]) < x0 < x1 < min(right, grid[-1, 0])
        assert max(below, grid[0, 1]) < y0 < y1 < min(above, grid[-1, 1])


def test_the_verdict_follows_the_numbers(drawing):
    good = changed(drawing, ours=(0.06, None), paper=(0.11, None), ambient_only=(0.3, None), wiener=(0.55, None))
    assert with_truth(good).count("better") == 2
    assert "(0.0600 against 0.550)" in with_truth(good)
    assert "(0.0600 against 0.300)" in with_truth(good)
    bad = changed(drawing, ours=(0.9, None), paper=(0.11, None), ambient_only=(0.3, None), wiener=(0.55, None))
    assert with_truth(bad).count("worse") == 2
    assert "better" not in with_truth(bad)
    assert with_truth(changed(drawing, ours=(0.06, None))) == NONE  # nothing to compare with


def test_the_table_compares_each_method_with_ours(drawing):
    run = changed(drawing, ours=(0.2, None), paper=(0.11, None), ambient_only=(0.3, None), wiener=(0.201, None))
    head, *column = against(run.summary, "sub_n", "sub-n mean")
    assert head == "sub-n mean, against ours"
    found = dict(zip((row["method"] for row in run.summary), column, strict=True))
    assert found == {
        "exact": "-",
        "ours": "-",
        "paper": "smaller",
        "ambient-only": "larger",
        "early-stop": "-",
        "wiener": "not told apart",
    }


@pytest.mark.parametrize(("error", "word"), [(0.01, "larger"), (0.05, "not told apart")])
def test_seeds_that_overlap_are_not_told_apart(drawing, error, word):
    # 0.20 and 0.28 differ by 0.08: 5.7 standard errors of the difference at .01 each, 1.1 at .05
    seeds = changed(drawing, ours=(0.2, error), paper=(0.28, error))
    assert word in against(seeds.summary, "sub_n", "")


def test_one_held_out_point_has_no_standard_error(own_data_run):
    drawing = with_risks(own_data_run, error=math.nan)
    assert drawing.number("wiener", "risk_1") == {"mean": 0.54, "error": None, "count": 1}
    assert not re.search(r"\bnan\b", without_truth(drawing))


@pytest.mark.parametrize(("error", "word", "cell"), [(0.001, "better", "larger"), (0.03, "not told apart", "not told apart")])
def test_on_your_own_data_verdict_and_table_compare_held_out_risks_alike(own_data_run, error, word, cell):
    """Two risks that differ by .04 are told apart at standard errors over held-out points of .001 each, not at .03."""
    drawing = with_risks(own_data_run, error)
    assert word in without_truth(drawing)
    column = dict(zip((row["method"] for row in drawing.summary), against(drawing.summary, "risk_1", "")[1:], strict=True))
    assert column["wiener"] == cell


def with_risks(run, error):
    """The run as if the held-out risk were .5 for ours and .54 for the other methods."""
    results = results_of(run)
    for row in results["rows"]:
        row["risk_1"] = [0.5 if row["method"] == "ours" else 0.54, error]
    results["summary"] = table.summarise(results["rows"])
    return Drawing(run, results, Source(GmmOptions(preset="smoke"))(0))


@pytest.mark.parametrize(("mean", "error", "shown"), [(4.03e-8, 1.2e-10, "4.0e-08 ± 1.2e-10"), (2e-13, None, "0.0000")])
def test_small_numbers_keep_their_digits(mean, error, shown):
    assert table.show(number(mean, error)) == shown


@given(st.floats(1e-6, 1e3), st.floats(1e-6, 1e3), st.none() | st.floats(0, 10), st.none() | st.floats(0, 10))
def test_better_is_the_mirror_of_worse(a, b, error_a, error_b):
    mirror = {"better": "worse", "worse": "better", "same": "same"}
    one, other = number(a, error_a), number(b, error_b)
    assert relation(one, other) == mirror[relation(other, one)]
    assert relation(one, one) == "same"


@given(st.lists(st.floats(-0.5, 1.5), min_size=1, max_size=12).map(sorted))
def test_labels_do_not_touch_and_stay_beside_the_plot(heights):
    gap = 0.05  # 12 labels need 11 gaps, .55 of the height
    moved = spread_out(heights, gap)
    assert (np.diff(moved) >= gap - 1e-12).all()
    assert moved.min() >= 0
    assert moved.max() <= 1 + 1e-12
    apart = bool((np.diff(heights) >= gap).all()) and heights[0] >= 0 and heights[-1] <= 1
    if apart:
        np.testing.assert_allclose(moved, heights, atol=1e-12)
