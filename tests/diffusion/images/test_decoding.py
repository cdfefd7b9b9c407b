import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from diffusion.errors import InvalidImageError
from diffusion.images.decoding import decode_picture, decode_texts
from diffusion.images.exif import decode_user_comment
from tests.support.cases import CASES
from tests.support.mutations import png_of

WIDE = Image.new("RGB", (20, 10), "red")
TIFF_TYPES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 99: 4}  # bytes each


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(order="<", orientation_type=3, kinds=TIFF_TYPES, count=3):
    """An EXIF block by hand: turned by 90 degrees, with a tag of every type, each full of bytes that mean nothing."""
    value = struct.pack(order + "H", 6) + b"\0\0" if orientation_type == 3 else struct.pack(order + "I", 6)
    entries = [struct.pack(order + "HHI", 0x0112, orientation_type, 1) + value]
    offset = 8 + 2 + 12 * (1 + len(kinds)) + 4
    tail = b""
    for number, (kind, size) in enumerate(kinds.items()):
        entries.append(struct.pack(order + "HHII", 0x0130 + number, kind, count, offset + len(tail)))
        tail += b"\xff\0" * (count * size)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(entries))
    return b"Exif\0\0" + head + b"".join(entries) + bytes(4) + tail


@pytest.mark.filterwarnings("ignore")  # Pillow's, of damage
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("orientation_type", [3, 4])
def test_decode_picture_turns_upright_beside_exif_of_every_type(kind, order, orientation_type):
    data = encoded(WIDE, kind, exif=exif(order, orientation_type))
    picture = decode_picture(data)
    assert picture.size == picture.image.size == (10, 20)


@pytest.mark.filterwarnings("ignore")  # Pillow's, of damage
@pytest.mark.parametrize("block", [exif("<")[6:], exif(">")[6:], b"junk" * 20], ids=["little endian", "big endian", "junk"])
def test_decode_picture_turns_an_avif_upright_beside_damaged_exif(block):
    good = Image.Exif()
    good[0x0112], good[0x010E] = 6, "x" * 2000  # orientation and description
    data = encoded(WIDE, "AVIF", exif=good)
    start = max(data.find(b"II*\0"), data.find(b"MM\0*"))
    assert decode_picture(data[:start] + block + data[start + len(block) :]).size == (10, 20)


@pytest.mark.parametrize(
    "block", [b"", b"Exif\0\0", b"junk", exif()[:20], exif()[:40], exif(count=2**20)[:300], b"Exif\0\0II*\0" + b"\xff" * 9]
)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_decode_picture_ignores_damaged_exif(kind, block):
    assert decode_picture(encoded(WIDE, kind, exif=block)).image.size in ((20, 10), (10, 20))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF"])
def test_decode_picture_ignores_damaged_profiles(kind):
    colour = decode_picture(encoded(WIDE, kind, icc_profile=b"profile" * 40)).image.getpixel((3, 3))
    assert colour[0] > 250 and max(colour[1:]) < 5


def test_decode_picture_converts_profiles_to_srgb():
    assert decode_picture(CASES["icc_swapped.png"]).image.getpixel((3, 3)) == (255, 0, 0)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    drawn = Image.effect_mandelbrot((64, 64), (-2, -1, 1, 1), 50)
    colours = Image.merge("RGB", (drawn, drawn.rotate(90), drawn.rotate(180)))
    read = decode_picture(encoded(colours, icc_profile=srgb)).image
    assert np.abs(np.asarray(read).astype(int) - np.asarray(colours)).max() <= 1


@pytest.mark.parametrize("mode", ["L", "LA", "P", "CMYK", "1", "RGBA"])
def test_decode_picture_ignores_a_profile_of_another_colour_space(mode):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    kind = "JPEG" if mode == "CMYK" else "PNG"
    picture = decode_picture(encoded(WIDE.convert(mode), kind, icc_profile=srgb))
    plain = decode_picture(encoded(WIDE.convert(mode), kind))
    assert np.abs(np.asarray(picture.image).astype(int) - np.asarray(plain.image)).max() <= 1


