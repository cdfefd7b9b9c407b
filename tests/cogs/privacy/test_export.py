"""Packing a member's data into files of bounded size."""

import io
import random
import zipfile

import pytest

from cogs.core.storage.images import ImageStore
from cogs.core.storage.personal_data import Document
from cogs.privacy import export
from cogs.privacy.export import Export

LIMIT = 20_000


async def kept(image_store, count, size=3000):
    noise = random.Random(0)
    return [await image_store.save(b"\x89PNG" + noise.randbytes(size)) for _ in range(count)]


async def packed(names, image_store, limit, data=b"[]"):
    async def documents():
        yield Document("requests.json", data, tuple(names))

    packing = Export(documents(), image_store, limit)
    return packing, [part async for part in packing]


def names_in(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return archive.namelist()


@pytest.fixture
def image_store(tmp_path):
    return ImageStore(tmp_path)


async def test_export_packs_documents_then_pictures_below_the_limit(image_store):
    names = await kept(image_store, 20)
    packing, parts = await packed(names, image_store, LIMIT)
    assert all(len(part) <= LIMIT for part in parts) and len(parts) == 4
    entries = [name for part in parts for name in names_in(part)]
    assert entries == ["requests.json", *(f"pictures/{name}.png" for name in names)]
    assert (packing.left_out, packing.missing) == (0, 0)


async def test_export_leaves_out_the_oldest_pictures_first(image_store, monkeypatch):
    monkeypatch.setattr(export, "MAX_ZIP_PARTS", 2)
    names = await kept(image_store, 20)
    packing, parts = await packed(names, image_store, LIMIT)
    entries = [name for part in parts for name in names_in(part)]
    assert entries[1:] == [f"pictures/{name}.png" for name in names[: len(entries) - 1]]
    assert len(parts) == 2 and packing.left_out == 21 - len(entries)


async def test_export_skips_a_picture_over_the_limit(image_store):
    names = [*await kept(image_store, 1, 30_000), *await kept(image_store, 2)]
    packing, parts = await packed(names, image_store, LIMIT)
    assert packing.left_out == 1 and sum(len(names_in(part)) for part in parts) == 3


async def test_export_keeps_the_suffix_of_animations(image_store):
    name = await image_store.save(b"GIF8 and so on")
    _, (part,) = await packed([name], image_store, LIMIT)
    assert names_in(part) == ["requests.json", f"pictures/{name}.gif"]


async def test_export_counts_missing_pictures(image_store):
    names = await kept(image_store, 3)
    await image_store.delete(names[:1])
    packing, (part,) = await packed(names, image_store, LIMIT)
    assert packing.missing == 1 and len(names_in(part)) == 3


async def test_export_without_pictures_is_one_file(image_store):
    _, (part,) = await packed([], image_store, LIMIT)
    assert names_in(part) == ["requests.json"]


async def test_export_begins_another_file_for_a_long_document(image_store):
    async def documents():
        for number in range(4):
            yield Document(f"requests-{number}.json", random.Random(number).randbytes(9000))

    parts = [part async for part in Export(documents(), image_store, LIMIT)]
    assert [names_in(part) for part in parts] == [
        ["requests-0.json", "requests-1.json"],
        ["requests-2.json", "requests-3.json"],
    ]
    assert all(len(part) <= LIMIT for part in parts)
