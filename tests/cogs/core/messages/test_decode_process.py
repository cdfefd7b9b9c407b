"""The process that decodes: it returns pixels and texts, and pays for pictures that keep Pillow busy for minutes or hours."""

import contextlib
import io
import re
import sys
import zlib
from dataclasses import replace

import pytest
from PIL import Image

from cogs.core.messages import attachments, decode_process
from cogs.core.messages.decode_protocol import BrokenReplyError, read_reply
from diffusion.errors import InvalidImageError
from diffusion.images.decoding import decode_picture
from tests.support.cases import CASES
from tests.support.mutations import png_of

HEAD = b'{"guards": [], "mode": "%s", "image_size": %s, "size": [4, 4], "format": "PNG", "animated": false, "texts": {}}'


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


BOMBS = [many_segments, many_scans, many_chunks, many_frames, many_pixels]


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: bomb.__name__)
async def test_decode_sandboxed_bounds_the_time_and_memory_of_bombs(bomb, monkeypatch):
    monkeypatch.setattr(decode_process, "CPU_SECONDS", 1)
    monkeypatch.setattr(decode_process, "MEMORY_BYTES", 2**28)
    data = bomb()
    assert len(data) <= attachments.MAX_BYTES
    if bomb in (many_segments, many_frames):  # what makes these heavy is not needed for the pixels
        with contextlib.suppress(InvalidImageError):
            await decode_process.decode_sandboxed(data)
        return
    with pytest.raises(InvalidImageError, match=r"too much time or memory|damaged"):
        await decode_process.decode_sandboxed(data)


@pytest.mark.parametrize("data", [jpeg(), jpeg(progressive=True), *CASES.values()], ids=["jpeg", "progressive", *CASES])
async def test_decode_sandboxed_returns_what_decoding_returns(data):
    here, there = decode_picture(data), await decode_process.decode_sandboxed(data)
    assert there.image.mode == here.image.mode and there.image.tobytes() == here.image.tobytes()
    assert replace(there, image=here.image) == here


@pytest.mark.parametrize("data", [b"", b"junk", jpeg()[:100]])
async def test_decode_sandboxed_refuses_what_decoding_refuses(data):
    with pytest.raises(InvalidImageError) as here:
        decode_picture(data)
    with pytest.raises(InvalidImageError) as there:
        await decode_process.decode_sandboxed(data)
    assert str(there.value) == str(here.value)


async def test_decode_sandboxed_names_the_size_of_too_large_a_picture(monkeypatch):
    monkeypatch.setattr(decode_process, "MAX_PIXELS", 63)
    with pytest.raises(InvalidImageError, match=r"has 8x8 pixels\. The limit is 6.3e-05 million"):
        await decode_process.decode_sandboxed(jpeg())


async def test_decode_sandboxed_shrinks_large_pictures(monkeypatch):
    monkeypatch.setattr(decode_process, "MAX_RETURNED_PIXELS", 10_000)
    picture = await decode_process.decode_sandboxed(jpeg((400, 100)))
    assert picture.image.size == (200, 50) and picture.size == (400, 100)


async def test_decode_sandboxed_refuses_while_too_many_files_are_read(monkeypatch):
    monkeypatch.setattr(decode_process, "WAIT_SECONDS", 0.01)
    with pytest.raises(InvalidImageError, match="in a minute"):
        await decode_process.decode_sandboxed(jpeg())


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"no JSON",
        b"[" * 100_000,
        b'{"guards": []}',
        b'{"refusal": 99, "size": [1, 1]}',
        HEAD % (b"RGB", b"[4096, 4096]") + b"\n",
        HEAD % (b"RGB", b"[-4, -4]") + b"\n" + bytes(48),
        HEAD % (b"RGB", b"[4, 4]") + b"\n" + bytes(47),
        HEAD % (b"P", b"[4, 4]") + b"\n" + bytes(48),
    ],
    ids=lambda reply: reply[:20],
)
def test_read_reply_trusts_nothing(reply):
    with pytest.raises(BrokenReplyError):
        read_reply(io.BytesIO(reply), 100, 100)


def test_check_decoding_logs_the_guards(caplog):
    decode_process._reported.clear()
    with caplog.at_level("INFO"):
        decode_process.check_decoding()
    assert "empty environment" in caplog.text
    if sys.platform == "linux":
        assert "limits" in caplog.text


def test_check_decoding_logs_that_the_process_does_not_start(caplog, monkeypatch):
    monkeypatch.setattr(decode_process, "IMPORT_PATHS", ())
    decode_process.check_decoding()
    assert "refuses every attached picture" in caplog.text
