import math

import pytest
from PIL import Image

from diffusion.training.curve import PowerLaw, draw_curve, read_points


def test_power_law_fit_recovers_its_parameters():
    law = PowerLaw.fit([1e5, 2e5, 8e5], [1 - 30 * n**-0.4 for n in (1e5, 2e5, 8e5)])

    assert (law.factor, law.exponent) == pytest.approx((30, -0.4))
    assert law.share(law.latents(0.9)) == pytest.approx(0.9)


def test_power_law_without_improvement_needs_infinite_latents():
    assert PowerLaw.fit([1e5, 2e5], [0.5, 0.4]).latents(0.9) == math.inf


def test_draw_curve_reads_the_training_log(tmp_path):
    rows = ["10\t1000\t.1\t.2\t.3\t.4\t.1\t.2\t.3\t.1", "20\t4000\t.3\t.5\t.3\t.4\t.1\t.2\t.3\t.3"]
    (tmp_path / "recognition.tsv").write_text("\n".join(rows) + "\n")

    points = read_points(tmp_path / "recognition.tsv")
    assert read_points(tmp_path / "recognition.tsv", 500)["seen, first"] == [(1500, 0.1), (4500, 0.3)]
    reached = draw_curve(points, tmp_path / "curve.png")

    assert points["unseen, both right"] == [(1000, 0.1), (4000, 0.3)]
    assert reached["seen, first five"] == pytest.approx(1000 * (0.8 / 0.1) ** (math.log(4) / math.log(0.8 / 0.5)))
    with Image.open(tmp_path / "curve.png") as figure:
        assert figure.size == (770, 440)
