"""What goes over the wire is plain data, and what is not is refused."""

import asyncio
import json
import pickle
import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from diffusion import errors
from diffusion.cluster import schema
from diffusion.cluster.framing import (
    MAX_HEADER_BYTES,
    BrokenFrameError,
    decode_frame,
    decode_image,
    encode_frame,
    encode_image,
    read_frame,
)
from diffusion.cluster.headers import format_routing_key, parse_routing_key
from diffusion.errors import DarkroomError, InvalidRequestError
from diffusion.images.masks import box_mask
from diffusion.request import ImageRequest, Limits
from diffusion.result import Progress
from diffusion.serving.latency import Step
from diffusion.text import plural

PICTURE = Image.linear_gradient("L").resize((32, 32)).convert("RGB")
MAX_BYTES = 1 << 20


def stream(data):
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return reader


@given(st.dictionaries(st.text(), st.integers() | st.text()), st.lists(st.binary(max_size=100), max_size=4))
def test_decode_frame_inverts_encode_frame(head, files):
    head.pop("files", None)
    data = encode_frame(head, files)
    assert decode_frame(data, MAX_BYTES) == (head, files)
    assert asyncio.run(read_frame(Reader(data), MAX_BYTES)) == (head, files)


class Reader:
    """Returns bytes without a running loop."""

    def __init__(self, data):
        self.data = data

    async def readexactly(self, n):
        if n > len(self.data):
            raise asyncio.IncompleteReadError(self.data, n)
        taken, self.data = self.data[:n], self.data[n:]
        return taken


@given(st.binary(max_size=200))
def test_decode_frame_rejects_other_bytes(data):
    with pytest.raises(BrokenFrameError):
        decode_frame(struct.pack(">I", len(data)) + data, MAX_BYTES)
    with pytest.raises((BrokenFrameError, asyncio.IncompleteReadError)):
        asyncio.run(read_frame(Reader(data), MAX_BYTES))


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">I", MAX_HEADER_BYTES + 1) + b"x" * 10,
        encode_frame({}, [b"x" * (MAX_BYTES + 1)]),
        encode_frame({})[:-1],
        struct.pack(">I", 14) + b'{"files":[-1]}',
        pickle.dumps(ImageRequest("a fox")),
    ],
)
def test_decode_frame_rejects_large_and_broken_frames(data):
    with pytest.raises(BrokenFrameError):
        decode_frame(data, MAX_BYTES)
    with pytest.raises((BrokenFrameError, asyncio.IncompleteReadError)):
        asyncio.run(read_frame(Reader(data), MAX_BYTES))


@pytest.mark.parametrize(
    "request_",
    [
        ImageRequest("a fox", "blurry", 32, 24, 12, 3.1, "heun", 2**32 - 1, 2),
        ImageRequest("a fox", branches=((3, "a dog"), (5, "a cat")), guidance_interval=(0.25, 0.8)),
        ImageRequest("a fox", variants=("a fox", "a dog"), count=4, upscale=2, guide_label="animal", label_scale=3.3),
        ImageRequest("a fox", morph_to="a dog", count=9, animation="gif"),
    ],
)
def test_decode_request_inverts_encode_request(request_):
    frame = decode_frame(encode_frame(*schema.encode_request(request_, 7)), MAX_BYTES)
    assert schema.decode_request(frame, Limits()) == (request_, 7, False)


def test_encode_request_fits_pictures_to_the_requested_size():
    mask = box_mask(PICTURE.size, (0, 0, 16, 32))
    asked = ImageRequest("a fox", width=16, height=32, image=PICTURE, mask=mask, start_step=3)
    request, *_ = schema.decode_request(decode_frame(encode_frame(*schema.encode_request(asked, None)), MAX_BYTES), Limits())
    assert (request.image.size, request.image.mode, request.mask.size, request.mask.mode) == ((16, 32), "RGB", (16, 32), "L")
    assert replace(request, image=None, mask=None) == replace(asked, image=None, mask=None)
    assert decode_image(encode_image(PICTURE)).tobytes() == PICTURE.tobytes()


def test_encode_request_keeps_the_shape_of_a_picture_to_edit():
    asked = ImageRequest("make it night", width=16, height=32, image=PICTURE.resize((1600, 400)), is_edit=True)
    frame = decode_frame(encode_frame(*schema.encode_request(asked, None)), MAX_BYTES)
    request, *_ = schema.decode_request(frame, Limits(side=64))
    assert (request.image.size, request.is_edit) == ((1600, 400), True)
    large = asked.replace(image=PICTURE.resize((4000, 1000)))
    frame = decode_frame(encode_frame(*schema.encode_request(large, None)), MAX_BYTES)
    assert schema.decode_request(frame, Limits(side=64))[0].image.size == (2048, 512)


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt": 5},
        {"steps": "many"},
        {"seed": None},
        {"unknown": 1},
        {"branches": [[1]]},
        {"width": 1e400},
        {"prompt": ["a"]},
    ],
)
def test_decode_request_rejects_other_types(changes):
    head, files = schema.encode_request(ImageRequest("a fox"), None)
    head["settings"] |= changes
    with pytest.raises(InvalidRequestError, match="Please send your request again"):
        schema.decode_request((json.loads(json.dumps(head)), files), Limits())


