"""What `evaluate memorization` draws: a panel a kind, lines that can be told apart, each attacked image once."""

from __future__ import annotations

import pytest
import torch
from PIL import Image, ImageChops

from harness.neighbours import Neighbours
from sdxl.evaluate.memorization import table as shown
from sdxl.evaluate.memorization.figure import Line, histograms
from sdxl.evaluate.memorization.measure import MatchedResults, Matches
from sdxl.images.sheets import GAP, grid


def nearest(*similarity: float) -> Neighbours:
    return Neighbours(torch.tensor(similarity), torch.arange(len(similarity)))


@pytest.fixture
def found() -> Matches:
    """Two models that give nearly the same, two images, in one step and by samples; one has a control."""
    rows = {"one step": {"a": [0], "b": [1]}, "samples": {"a": [2, 3], "b": [4, 5]}}
    models = {"one": nearest(0.5, 0.6, 0.7, 0.8, 0.9, 0.1), "two": nearest(0.51, 0.59, 0.71, 0.79, 0.91, 0.1)}
    controls = {"one": MatchedResults(nearest(0.1, 0.2, 0.3, 0.3, 0.3, 0.3), rows)}
    return Matches(
        {name: MatchedResults(found, rows) for name, found in models.items()}, controls, {"held out": nearest(0.2, 0.3)}
    )


def test_each_attacked_image_is_shown_once_a_kind_where_it_came_nearest(found):
    matches = shown.nearest_pairs(found, top=16)
    assert [(one.kind, one.key, one.model, one.number) for one in matches] == [
        ("samples", "b", "two", 4), ("samples", "a", "one", 3), ("one step", "b", "one", 1), ("one step", "a", "two", 0),
    ]  # fmt: skip
    assert shown.nearest_pairs(found, top=2) == matches[:2]


def test_a_panel_a_kind_and_a_line_for_each_model_and_control(found):
    panels = shown.panels(found)
    assert {title: [line.label for line in panel] for title, panel in panels.items()} == {
        kind: ["held out", "one", "control of one", "two"] for kind in ("one step", "samples")
    }
    assert sorted(panels["samples"][2].values) == pytest.approx([0.3] * 4)
    axes = histograms(panels).axes
    assert len({panel.get_xlim() for panel in axes} | {panel.get_ylim() for panel in axes}) == 2  # one scale for all
    shares = [sum(bar.get_xy()[1:-1, 1].tolist()[::2]) for bar in axes[1].patches]
    assert shares == pytest.approx([1] * 4)


def test_controls_have_the_colour_of_their_attack_and_lines_that_coincide_are_seen():
    lines = [Line("others", [0.5])]
    for name in ("a", "b"):
        lines += [Line(name, [0.5], of=name), Line(f"control of {name}", [0.5], of=name, control=True)]
    _, a, control_a, b, control_b = histograms({"one": lines}).axes[0].patches
    assert a.get_edgecolor() == control_a.get_edgecolor() != b.get_edgecolor() == control_b.get_edgecolor()
    assert a.get_linewidth() > b.get_linewidth() + 1  # b lies over a
    assert control_a.get_linestyle() != "solid"
    assert control_a._dash_pattern != control_b._dash_pattern  # in turn


def test_a_grid_has_labels_above_beside_and_below_and_leaves_its_pictures_as_they_are():
    one = Image.new("RGB", (40, 40), "red")
    rows, side = [[one, one], [one]], 120  # the least whole multiple of 40 that is 96 or more
    plain = grid(rows)
    assert plain.size == (2 * side + GAP, 2 * side + GAP)
    assert plain.crop((side + GAP, side + GAP, *plain.size)).getextrema() == ((255, 255),) * 3  # the row is short
    labelled = grid(rows, above=["image", "x"], beside=["t = 500", "t_n = 900"])
    left, top = labelled.width - plain.width, labelled.height - plain.height
    assert labelled.crop((left, top, *labelled.size)).tobytes() == plain.tobytes()
    below = grid(rows, below=[["a", "b"], ["c"]])
    foot = (below.height - plain.height) // 2
    under = [(x, y, x + side, y + foot) for x, y in ((0, side), (side + GAP, side), (0, 2 * side + foot + GAP))]
    labels = [labelled.crop((left, 0, left + side, top)), labelled.crop((0, top, left, top + side)), *map(below.crop, under)]
    assert all(label.convert("L").getextrema() < (64, 256) for label in labels)


def test_the_n_of_t_n_is_a_subscript():
    """It is narrower than a letter; the t_n in a name is none."""
    ends = []
    for label in ("t_n", "tn", "at_n", "attn"):
        picture = grid([[Image.new("RGB", (640, 20), "white")]], below=[[label]]).convert("L")
        ends.append(ImageChops.invert(picture).getbbox()[2])
    assert ends[0] < ends[1] - 5
    assert ends[2] > ends[3]
