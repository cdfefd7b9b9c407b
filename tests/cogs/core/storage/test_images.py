import errno
import io
import os
import time

import pytest
from PIL import Image

from cogs.core.storage.images import DAY, Gallery, NotKept, PictureGone


def files(gallery):
    return sorted(path for path in gallery.folder.rglob("*") if path.is_file())


async def test_the_same_picture_is_kept_once(tmp_path):
    gallery = Gallery(tmp_path)
    name = await gallery.keep(b"apple")
    assert await gallery.keep(b"apple") == name
    assert await gallery.read(name) == b"apple"
    assert len(files(gallery)) == 1


@pytest.mark.parametrize("kind", ["png", "webp", "gif"])
async def test_a_file_is_named_after_what_it_is(tmp_path, kind):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, kind)
    gallery = Gallery(tmp_path)
    assert await gallery.read(await gallery.keep(buffer.getvalue())) == buffer.getvalue()
    assert [path.suffix for path in files(gallery)] == [f".{kind}"]


async def test_a_torn_picture_is_noticed_and_written_anew(tmp_path):
    gallery = Gallery(tmp_path)
    name = await gallery.keep(b"apple")
    files(gallery)[0].write_bytes(b"app")
    with pytest.raises(PictureGone):
        await gallery.read(name)
    await gallery.keep(b"apple")
    assert await gallery.read(name) == b"apple"


@pytest.mark.parametrize(("number", "words"), [(errno.ENOSPC, "full"), (errno.EIO, "cannot write")])
async def test_a_full_disk_is_told_leaves_nothing_and_is_recovered_from(tmp_path, monkeypatch, number, words):
    def refuse(handle):
        raise OSError(number, os.strerror(number))

    gallery = Gallery(tmp_path)
    with monkeypatch.context() as full, pytest.raises(NotKept, match=words):
        full.setattr(os, "fsync", refuse)
        await gallery.keep(b"apple")
    assert files(gallery) == []
    assert await gallery.read(await gallery.keep(b"apple")) == b"apple"


async def test_the_oldest_give_way_but_not_what_is_needed(tmp_path):
    gallery = Gallery(tmp_path, max_bytes=20, max_days=30)
    names = [await gallery.keep(b"%09d" % index) for index in range(5)]
    for age, name in zip((5, 4, 3, 2, 40), names, strict=True):
        os.utime(gallery._found(name), (time.time() - age * DAY,) * 2)
    await gallery.prune(needed=names[:1])
    assert [gallery._found(name).exists() for name in names] == [True, False, True, True, False]


async def test_what_a_crash_left_half_written_goes_in_time(tmp_path):
    gallery = Gallery(tmp_path)
    path = gallery._found(await gallery.keep(b"apple")).with_suffix(".tmp")
    path.write_bytes(b"ap")
    await gallery.prune()
    assert path.exists()
    os.utime(path, (time.time() - 2 * DAY,) * 2)
    await gallery.prune()
    assert not path.exists() and len(files(gallery)) == 1
