import contextlib
from types import SimpleNamespace

import discord
import pytest

from cogs.core.messages import attachments
from cogs.core.messages.attachments import CHUNK_BYTES, PostedFile, hides_any, read_from_cdn
from diffusion.errors import InvalidImageError
from tests.support.messages import private_text


class Endless:
    """An HTTP client whose files have no end; ``read`` counts their bytes."""

    proxy = proxy_auth = None

    def __init__(self, status=200):
        self.read = 0
        self._HTTPClient__session = SimpleNamespace(get=self.get)
        self.response = SimpleNamespace(status=status, reason="", content=self)

    @contextlib.asynccontextmanager
    async def get(self, url, **options):
        yield self.response

    async def iter_chunked(self, size):
        while True:
            self.read += size
            yield bytes(size)


async def test_read_from_cdn_stops_at_its_limit():
    http = Endless()
    with pytest.raises(InvalidImageError, match="larger than 1 MiB"):
        await read_from_cdn(http, "https://cdn.discordapp.com/x.png", 2**20)
    assert http.read <= 2**20 + CHUNK_BYTES


@pytest.mark.parametrize("status", [403, 404, 500])
async def test_read_from_cdn_raises_for_an_error(status):
    with pytest.raises(discord.HTTPException):
        await read_from_cdn(Endless(status), "https://cdn.discordapp.com/x.png")


async def test_pictures_of_unknown_size_are_limited_while_they_arrive(server, monkeypatch):
    made = await server.alice.slash(server.channel, "imagine", prompt="red apple", steps=2)
    await server.until_finished(made.response)
    monkeypatch.setattr(attachments, "MAX_BYTES", 100)
    result = await server.bob.context_menu(server.channel, "More like this", made.response)
    assert "larger than" in private_text(result)


@pytest.mark.parametrize(
    ("name", "content_type", "expected"),
    [
        ("in.png", "image/png", True),
        ("photo.jfif", "image/jpeg", True),
        ("picture", "", True),
        ("picture", "application/octet-stream", True),
        ("in.avif", "image/avif", True),
        ("notes.txt", "text/plain; charset=utf-8", False),
        ("in.png", "video/mp4", False),
        ("song.mp3", "", False),
    ],
)
def test_may_be_picture_goes_by_discords_word_before_the_name(name, content_type, expected):
    assert PostedFile(name, "", 0, None, content_type).may_be_picture is expected


def test_hides_any_finds_a_hidden_file():
    shown, hidden = PostedFile("a.png", "", 0, None), PostedFile("b.png", "", 0, None, spoiler=True)
    assert hides_any(shown, None, hidden) and not hides_any(shown, None)
