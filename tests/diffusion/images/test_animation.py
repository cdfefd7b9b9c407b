import io

import pytest
from PIL import Image

from diffusion.images.animation import decode_animation, encode_animation, ping_pong
from diffusion.images.parameters import format_parameters, read_parameters, read_text_chunks
from diffusion.request import ANIMATION_NAMES, ImageRequest

FRAMES = [Image.new("RGB", (16, 8), colour) for colour in ("red", "lime", "blue")]
kinds = pytest.mark.parametrize("kind", ANIMATION_NAMES)


@kinds
def test_decode_animation_inverts_encode_animation(kind):
    frames, milliseconds = decode_animation(encode_animation(FRAMES, [100, 200, 300], kind))
    assert milliseconds == [100, 200, 300]
    for frame, shown in zip(FRAMES, frames, strict=True):
        assert max(abs(a - b) for a, b in zip(frame.tobytes(), shown.tobytes(), strict=True)) < 12


@kinds
def test_encode_animation_loops_forever(kind):
    with Image.open(io.BytesIO(encode_animation(FRAMES, [100] * 3, kind))) as image:
        assert image.info["loop"] == 0


@kinds
def test_encode_animation_keeps_the_parameters(kind):
    request = ImageRequest("grüner Apfel 🍏, round", morph_to='a "pear"\nof glass', count=12, animation=kind)
    data = encode_animation(FRAMES, [100] * 3, kind, format_parameters(request, 0, "tiny"))
    assert ImageRequest(**read_parameters(data), animation=kind) == request


@kinds
def test_read_text_chunks_ignores_damaged_animations(kind):
    data = encode_animation(FRAMES, [100] * 3, kind, "a fox")
    for length in range(0, len(data), 7):
        assert read_text_chunks(data[:length]).get("parameters", "a fox") == "a fox"


def test_encode_animation_keeps_transparency_of_one_frame():
    still = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    frames, _ = decode_animation(encode_animation([still], [0], lossless=True, exact=True))
    assert [frame.tobytes() for frame in frames] == [still.tobytes()]


def test_ping_pong_pauses_at_both_ends():
    frames, milliseconds = ping_pong(FRAMES, 900, 400)
    assert [FRAMES.index(frame) for frame in frames] == [0, 1, 2, 1]
    assert milliseconds == [700, 300, 700, 300]
    assert ping_pong(FRAMES[:2], 900, 0) == (FRAMES[:2], [450, 450])
