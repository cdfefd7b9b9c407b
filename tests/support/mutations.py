"""Real small pictures of every format that can be read, and ways to break them."""

import io
import random
import struct
import zlib
from functools import cache

from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

SIZE = 24, 17
LARGEST = 300_000  # bytes of a broken picture
SIGNATURE = b"\x89PNG\r\n\x1a\n"
EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 5000, 65500, 2**31 - 1, 2**31, 2**32 - 1)


def png_of(*chunks):
    """A PNG of chunks: kind, data, kind, data and so on."""
    data = SIGNATURE
    for kind, content in zip(chunks[::2], chunks[1::2], strict=True):
        data += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return data


def chunks_of(png):
    """The chunks of a PNG, as `png_of` takes them, until one is torn."""
    chunks, at = [], len(SIGNATURE)
    while at + 12 <= len(png):
        (length,) = struct.unpack_from(">I", png, at)
        chunks += [png[at + 4 : at + 8], png[at + 8 : at + 8 + length]]
        at += 12 + length
    return chunks


def encode_image(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@cache
def seeds():
    """Pictures of all formats, colour modes and features that a member may attach, and some bombs."""
    drawn = Image.effect_mandelbrot(SIZE, (-2, -1, 1, 1), 50)
    colour = Image.merge("RGB", (drawn, drawn.rotate(180), drawn.transpose(Image.Transpose.FLIP_LEFT_RIGHT)))
    clear = colour.convert("RGBA")
    ImageDraw.Draw(clear).ellipse((3, 3, 12, 12), (0, 0, 0, 0))
    palette = colour.quantize(16)
    moving = {"save_all": True, "append_images": [colour.rotate(angle) for angle in (90, 180, 270)], "duration": 20}
    deep = drawn.convert("I;16").point(lambda value: value * 257)
    sideways, told = Image.Exif(), PngInfo()
    sideways[0x0112], sideways[0x010E] = 6, "a fox"
    told.add_text("parameters", "a fox\nSteps: 3, Sampler: Euler, Size: 32x32", zip=True)
    told.add_itxt("prompt", '{"3": {"class_type": "KSampler", "inputs": {"seed": 1}}}')
    pictures = {
        "png": (colour, "PNG", {"pnginfo": told}),
        "png alpha": (clear, "PNG", {"exif": sideways}),
        "png palette": (palette, "PNG", {"transparency": 3}),
        "png grey": (drawn, "PNG", {"transparency": 7, "icc_profile": b"profile" * 40}),
        "png 16": (deep, "PNG", {}),
        "png 1": (drawn.convert("1"), "PNG", {}),
        "png moving": (colour, "PNG", moving),
        "jpeg": (colour, "JPEG", {"exif": sideways, "comment": b"a fox"}),
        "jpeg progressive": (colour, "JPEG", {"progressive": True, "icc_profile": b"profile" * 40}),
        "jpeg cmyk": (colour.convert("CMYK"), "JPEG", {"subsampling": 2}),
        "jpeg grey": (drawn, "JPEG", {"restart_marker_blocks": 2}),
        "webp": (colour, "WEBP", {"exif": sideways}),
        "webp lossless": (clear, "WEBP", {"lossless": True}),
        "webp moving": (clear, "WEBP", moving),
        "avif": (colour, "AVIF", {"exif": sideways}),
        "avif alpha": (clear, "AVIF", {}),
        "avif moving": (colour, "AVIF", moving),
        "gif": (palette, "GIF", {"transparency": 3, "comment": b"a fox"}),
        "gif moving": (colour, "GIF", moving | {"loop": 0, "disposal": 2}),
        "bmp": (colour, "BMP", {}),
        "bmp palette": (palette, "BMP", {}),
    }
    found = {name: encode_image(image, kind, **options) for name, (image, kind, options) in pictures.items()}
    zeros = zlib.compress(bytes(30_000_000), 9)
    tiny = found["png"]
    header = struct.pack(">II", 6000, 6000) + b"\x08\x06\0\0\0"
    found |= {
        "bomb of pixels": png_of(b"IHDR", struct.pack(">II", 60_000, 60_000) + b"\x08\x02\0\0\0", b"IDAT", zeros),
        "bomb of a few": png_of(b"IHDR", header, b"IDAT", zeros, b"IEND", b""),
        "bomb of text": png_of(*chunks_of(tiny)[:-2], b"zTXt", b"parameters\0\0" + zeros, b"IEND", b""),
        "bomb of a profile": png_of(*chunks_of(tiny)[:2], b"iCCP", b"x\0\0" + zeros, *chunks_of(tiny)[2:]),
        "bomb in a gif": found["gif"].replace(struct.pack("<HH", *SIZE), b"\xff\xff\xff\xff"),
        "bomb in a jpeg": found["jpeg"].replace(struct.pack(">HH", *SIZE[::-1]), b"\xff\xdc\xff\xdc"),
        "bomb in a bmp": found["bmp"].replace(struct.pack("<II", *SIZE), struct.pack("<II", 2**31 - 1, 2**31 - 1)),
    }
    return found


def overwrite(data, chance):
    """Overwrite some bytes."""
    broken = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        broken[chance.randrange(len(broken))] = chance.randrange(256)
    return bytes(broken)


def truncate(data, chance):
    """Cut off the end."""
    return data[: chance.randrange(len(data))]


def splice(data, chance):
    """Replace the end by that of another picture."""
    other = seeds()[chance.choice(sorted(seeds()))]
    return data[: chance.randrange(len(data))] + other[chance.randrange(len(other)) :]


def repeat_piece(data, chance):
    """Repeat a piece many times, or drop it."""
    start, end = sorted(chance.randrange(len(data)) for _ in range(2))
    return data[:start] + data[start:end] * chance.choice((0, 2, 3, 100, 1000)) + data[end:]


def overwrite_number(data, chance):
    """Overwrite a number, such as a width or an offset, by an extreme one; most of those stand at the beginning."""
    layout = chance.choice(("<H", ">H", "<I", ">I"))
    number = struct.pack(layout, chance.choice(EXTREMES) % 2 ** (8 * struct.calcsize(layout)))
    at = chance.randrange(min(len(data), chance.choice((32, 64, len(data)))))
    return data[:at] + number + data[at + len(number) :]


def rearrange_chunks(data, chance):
    """Move, repeat, drop and change chunks of a PNG, with right checksums."""
    if not data.startswith(SIGNATURE):
        return overwrite(data, chance)
    chunks = chunks_of(data)
    pairs = [list(pair) for pair in zip(chunks[::2], chunks[1::2], strict=True)]
    for _ in range(chance.randint(1, 3)):
        if not pairs:
            break
        pair = chance.choice(pairs)
        pair[1] = overwrite_number(pair[1], chance) if pair[1] and chance.random() < 0.5 else pair[1]
        pairs.insert(chance.randrange(len(pairs) + 1), list(pair))
        pairs.pop(chance.randrange(len(pairs)))
    return png_of(*(part for pair in pairs for part in pair))


def insert_junk(data, chance):
    """Insert junk."""
    at = chance.randrange(len(data))
    return data[:at] + chance.randbytes(chance.choice((1, 10, 1000))) + data[at:]


MUTATIONS = (overwrite, truncate, splice, repeat_piece, overwrite_number, rearrange_chunks, insert_junk)


def break_picture(number):
    """Return the name of a seed and what became of it; the same for the same ``number``."""
    chance = random.Random(number)
    name = chance.choice(sorted(seeds()))
    data = seeds()[name]
    for _ in range(chance.choice((0, 1, 1, 1, 2, 4))):
        data = chance.choice(MUTATIONS)(data, chance)[:LARGEST] or chance.randbytes(50)
    return name, data
