import io

import pytest
from PIL import Image

from diffusion.images.animation import decode_animation
from diffusion.images.io import to_png
from diffusion.images.timelapse import BRANCHES, MAX_FRAMES, animate_timelapse, branch_steps, encode_timelapse, step_sheet
from diffusion.request import ImageRequest
from diffusion.result import ImageResult

COLOURS = ["red", "lime", "blue", "white", "black"]


def asked(**settings):
    return ImageRequest("a fox", **{"width": 32, "height": 16, "steps": 5} | settings)


def coloured_timelapse(request, colours=COLOURS):
    """A timelapse of one plain colour a step, in every column."""
    strip = Image.new("RGB", (4, 2 * len(colours)))
    for row, colour in enumerate(colours):
        strip.paste(colour, (0, 2 * row, 4, 2 * row + 2))
    return encode_timelapse(ImageResult(request, (), request.seeds, 1.0, "tiny", (strip,) * request.count))


def played(request, timelapse):
    finished = to_png(Image.new("RGB", (64, 32), "yellow"))
    return decode_animation(animate_timelapse(timelapse, request, [finished] * request.count))


@pytest.mark.parametrize(("count", "size"), [(1, (256, 128)), (3, (384, 192))])
def test_animate_timelapse_ends_with_the_finished_pictures(count, size):
    frames, milliseconds = played(asked(count=count), coloured_timelapse(asked(count=count)))
    assert {frame.size for frame in frames} == {size}
    shown = [frame.getpixel((size[0] - 20, 20)) for frame in frames]
    for pixel, expected in zip(shown, [*COLOURS, "yellow"], strict=True):
        assert max(abs(a - b) for a, b in zip(pixel[:3], Image.new("RGB", (1, 1), expected).getpixel((0, 0)), strict=True)) < 12
    assert milliseconds[-1] > sum(milliseconds[:-1]) / 2
    assert len(set(milliseconds[:-1])) == 1


def test_animate_timelapse_numbers_steps_from_the_start_step():
    late, early = (
        played(asked(steps=steps, start_step=start), coloured_timelapse(asked())) for steps, start in ((15, 10), (5, 0))
    )
    assert late[0][0].tobytes() != early[0][0].tobytes()
    assert late[0][-1].tobytes() == early[0][-1].tobytes()


def test_animate_timelapse_enlarges_numbers_of_four_pictures():
    def height(count):
        request = asked(count=count, height=32)
        frames, _ = played(request, coloured_timelapse(request, ["white"] * 5))
        dark = frames[0].convert("L").point(lambda value: 255 * (value < 100)).getbbox()
        return dark[3] - dark[1]

    assert 1.3 < height(4) / height(1) < 1.7


def test_animate_timelapse_samples_very_many_steps():
    many = [(step, 255 - step, 0) for step in range(150)]
    frames, _ = played(asked(steps=150), coloured_timelapse(asked(steps=150), many))
    assert len(frames) == MAX_FRAMES + 1
    first, last = frames[0].getpixel((200, 20)), frames[-2].getpixel((200, 20))
    assert first[0] < 12 and last[0] > 137


@pytest.mark.parametrize("count", [1, 4])
def test_step_sheet_shows_each_step_to_branch_from(count):
    request = asked(count=count)
    sheet = Image.open(io.BytesIO(step_sheet(coloured_timelapse(request), request))).convert("RGB")
    assert sheet.size == (240, 120)  # four steps, each 120 wide
    places = [(30, 10), (150, 10), (30, 70), (150, 70)]
    for place, colour in zip(places, COLOURS[:4], strict=True):
        expected = Image.new("RGB", (1, 1), colour).getpixel((0, 0))
        assert max(abs(a - b) for a, b in zip(sheet.getpixel(place), expected, strict=True)) < 40
    assert step_sheet(coloured_timelapse(asked(steps=1), ["red"]), asked(steps=1)) == b""


def test_branch_steps_leaves_out_the_last_step():
    assert branch_steps(asked()) == [1, 2, 3, 4]
    assert branch_steps(asked(image=Image.new("RGB", (8, 8)), start_step=2)) == [3, 4]
    assert branch_steps(asked(steps=1)) == []


def test_branch_steps_fits_a_select_menu():
    steps = branch_steps(asked(steps=150))
    assert len(set(steps)) == BRANCHES and (steps[0], steps[-1]) == (1, 149)
    assert steps == sorted(steps)
