"""Pictures of every format, broken in every way: each is read or refused. ``--fuzz 10000 -s`` for the long form."""

import io
import math
import re
import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cogs.core.messages.decode_process import decode_sandboxed
from diffusion.errors import DarkroomError, InvalidImageError
from diffusion.images.decoding import MAX_PIXELS, decode_picture
from diffusion.images.io import read_image
from diffusion.images.masks import read_mask, read_masked
from diffusion.images.metadata.registry import read_recipe
from diffusion.images.parameters import read_parameters
from diffusion.request import ImageRequest
from tests.support.memory import MIB, Memory
from tests.support.mutations import break_picture, seeds

# The largest picture that is read, with four bytes a pixel, in four copies: two are WebP's decoder's, one is turned upright.
MAX_GROWTH = 4 * 4 * MAX_PIXELS + 40 * MIB


def pixels(data):
    image = read_image(data)
    assert isinstance(image, Image.Image) and image.mode == "RGB" and image.width * image.height <= MAX_PIXELS


def reuse(data):
    ImageRequest(**read_parameters(data))


READERS = (pixels, read_masked, read_mask, reuse, read_recipe)


@pytest.mark.parametrize("name", sorted(seeds()))
def test_readers_accept_whole_pictures_and_reject_bombs(name):
    if "bomb" in name and name not in ("bomb of text", "bomb of a profile"):
        with pytest.raises(InvalidImageError):
            read_image(seeds()[name])
    elif "bomb" not in name:
        assert max(read_image(seeds()[name]).size) == 24


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("reader", [read_image, read_masked, read_mask])
def test_read_image_bounds_the_memory_of_the_largest_picture(kind, reader):
    side, file = math.isqrt(MAX_PIXELS), io.BytesIO()
    Image.new("RGBA", (side, side)).save(file, kind, lossless=True)
    with Memory() as memory:
        reader(file.getvalue())
    assert memory.growth < MAX_GROWTH


@pytest.mark.filterwarnings("ignore")  # Pillow's, of damage
def test_readers_bound_time_and_memory_of_broken_pictures():
    outcomes, reasons, slowest = Counter(), set(), (0.0, "")

    @given(st.integers(0, 2**64))
    def read(number):
        nonlocal slowest
        name, data = break_picture(number)
        began = time.thread_time()
        for reader in READERS:
            try:
                reader(data)
                outcomes[reader.__name__, "read"] += 1
            except DarkroomError as refusal:
                outcomes[reader.__name__, "refused"] += 1
                reasons.add(str(refusal))
        slowest = max(slowest, (time.thread_time() - began, name))

    seeds()
    with Memory() as memory:
        read()
    print(f"\n{sum(outcomes.values())} readings of broken pictures:", end=" ")
    print(", ".join(f"{reader} {count} {what}" for (reader, what), count in sorted(outcomes.items())))
    print(f"slowest picture {slowest[0]:.2f} s ({slowest[1]}), memory {memory}")
    assert memory.growth < MAX_GROWTH
    assert all(reason and "\n" not in reason for reason in reasons)


@pytest.mark.filterwarnings("ignore")  # Pillow's, of damage
async def test_decode_sandboxed_reads_what_readers_read():
    for number in range(5):
        data = break_picture(number)[1]
        try:
            here = decode_picture(data)
        except InvalidImageError as refusal:
            sentence = str(refusal)
            with pytest.raises(InvalidImageError, match=re.escape(sentence)):
                await decode_sandboxed(data)
        else:
            assert (await decode_sandboxed(data)).image.tobytes() == here.image.tobytes()
