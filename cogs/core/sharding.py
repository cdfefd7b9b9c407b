"""Which part of Discord a process serves, as whoever runs the bot writes it: ``0-3,8`` are five shards."""

from collections.abc import Sequence

from diffusion.errors import DarkroomError

LONGEST = 200  # characters of a part's name, in the database


def parse_shards(text: str) -> tuple[int, ...]:
    """Read the ids of shards, none from an empty text; raises ValueError."""
    found: set[int] = set()
    for part in filter(None, map(str.strip, text.split(","))):
        ends = part.split("-")
        if len(ends) > 2 or not all(end.isdecimal() for end in ends) or int(ends[-1]) < int(ends[0]):
            raise ValueError(f"“{part}” is neither a shard nor a range of shards such as 0-3")
        found.update(range(int(ends[0]), int(ends[-1]) + 1))
    return tuple(sorted(found))


def part_of(shard_ids: Sequence[int], shard_count: int | None) -> str:
    """Name the part of Discord that is served, the same for the same shards: empty for all of it.

    Raises `DarkroomError` where the one does not fit the other.
    """
    if not shard_ids:
        return ""
    if shard_count is None:
        raise DarkroomError("SHARD_IDS needs SHARD_COUNT as well: how many shards all processes serve together.")
    if shard_ids[-1] >= shard_count:
        raise DarkroomError(f"SHARD_IDS may be at most {shard_count - 1}, as SHARD_COUNT is {shard_count}.")
    if len(shard_ids) == shard_count:
        return ""
    runs: list[list[int]] = []
    for id in shard_ids:
        if runs and runs[-1][1] == id - 1:
            runs[-1][1] = id
        else:
            runs.append([id, id])
    part = ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
    if len(part) > LONGEST:
        raise DarkroomError("SHARD_IDS is made of too many pieces: give each process a range of shards, such as 0-15.")
    return part


def leads(shard_ids: Sequence[int]) -> bool:
    """Whether these shards, none for all, are those of the process that does what is done once: it has the first."""
    return not shard_ids or shard_ids[0] == 0