@pytest.mark.parametrize("name", CASES)
def test_decode_picture_reads_whatever_a_browser_shows(name):
    picture = decode_picture(CASES[name])
    assert picture.format == ("AVIF" if name.endswith("avif") else "PNG")
    assert min(picture.size) >= 8


def test_decode_picture_reads_texts_beside_damage():
    assert decode_picture(CASES["text_badcrc.png"]).texts == {"abc": "def"}
    assert len(decode_picture(CASES["ztxt_1500k.png"]).texts["workflow"]) == 1_500_008


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP"])
def test_decode_picture_goes_by_the_content_alone(kind):
    picture = decode_picture(encoded(WIDE, kind))
    assert picture.format == kind and picture.size == (20, 10) and not picture.animated


@pytest.mark.parametrize(
    "data",
    [
        encoded(WIDE, "PNG")[:-12],
        encoded(WIDE, "PNG") + b"junk",
        encoded(WIDE, "JPEG") + b"junk",
        encoded(WIDE, "MPO", save_all=True, append_images=[WIDE]),
        encoded(WIDE, "GIF")[:-1],
        encoded(WIDE, "WEBP") + b"junk",
        encoded(WIDE, "WEBP", exif=b"junk" * 20)[:-20],
    ],
    ids=[
        "PNG without end",
        "PNG and more",
        "JPEG and more",
        "photo of two",
        "GIF without end",
        "WebP and more",
        "WebP with torn EXIF",
    ],
)
def test_decode_picture_reads_files_whose_end_is_unusual(data):
    assert decode_picture(data).size == (20, 10)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "AVIF"])
def test_decode_picture_says_what_is_animated(kind):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    picture = decode_picture(encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=50))
    assert picture.animated and picture.image.getpixel((3, 3))[0] > 240


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "CMYK"])
def test_decode_picture_shrinks_in_proportion(mode):
    kind = "JPEG" if mode == "CMYK" else "PNG"
    picture = decode_picture(encoded(Image.new(mode, (400, 100)), kind), shrink_to=10_000)
    assert picture.image.size == (200, 50) and picture.size == (400, 100)


def test_decode_picture_keeps_the_colours_below_transparency_when_it_shrinks():
    picture = decode_picture(encoded(Image.new("RGBA", (400, 100), (9, 99, 199, 0))), shrink_to=10_000)
    assert picture.image.getpixel((5, 5)) == (9, 99, 199, 0)


def test_decode_picture_refuses_damaged_pixels_beside_whole_metadata():
    data = CASES["iccp_1400k.png"]
    start = data.index(b"IDAT") + 4
    with pytest.raises(InvalidImageError, match="damaged"):
        decode_picture(data[: start + 5] + b"\xff\xff\xff" + data[start + 8 :])


def test_decode_picture_bounds_all_texts_of_a_file():
    chunks = [part for number in range(60) for part in (b"tEXt", b"k%d\0" % number + b"x" * 100_000)]
    plain = encoded(WIDE)
    texts = decode_picture(plain[:33] + png_of(*chunks)[8:] + plain[33:]).texts
    assert sum(map(len, texts.values())) == 4_000_000


def test_decode_texts_reads_files_whose_pixels_are_torn():
    data = CASES["text_badcrc.png"]
    assert decode_texts(data[: data.index(b"IDAT") + 9])[0] == {"abc": "def"}
    assert decode_texts(b"junk") == ({}, None)


@pytest.mark.parametrize(
    "data",
    [
        b"UNICODE\0" + "a fox, Grün 狐".encode("utf-16-be"),
        b"UNICODE\0" + "a fox, Grün 狐".encode("utf-16-le"),
        b"UNICODE\0" + "a fox, Grün 狐".encode("utf-16"),
        b"ASCII\0\0\0" + "a fox, Grün 狐".encode(),
        bytes(8) + "a fox, Grün 狐".encode(),
        "a fox, Grün 狐".encode(),
    ],
    ids=["big endian", "little endian", "byte order mark", "marked ASCII", "marked as unknown", "not marked"],
)
def test_decode_user_comment_reads_every_encoding(data):
    assert decode_user_comment(data) == "a fox, Grün 狐"
