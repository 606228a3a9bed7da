"""What `evaluate memorization` draws: a panel a kind, lines that can be told apart, each attacked image once."""

from __future__ import annotations

import pytest
import torch
from PIL import Image, ImageChops, ImageDraw

from harness.neighbours import Neighbours
from sdxl.attack.strips import GAP, Words, enlarged, strip
from sdxl.evaluate.memorization import table as shown
from sdxl.evaluate.memorization.figure import Line, histograms
from sdxl.evaluate.memorization.measure import Matches


def nearest(*similarity: float) -> Neighbours:
    return Neighbours(torch.tensor(similarity), torch.arange(len(similarity)))


@pytest.fixture
def found() -> Matches:
    """Two models that give nearly the same, two images, in one step and by samples; one has a control."""
    rows = {"one step": {"a": [0], "b": [1]}, "samples": {"a": [2, 3], "b": [4, 5]}}
    models = {"one": nearest(0.5, 0.6, 0.7, 0.8, 0.9, 0.1), "two": nearest(0.51, 0.59, 0.71, 0.79, 0.91, 0.1)}
    controls = {"one": (nearest(0.1, 0.2, 0.3, 0.3, 0.3, 0.3), rows)}
    return Matches(models, dict.fromkeys(models, rows), {"held out": nearest(0.2, 0.3)}, controls)


def test_each_attacked_image_is_shown_once_a_kind_where_it_came_nearest(found):
    matches = shown._nearest(found, top=16)
    assert [(one.kind, one.key, one.model, one.number) for one in matches] == [
        ("samples", "b", "two", 4), ("samples", "a", "one", 3), ("one step", "b", "one", 1), ("one step", "a", "two", 0),
    ]  # fmt: skip
    assert shown._nearest(found, top=2) == matches[:2]


def test_a_panel_a_kind_and_a_line_for_each_model_and_control(found):
    panels = shown._panels(found)
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


def test_a_strip_has_words_over_its_columns_and_beside_its_rows():
    one = Image.new("RGB", (40, 40), "red")
    side = enlarged(40)
    assert side == 120
    plain, worded = strip([[one, one], [one]]), strip([[one, one], [one]], heads=["image", "x"], sides=["t = 500", "t_n = 900"])
    assert plain.size == (2 * (side + GAP) - GAP, 2 * (side + GAP) - GAP)
    left, top = worded.width - plain.width, worded.height - plain.height
    assert worded.crop((left, top, *worded.size)).tobytes() == plain.tobytes()  # pictures are as they were
    words = (worded.crop((left, 0, left + side, top)), worded.crop((0, top, left, top + side)))
    assert all(part.convert("L").getextrema()[0] < 64 for part in words)


def test_the_n_of_t_n_stands_lower():
    """Two lines of words, of which one has t and n on one line."""
    words, boxes = Words(40), []
    for line in ("t_n", "tn"):
        picture = Image.new("L", (100, 100), 255)
        words.write(ImageDraw.Draw(picture), (0, 0), [line])
        boxes.append(ImageChops.invert(picture).getbbox())
    assert boxes[0][3] > boxes[1][3] + 5
    assert words.width("t_n") < words.width("tn")
