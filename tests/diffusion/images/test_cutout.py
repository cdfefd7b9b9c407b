"""Subjects that were drawn with a known edge are cut out again."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from diffusion.images.cutout import Cutout, cut_out

SUPERSAMPLED = 8


def drawn(shapes, ground="white", size=(256, 256)):
    """Draw ``shapes``, (kind, box, colour), with smooth edges; give the picture and how much of it they cover."""
    layers = []
    for mode, back in (("RGB", ground), ("L", 0)):
        large = Image.new(mode, [SUPERSAMPLED * length for length in size], back)
        for kind, box, colour in shapes:
            box = [SUPERSAMPLED * coordinate for coordinate in box]
            getattr(ImageDraw.Draw(large), kind)(box, fill=colour if mode == "RGB" else 255)
        layers.append(large.resize(size, Image.Resampling.BOX))
    return layers[0], np.asarray(layers[1]) / 255


def visible(picture):
    rgba = np.asarray(picture).astype(int)
    return rgba[rgba[..., 3] > 25][:, :3]


@pytest.mark.parametrize("ground", ["white", "black", "#f0a0c0", "#3070e8"])
@pytest.mark.parametrize("size", [(128, 128), (256, 256), (700, 512)])
def test_cut_out_keeps_soft_edges_without_a_rim(ground, size):
    picture, cover = drawn([("ellipse", (30, 20, 110, 90), (200, 60, 20))], ground, size)
    subject = np.asarray(cut_out(picture).subject)
    scale = min(1, 512 / max(size)) ** 2
    assert (subject[..., 3] / 255).sum() == pytest.approx(cover.sum() * scale, rel=0.02)
    assert np.abs(visible(subject) - (200, 60, 20)).max() < 12


def test_cut_out_keeps_enclosed_areas():
    picture, _ = drawn([("ellipse", (60, 60, 200, 200), "orange"), ("ellipse", (110, 110, 150, 150), "white")])
    subject = cut_out(picture).subject
    assert subject.getpixel((subject.width // 2, subject.height // 2)) == (255, 255, 255, 255)


@pytest.mark.parametrize("box", [(10, 10, 60, 40), (120, 30, 180, 220), (30, 200, 240, 250)])
def test_cut_out_crops_to_the_subject(box):
    picture, _ = drawn([("rectangle", box, "green")])
    cutout = cut_out(picture)
    left, top, right, bottom = cutout.subject.getchannel("A").point(lambda alpha: 255 * (alpha > 127)).getbbox()
    margins = (left, top, cutout.subject.width - right, cutout.subject.height - bottom)
    assert cutout.subject.width == cutout.subject.height == cutout.picture.width == cutout.picture.height
    assert abs(margins[0] - margins[2]) <= 1 and abs(margins[1] - margins[3]) <= 1
    assert 0 < min(margins) <= cutout.subject.width / 12


def test_cut_out_accepts_a_subject_at_the_border():
    picture, _ = drawn([("ellipse", (60, -80, 200, 150), "purple")])
    subject = cut_out(picture).subject
    assert subject.getpixel((subject.width // 2, 12))[3] > 200
    assert subject.getpixel((3, subject.height - 3))[3] == 0


def test_cut_out_keeps_a_white_subject_on_white():
    picture, _ = drawn([("ellipse", (50, 50, 200, 200), "#303030"), ("ellipse", (56, 56, 194, 194), "white")])
    subject = cut_out(picture).subject
    assert subject.getpixel((subject.width // 2, subject.height // 2)) == (255, 255, 255, 255)
    assert subject.getpixel((2, 2))[3] == 0


def test_cut_out_drops_specks():
    clean, _ = drawn([("rectangle", (80, 80, 180, 180), "red")])
    dirty, _ = drawn([("rectangle", (80, 80, 180, 180), "red"), ("rectangle", (5, 5, 9, 9), "grey")])
    assert cut_out(dirty) == cut_out(clean)


def test_cut_out_accepts_an_uneven_background():
    picture, _ = drawn([("ellipse", (60, 60, 200, 200), (20, 20, 90))], (230, 180, 90))
    noise = np.random.default_rng(0).normal(0, 8, (256, 256, 3))
    uneven = Image.fromarray((np.asarray(picture) + noise).clip(0, 255).astype(np.uint8))
    alpha = np.asarray(cut_out(uneven).subject.getchannel("A"))
    assert (alpha[:, [0, -1]] == 0).all()
    assert (alpha > 127).sum() == pytest.approx(np.pi * 70**2, rel=0.02)


def test_png_can_keep_the_background():
    picture, _ = drawn([("rectangle", (20, 70, 240, 130), "red")], "#f0a0c0", (256, 200))
    cutout = cut_out(picture)
    with (
        Image.open(io.BytesIO(cutout.png(128, transparent=False))) as kept,
        Image.open(io.BytesIO(cutout.png(128, True))) as cut,
    ):
        assert (kept.mode, cut.mode) == ("RGB", "RGBA")
        assert kept.getpixel((2, 2)) == kept.getpixel((125, 125)) == (240, 160, 192)
        assert cut.getpixel((2, 2))[3] == 0
        assert kept.getpixel((64, 64)) == cut.getpixel((64, 64))[:3] == (255, 0, 0)


@pytest.mark.parametrize(
    "picture",
    [
        Image.new("RGB", (200, 120), "teal"),
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (120, 200, 3), np.uint8)),
        Image.merge("RGB", [Image.linear_gradient("L").resize((200, 120))] * 3),
    ],
    ids=["nothing on it", "noise", "from black to white"],
)
def test_cut_out_takes_the_middle_without_a_plain_background(picture):
    cutout = cut_out(picture)
    assert cutout.subject is None
    assert cutout.picture.tobytes() == picture.crop((40, 0, 160, 120)).tobytes()
    with Image.open(io.BytesIO(cutout.png(128, transparent=True))) as opaque:
        assert opaque.mode == "RGB"


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (3, 2)])
def test_cut_out_accepts_tiny_pictures(size):
    assert cut_out(Image.new("RGB", size, "red")).png(128, transparent=True)


@pytest.mark.parametrize(("side", "kibibytes"), [(128, 256), (320, 512)])
def test_png_of_noise_fits_the_size_limits(side, kibibytes):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side, 4), np.uint8), "RGBA")
    assert len(Cutout(noise, noise.convert("RGB")).png(side, transparent=True)) <= kibibytes * 1024
