"""The commands ``darkroom backup DIR`` and ``darkroom restore DIR``."""

from pathlib import Path

from cogs.core.config import Config
from cogs.core.storage.backup import back_up, restore, summary
from cogs.core.storage.exclusive import hold_shards, lock_data
from cogs.core.storage.object_store import open_image_store


async def run_backup(config: Config, folder: Path) -> None:
    """Copy the data of the bot into ``folder``, while it runs or not; raises `DarkroomError`."""
    data = config.data_dir or Path("data")
    image_store = open_image_store(config.pictures_location(data), config.data_max_bytes, config.data_max_days)
    copied = await back_up(config.database_location(data), image_store, folder)
    print(summary(copied, f"Saved in {folder}"))


async def run_restore(config: Config, folder: Path) -> None:
    """Restore the data in ``folder`` to a new bot; raises `DarkroomError`, also while a bot uses its place."""
    data = config.data_dir or Path("data")
    url = config.database_location(data)
    with lock_data(config.exclusive_places(data)):
        async with hold_shards(url, ()):
            image_store = open_image_store(config.pictures_location(data), config.data_max_bytes, config.data_max_days)
            copied = await restore(folder, url, image_store)
    print(summary(copied, f"Restored from {folder}"))
