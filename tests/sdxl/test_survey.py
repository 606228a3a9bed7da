"""Images that hold more than one opaque picture, or that are there twice: what is encoded of them, and what is said."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from sdxl.corrupt.command import repeated
from sdxl.images.pictures import Picture
from sdxl.images.survey import SurveyedPicture, decode, look, survey
from sdxl.parallel import Group

HIDDEN, SHOWN = (200, 30, 60), (10, 120, 240)


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def half_erased(mode: str) -> bytes:
    """Left half transparent, with other pixels below; right half opaque."""
    image = Image.new("RGB", (16, 8), SHOWN)
    image.paste(HIDDEN, (0, 0, 8, 8))
    if mode == "P":
        return encoded(image.quantize(2), transparency=image.quantize(2).getpixel((0, 0)))
    if mode == "RGB":
        return encoded(image, transparency=HIDDEN)
    alpha = Image.new("L", image.size, 255)
    alpha.paste(0, (0, 0, 8, 8))
    found = image.convert(mode)
    found.putalpha(alpha)
    return encoded(found, "WEBP" if mode == "WEBP" else "PNG")


def surveyed(*payloads: bytes) -> list[SurveyedPicture]:
    some = [Picture(f"{i}.png", "", 1, lambda payload=payload: payload) for i, payload in enumerate(payloads)]
    return survey(some, Group(), threads=2)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
def test_transparent_pixels_are_white_and_the_rest_as_it_is(mode, capsys):
    found = np.asarray(decode(half_erased(mode))).astype(int)
    assert (found[:, :8] == 255).all()
    shown = np.array(Image.new("RGB", (1, 1), SHOWN).convert("L").getpixel((0, 0)) if mode == "LA" else SHOWN)
    assert np.abs(found[:, 8:] - shown).max() <= 1  # a palette of two colours is a rounding off
    [picture] = surveyed(half_erased(mode))
    assert picture.reading.transparent
    assert "0.png" in capsys.readouterr().out


def test_half_transparent_pixels_are_half_white():
    image = Image.new("RGBA", (4, 4), (*SHOWN, 51))  # a fifth of the colour
    expected = [0.2 * x + 0.8 * 255 for x in SHOWN]
    assert np.abs(np.asarray(decode(encoded(image)))[0, 0] - expected).max() < 1


def test_opaque_images_with_an_alpha_channel_are_to_the_bit_what_they_are_without(capsys):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    layered = np.dstack([pixels, np.full((16, 16), 255, np.uint8)])
    assert np.array_equal(np.asarray(decode(encoded(Image.fromarray(layered)))), pixels)
    assert not surveyed(encoded(Image.fromarray(layered)))[0].reading.transparent
    assert capsys.readouterr().out == ""


def test_a_turned_image_is_turned_with_its_transparency():
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by 90 degrees: left becomes top
    image = Image.open(io.BytesIO(half_erased("RGBA")))
    found = np.asarray(decode(encoded(image, exif=turned)))
    assert (found[:8] == 255).all()
    assert (found[8:] == SHOWN).all()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG"])
def test_of_several_frames_or_pages_the_first_is_taken_and_that_is_said(kind, capsys):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("black", "red", "blue")]
    payload = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    assert (np.asarray(decode(payload)) == 0).all()
    assert [picture.reading for picture in surveyed(payload, encoded(frames[0], kind))] == [
        look(Picture("", "", 1, lambda: payload)),
        surveyed(encoded(frames[0], kind))[0].reading,
    ]
    said = capsys.readouterr().out
    assert "1 image with several frames or pages (0.png)" in said


def test_previews_that_a_camera_keeps_beside_a_photograph_are_no_pages():
    photograph = Image.new("RGB", (32, 32), SHOWN)
    payload = encoded(photograph, "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8))])
    assert not surveyed(payload)[0].reading.several


def test_the_same_bytes_under_several_names_are_found():
    images = [encoded(Image.new("RGB", (8, 8), colour)) for colour in ("red", "blue", "red", "green", "red")]
    pictures = surveyed(*images)
    assert repeated(pictures) == ["0.png = 2.png = 4.png"]
    assert repeated(pictures[:4]) == ["0.png = 2.png"]
    assert repeated(pictures[:2]) == []
