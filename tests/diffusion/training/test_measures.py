import pytest
import torch
from PIL import Image

from diffusion.training.measures import COPY_PSNR, diversity, nearest, velocity_loss
from diffusion.training.prompts import SEEN_SHEET, UNSEEN_SHEET
from diffusion.training.sheet import draw_grid

GREYS = [Image.new("RGB", (128, 128), (level,) * 3) for level in (0, 10, 200, 210)]


def test_velocity_loss_is_repeatable(run):
    device = torch.device("cpu")
    losses = {velocity_loss(run / "model", run / "latents", 6, device, batch_size=batch) for batch in (6, 6)}

    assert len(losses) == 1
    assert 0.1 < losses.pop() < 10


def test_diversity_compares_seeds_with_prompts():
    assert diversity(GREYS, 2) == pytest.approx(10 / 200, rel=1e-3)
    assert diversity([GREYS[0], GREYS[2], GREYS[0], GREYS[2]], 2) == pytest.approx(2, rel=1e-3)


def test_nearest_finds_copies():
    black, other = nearest([GREYS[0], Image.new("RGB", (128, 128), (150, 150, 150))], GREYS)

    assert black.index == 0 and black.psnr > COPY_PSNR
    assert other.index == 2 and other.psnr == pytest.approx(14.15, abs=0.01)  # 20 log10(255 / 50)


def test_draw_grid_shows_pictures_over_their_prompts():
    asked = []

    def generate(prompts, seeds):
        asked.extend(zip(prompts, seeds, strict=True))
        return [Image.new("RGB", (128, 128), (seed * 10, 0, 0)) for seed in seeds]

    sheet = draw_grid(generate)

    assert [prompt for prompt, _ in asked] == [*SEEN_SHEET, *UNSEEN_SHEET]
    assert sheet.getpixel((70, 70)) == (0, 0, 0)
    assert sheet.getpixel((70 + 7 * 134, 70)) == (70, 0, 0)
