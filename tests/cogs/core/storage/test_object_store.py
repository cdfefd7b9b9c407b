"""Pictures where fsspec keeps them, and a folder that two processes share."""

import asyncio
import errno
import os
import time

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from cogs.core.storage import object_store
from cogs.core.storage.images import SECONDS_PER_DAY, ImageMissingError, ImageNotStoredError, ImageStore
from cogs.core.storage.object_store import FsspecImageStore, open_image_store
from diffusion.errors import DarkroomError


class Moving(MemoryFileSystem):
    """One that can move files, as those of servers can."""

    protocol = "moving"
    store, pseudo_dirs = {}, [""]

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.replace("moving://", "memory://"))

    def mv(self, path1, path2, **_):
        self.store[path2] = self.store.pop(path1)


fsspec.register_implementation("moving", Moving)


@pytest.fixture(params=["memory", "moving"])
def pictures(request):
    kept = FsspecImageStore(f"{request.param}://pictures", max_bytes=20)
    kept.verify_writable()
    yield kept
    kept.files.store.clear()


def stored(pictures):
    return sorted(path for path, info in pictures.files.find("/pictures", detail=True).items() if info["type"] == "file")


async def test_save_stores_equal_pictures_once_by_their_hash(pictures):
    name = await pictures.save(b"\x89PNG apple")
    assert await pictures.save(b"\x89PNG apple") == name
    assert await pictures.read(name) == b"\x89PNG apple"
    assert stored(pictures) == [f"/pictures/{name[:2]}/{name}.png"]
    await pictures.delete([name, "f" * 64])
    with pytest.raises(ImageMissingError, match="have been deleted"):
        await pictures.read(name)


def test_verify_writable_creates_folders_only_where_needed(monkeypatch):
    asked = []
    monkeypatch.setattr(MemoryFileSystem, "makedirs", lambda *_, **__: asked.append("a folder"))
    FsspecImageStore("memory://pictures").verify_writable()
    assert not asked
    FsspecImageStore("moving://pictures").verify_writable()
    assert asked


async def test_layout_equals_that_of_a_folder(pictures, tmp_path):
    folder = ImageStore(tmp_path)
    for data in (b"\x89PNG apple", b"RIFF timelapse", b"other"):
        await folder.save(data)
        await pictures.save(data)
    paths = [f"/pictures/{path.relative_to(tmp_path).as_posix()}" for path in tmp_path.rglob("*") if path.is_file()]
    assert stored(pictures) == sorted(paths)


async def test_read_rejects_and_save_repairs_a_damaged_file(pictures):
    name = await pictures.save(b"apple")
    pictures.files.pipe_file(stored(pictures)[0], b"app")
    with pytest.raises(ImageMissingError, match="damaged"):
        await pictures.read(name)
    await pictures.save(b"apple")
    assert await pictures.read(name) == b"apple"


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "no space"), OSError(errno.EDQUOT, "quota"), RuntimeError("odd")])
async def test_save_reports_errors_and_leaves_no_file(pictures, monkeypatch, error):
    def refuse(self, path, value, **_):
        self.store[path] = None
        raise error

    with monkeypatch.context() as full:
        full.setattr(type(pictures.files), "pipe_file", refuse)
        with pytest.raises(ImageNotStoredError, match="full" if isinstance(error, OSError) else "cannot write"):
            await pictures.save(b"apple")
    assert stored(pictures) == []


async def test_read_and_delete_report_an_unreachable_store(pictures, monkeypatch):
    name = await pictures.save(b"apple")

    def refuse(self, path, **_):
        raise RuntimeError("no route to host")

    with monkeypatch.context() as away:
        away.setattr(type(pictures.files), "cat_file", refuse)
        away.setattr(type(pictures.files), "rm_file", refuse)
        away.setattr(type(pictures.files), "find", refuse)
        with pytest.raises(ImageMissingError, match="cannot reach my pictures"):
            await pictures.read(name)
        with pytest.raises(DarkroomError, match="cannot reach my pictures"):
            await pictures.delete([name])
        await pictures.prune()  # logged, and done the next time
    assert await pictures.read(name) == b"apple"


async def test_prune_removes_the_oldest_files_and_limits_listings(pictures, monkeypatch):
    names = [await pictures.save(b"%09d" % index) for index in range(5)]
    ages = dict(zip(names, (5, 4, 3, 2, 40), strict=True))
    find, listed = type(pictures.files).find, []

    def aged(self, path, **options):
        listed.append(path)
        found = find(self, path, **options)
        for name in found:
            found[name]["created"] = time.time() - ages[name.rpartition("/")[2]] * SECONDS_PER_DAY
        return found

    monkeypatch.setattr(type(pictures.files), "find", aged)
    await pictures.prune(keep=names[:1])
    assert [path.rpartition("/")[2] for path in stored(FsspecImageStore(pictures_url(pictures)))] == sorted(
        name for name, kept in zip(names, (True, False, True, True, False), strict=True) if kept
    )
    before = len(listed)
    await pictures.prune()
    assert len(listed) == before


def pictures_url(pictures):
    return f"{'moving' if isinstance(pictures.files, Moving) else 'memory'}://pictures"


@pytest.mark.parametrize("url", ["nosuch://pictures", "git://x"])
def test_missing_driver_is_reported_at_the_start(url):
    with pytest.raises(DarkroomError, match=r"PICTURES_URL cannot be used: .+"):
        FsspecImageStore(url)


def test_verify_writable_reports_denied_access(monkeypatch):
    def refuse(self, path, value, **_):
        raise PermissionError("AccessDenied")

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", refuse)
    with pytest.raises(DarkroomError, match="PICTURES_URL: AccessDenied"):
        FsspecImageStore("memory://pictures").verify_writable()


@pytest.mark.parametrize("told", [1.0, "1970-01-01T00:00:01+00:00"])
def test_modified_reads_the_time_formats_of_drivers(told):
    assert object_store._modified({"LastModified": told}) == 1.0
    assert object_store._modified({}) == pytest.approx(time.time(), abs=60)


def test_open_image_store_accepts_folders_and_urls(tmp_path):
    for url in (str(tmp_path), f"file://{tmp_path}"):
        folder = open_image_store(url, 20, 30)
        assert type(folder) is ImageStore and folder.folder == tmp_path
    assert type(open_image_store("memory://pictures", 20, 30)) is FsspecImageStore


async def test_stores_share_a_folder(tmp_path):
    one, other = ImageStore(tmp_path), ImageStore(tmp_path)
    pictures = [b"picture %d" % index for index in range(20)]
    names = await asyncio.gather(*(image_store.save(data) for data in pictures for image_store in (one, other)))
    assert names[::2] == names[1::2] and len({*names}) == 20
    for name, data in zip(names[::2], pictures, strict=True):
        assert await one.read(name) == await other.read(name) == data
    for path in tmp_path.glob("*/*"):
        os.utime(path, (time.time() - 40 * SECONDS_PER_DAY,) * 2)
    new = await one.save(b"a new picture")
    await asyncio.gather(one.prune(), other.prune())
    assert [path.stem for path in tmp_path.glob("*/*")] == [new]
