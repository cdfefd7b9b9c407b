import errno
import io
import os
import time

import pytest
from PIL import Image

from cogs.core.storage.images import SECONDS_PER_DAY, ImageMissingError, ImageNotStoredError, ImageStore


def files(image_store):
    return sorted(path for path in image_store.folder.rglob("*") if path.is_file())


async def test_save_stores_equal_pictures_once(tmp_path):
    image_store = ImageStore(tmp_path)
    name = await image_store.save(b"apple")
    assert await image_store.save(b"apple") == name
    assert await image_store.read(name) == b"apple"
    assert len(files(image_store)) == 1


@pytest.mark.parametrize("kind", ["png", "webp", "gif"])
async def test_save_names_files_after_their_format(tmp_path, kind):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, kind)
    image_store = ImageStore(tmp_path)
    assert await image_store.read(await image_store.save(buffer.getvalue())) == buffer.getvalue()
    assert [path.suffix for path in files(image_store)] == [f".{kind}"]


async def test_read_rejects_and_save_repairs_a_damaged_file(tmp_path):
    image_store = ImageStore(tmp_path)
    name = await image_store.save(b"apple")
    files(image_store)[0].write_bytes(b"app")
    with pytest.raises(ImageMissingError):
        await image_store.read(name)
    await image_store.save(b"apple")
    assert await image_store.read(name) == b"apple"


@pytest.mark.parametrize(("number", "words"), [(errno.ENOSPC, "full"), (errno.EIO, "cannot write")])
async def test_save_reports_a_full_disk_and_leaves_no_file(tmp_path, monkeypatch, number, words):
    def refuse(handle):
        raise OSError(number, os.strerror(number))

    image_store = ImageStore(tmp_path)
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", refuse)
        with pytest.raises(ImageNotStoredError, match=words):
            await image_store.save(b"apple")
    assert files(image_store) == []
    assert await image_store.read(await image_store.save(b"apple")) == b"apple"


async def test_prune_removes_the_oldest_files_not_in_use(tmp_path):
    image_store = ImageStore(tmp_path, max_bytes=20, max_days=30)
    names = [await image_store.save(b"%09d" % index) for index in range(5)]
    for age, name in zip((5, 4, 3, 2, 40), names, strict=True):
        os.utime(image_store._find(name), (time.time() - age * SECONDS_PER_DAY,) * 2)
    await image_store.prune(keep=names[:1])
    assert [image_store._find(name).exists() for name in names] == [True, False, True, True, False]


async def test_prune_removes_old_unfinished_files(tmp_path):
    image_store = ImageStore(tmp_path)
    path = image_store._find(await image_store.save(b"apple")).with_suffix(".tmp")
    path.write_bytes(b"ap")
    await image_store.prune()
    assert path.exists()
    os.utime(path, (time.time() - 2 * SECONDS_PER_DAY,) * 2)
    await image_store.prune()
    assert not path.exists() and len(files(image_store)) == 1
