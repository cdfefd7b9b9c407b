"""Packing a member's data into files of bounded size."""

import io
import random
import zipfile

import pytest

from cogs.core.storage.images import ImageStore
from cogs.privacy import export
from cogs.privacy.export import Export

LIMIT = 20_000


async def kept(image_store, count, size=3000):
    noise = random.Random(0)
    return [await image_store.save(b"\x89PNG" + noise.randbytes(size)) for _ in range(count)]


async def packed(*arguments):
    packing = Export(*arguments)
    return packing, [data async for data in packing]


def names_in(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return archive.namelist()


@pytest.fixture
def image_store(tmp_path):
    return ImageStore(tmp_path)


async def test_export_packs_documents_then_pictures_below_the_limit(image_store):
    names = await kept(image_store, 20)
    packing, parts = await packed({"requests.json": b"[]"}, names, image_store, LIMIT)
    assert all(len(part) <= LIMIT for part in parts) and len(parts) == 4
    entries = [name for part in parts for name in names_in(part)]
    assert entries == ["requests.json", *(f"pictures/{name}.png" for name in names)]
    assert (packing.left_out, packing.missing) == (0, 0)


async def test_export_leaves_out_the_oldest_pictures_first(image_store, monkeypatch):
    monkeypatch.setattr(export, "MAX_ZIP_PARTS", 2)
    names = await kept(image_store, 20)
    packing, parts = await packed({}, names, image_store, LIMIT)
    entries = [name for part in parts for name in names_in(part)]
    assert entries == [f"pictures/{name}.png" for name in names[: len(entries)]]
    assert len(parts) == 2 and packing.left_out == 20 - len(entries)


async def test_export_skips_a_picture_over_the_limit(image_store):
    names = [*await kept(image_store, 1, 30_000), *await kept(image_store, 2)]
    packing, parts = await packed({"requests.json": b"[]"}, names, image_store, LIMIT)
    assert packing.left_out == 1 and sum(len(names_in(part)) for part in parts) == 3


async def test_export_keeps_the_suffix_of_animations(image_store):
    name = await image_store.save(b"GIF8 and so on")
    _, (part,) = await packed({}, [name], image_store, LIMIT)
    assert names_in(part) == [f"pictures/{name}.gif"]


async def test_export_counts_missing_pictures(image_store):
    names = await kept(image_store, 3)
    await image_store.delete(names[:1])
    packing, (part,) = await packed({}, names, image_store, LIMIT)
    assert packing.missing == 1 and len(names_in(part)) == 2


async def test_export_without_pictures_is_one_file(image_store):
    _, (part,) = await packed({"settings.json": b"{}"}, [], image_store, LIMIT)
    assert names_in(part) == ["settings.json"]