@pytest.mark.parametrize(
    "head",
    [{}, {"settings": {"prompt": "a"}}, {"settings": {"prompt": "a"}, "pictures": ["prompt"], "owner": None}, {"owner": []}],
)
def test_decode_request_rejects_missing_fields(head):
    with pytest.raises(InvalidRequestError, match="Please send your request again"):
        schema.decode_request((head, [encode_image(PICTURE)]), Limits())


def test_messages_of_newer_replicas_ignore_unknown_fields():
    told = schema.encode_progress(Progress(None, 3, 20), (), None, [])[0]["progress"]
    assert schema.ProgressMessage.model_validate(told | {"newer": 1}).completed == 3
    refused = schema.encode_error(errors.NotFiniteError())[0]["error"]
    assert type(schema.ErrorMessage.model_validate(refused | {"newer": 1}).error()) is errors.NotFiniteError
    head = {"seconds": 1.0, "model": "tiny", "pictures": 1, "newer": 1}
    assert schema.decode_result(head, [encode_image(PICTURE)], ImageRequest("a fox"), None).model == "tiny"


def test_decode_request_rejects_a_picture_listed_twice():
    head, files = schema.encode_request(ImageRequest("a fox", image=PICTURE), None)
    with pytest.raises(InvalidRequestError, match="Please send your request again"):
        schema.decode_request((head | {"pictures": ["image"] * 9}, files * 9), Limits())


def test_decode_request_validates_settings():
    head, files = schema.encode_request(ImageRequest("a fox"), None)
    head["settings"]["steps"] = 0
    with pytest.raises(InvalidRequestError, match="At least 1 step"):
        schema.decode_request((head, files), Limits())


def test_encode_progress_sends_changed_previews_only():
    first, second, third = (Image.new("RGB", (4, 4), colour) for colour in ("red", "green", "blue"))
    frame = schema.encode_progress(Progress(None, 3, 20, (first, second)), (first,), 1.5, [Step((1, 4, 8, 8), 4, 0.1)])
    assert len(frame[1]) == 1
    said = schema.ProgressMessage.model_validate(json.loads(json.dumps(frame[0]["progress"])))
    progress = said.progress([first], frame[1])
    assert [preview.tobytes() for preview in progress.previews] == [first.tobytes(), second.tobytes()]
    assert (progress.place, progress.completed, progress.total, said.seconds) == (None, 3, 20, 1.5)
    assert list(said.measured_steps()) == [Step((1, 4, 8, 8), 4, 0.1)]
    assert schema.encode_progress(Progress(None, 4, 20, (third, second)), (first, second), None, [])[0]["progress"][
        "changed"
    ] == [0]


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequestError("guidance_scale", "The {field} must be a number from {least} to {most}.", least=0, most=50),
        errors.NotFiniteError(),
        errors.OutOfMemoryError(),
        errors.QueueFullError("{most} pictures are waiting.", most=3),
        errors.QueueFullError(plural("{most} picture is waiting.", "{most} pictures are waiting.", by="most"), most=1),
        errors.GenerationError("Something went wrong."),
    ],
)
def test_error_message_rebuilds_the_same_error(error):
    head, _ = decode_frame(encode_frame(*schema.encode_error(error)), MAX_BYTES)
    other = schema.ErrorMessage.model_validate(head["error"]).error()
    assert (type(other), str(other), other.template, other.values) == (type(error), str(error), error.template, error.values)
    assert getattr(other, "field", None) == getattr(error, "field", None)


@pytest.mark.parametrize("kind", ["Any", "Text", "SystemExit", "__import__", ""])
def test_error_message_rebuilds_known_errors_only(kind):
    error = schema.ErrorMessage(kind=kind, template="Something.", values={}).error()
    assert type(error) is errors.GenerationError and isinstance(error, DarkroomError)


def test_parse_routing_key_inverts_format_routing_key():
    assert parse_routing_key(format_routing_key((1, 4, 16, 16), 80)) == ((1, 4, 16, 16), 80)
    assert {parse_routing_key(text) for text in ("", "x", "1x2", "axb 3", "1x2 many")} == {((), 0)}
