import json

import pytest
from PIL import Image, ImageDraw

from diffusion.training.steering import GUIDANCE_SCALES, SCALES, draw_steering, measure


class Namer:
    """Names every picture alike."""

    def name(self, images):
        return ["fox"] * len(images)


def disc(colour):
    image = Image.new("RGB", (128, 128), "white")
    ImageDraw.Draw(image).ellipse((20, 20, 108, 108), colour)
    return image


def test_measure_steering_rises_with_the_scale(pictures, tmp_path):
    def steer(label, scale, guidance_scale, seeds):
        obeys = scale >= 4 and label in ("red", "blue")
        return [disc({"red": (220, 20, 30), "blue": (30, 60, 220)}[label] if obeys else (30, 200, 60)) for _ in seeds]

    curves = measure(steer, Namer(), pictures, seeds=2)
    draw_steering(curves, tmp_path)

    assert set(curves) == {"groups", "colours"}
    for way in GUIDANCE_SCALES:
        assert curves["groups"][way] == dict.fromkeys(SCALES, pytest.approx(1 / 9))  # an animal, whatever was asked
        assert curves["colours"][way][0] == curves["colours"][way][2] == pytest.approx(1 / 11)  # green
        assert curves["colours"][way][40] == pytest.approx(3 / 11)
    assert json.loads((tmp_path / "steering.json").read_text())["colours"]["alone"]["40.0"] == pytest.approx(3 / 11)
    with Image.open(tmp_path / "steering.png") as figure:
        assert figure.width == 880
