"""Pictures that would keep Pillow busy for minutes or hours: they are refused, and another process pays for finding out."""

import io
import re
import zlib

import pytest
from PIL import Image

from cogs.core.messages import attachments
from diffusion.errors import InvalidImageError
from tests.support.mutations import png_of


def jpeg(size=(8, 8), **options):
    buffer = io.BytesIO()
    Image.new("L", size, "gray").save(buffer, "JPEG", **options)
    return buffer.getvalue()


def many_segments():
    whole = jpeg()
    return whole[:2] + b"\xff\xe1\x00\x09Exif\0\0a" * 1_500_000 + whole[2:]


def many_scans():
    whole = jpeg((4000, 4000), progressive=True)
    last = [match.start() for match in re.finditer(b"\xff[\xc4\xda]", whole)][-2:]  # its table and itself
    return whole[:-2] + whole[last[0] : -2] * 2000 + whole[-2:]


def many_chunks():
    whole = png_of(b"IHDR", (8).to_bytes(4) * 2 + b"\x08\0\0\0\0")
    return whole + png_of(b"abCd", b"")[8:] * 1_700_000


def many_frames():
    header, frame = (3000).to_bytes(4) * 2, bytes(8) + (1).to_bytes(2) * 2 + bytes(2)
    row = zlib.compress(bytes(3000 * 376))  # of 1 bit a pixel
    chunks = [b"IHDR", header + b"\x01\0\0\0\0", b"acTL", (500).to_bytes(4) + bytes(4)]
    chunks += [b"fcTL", bytes(4) + header + frame, b"IDAT", row]
    for number in range(1, 999, 2):
        chunks += [b"fcTL", number.to_bytes(4) + header + frame, b"fdAT", (number + 1).to_bytes(4) + row]
    return png_of(*chunks, b"IEND", b"")


def many_pixels():
    rows = zlib.compress(bytes(6000 * (4 * 6000 + 1)), 1)
    return png_of(b"IHDR", (6000).to_bytes(4) * 2 + b"\x08\x06\0\0\0", b"IDAT", rows, b"IEND", b"")


@pytest.mark.parametrize(
    "bomb", [many_segments, many_scans, many_chunks, many_frames, many_pixels], ids=lambda bomb: bomb.__name__
)
async def test_probe_rejects_files_over_the_time_or_memory_limit(bomb, monkeypatch):
    monkeypatch.setattr(attachments, "PROBE_CPU_SECONDS", 1)
    monkeypatch.setattr(attachments, "PROBE_MEMORY_BYTES", 2**28)
    data = bomb()
    assert len(data) <= attachments.MAX_BYTES
    with pytest.raises(InvalidImageError, match="too much time or memory"):
        await attachments.probe(data)


@pytest.mark.parametrize("data", [b"", b"junk", jpeg(), jpeg()[:100], jpeg(progressive=True)])
async def test_probe_accepts_other_files(data):
    await attachments.probe(data)


async def test_probe_refuses_while_too_many_files_are_read(monkeypatch):
    monkeypatch.setattr(attachments, "PROBE_WAIT_SECONDS", 0.01)
    with pytest.raises(InvalidImageError, match="in a minute"):
        await attachments.probe(jpeg())
