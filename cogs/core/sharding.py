"""The shards of Discord that a process serves.

Operators write five shards as ``0-3,8``.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from diffusion.errors import DarkroomError

if TYPE_CHECKING:
    import discord

MAX_NAME_LENGTH: Final = 200  # characters, as in the database


def parse_shards(text: str) -> tuple[int, ...]:
    """Return the shard ids in ``text``, sorted; raises ValueError.

    An empty text has none.
    """
    ids: set[int] = set()
    for part in filter(None, map(str.strip, text.split(","))):
        ends = part.split("-")
        if len(ends) > 2 or not all(end.isdecimal() for end in ends) or int(ends[-1]) < int(ends[0]):
            raise ValueError(f"“{part}” is neither a shard nor a range of shards such as 0-3")
        ids.update(range(int(ends[0]), int(ends[-1]) + 1))
    return tuple(sorted(ids))


def format_shards(shard_ids: Sequence[int], shard_count: int | None) -> str:
    """Return a name for ``shard_ids``, empty if they are all shards.

    Raises `DarkroomError` where ``shard_ids`` do not fit ``shard_count``.
    """
    if not shard_ids:
        return ""
    if shard_count is None:
        raise DarkroomError("SHARD_IDS needs SHARD_COUNT, the number of shards of all processes together.")
    if shard_ids[-1] >= shard_count:
        raise DarkroomError(f"SHARD_IDS may be at most {shard_count - 1}, because SHARD_COUNT is {shard_count}.")
    if len(shard_ids) == shard_count:
        return ""
    ranges: list[list[int]] = []
    for shard_id in shard_ids:
        if ranges and ranges[-1][1] == shard_id - 1:
            ranges[-1][1] = shard_id
        else:
            ranges.append([shard_id, shard_id])
    name = ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)
    if len(name) > MAX_NAME_LENGTH:
        raise DarkroomError("SHARD_IDS has too many parts. Give each process a range of shards, such as 0-15.")
    return name


def serves(client: "discord.AutoShardedClient", guild_id: int) -> bool:
    """Return whether a server belongs to a shard of this process, also one that the bot has left."""
    return (guild_id >> 22) % (client.shard_count or 1) in client.shards


def is_leader(shard_ids: Sequence[int]) -> bool:
    """Return whether this process does the work that one process does for all.

    Without ``shard_ids`` it serves all shards.
    """
    return not shard_ids or shard_ids[0] == 0
