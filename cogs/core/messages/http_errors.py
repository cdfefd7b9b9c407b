"""Why Discord does not take something, read from its status and error code."""

from enum import Enum, auto
from typing import Final

import aiohttp
import discord

UNREACHABLE: Final = (discord.RateLimited, aiohttp.ClientError, OSError, TimeoutError)
REFUSALS: Final = (discord.HTTPException, *UNREACHABLE)


class Refusal(Enum):
    """What a refusal means for an answer; `LATER` also stands for a network that is down."""

    MESSAGE_GONE = auto()
    MESSAGE_OLD = auto()
    FORBIDDEN = auto()
    EXPIRED = auto()
    CHANNEL_GONE = auto()
    TOO_LARGE = auto()
    LATER = auto()
    INVALID = auto()


CODES: Final = {
    10008: Refusal.MESSAGE_GONE,
    30046: Refusal.MESSAGE_OLD,  # too many edits of a message older than an hour
    50001: Refusal.FORBIDDEN,
    50013: Refusal.FORBIDDEN,
    50083: Refusal.FORBIDDEN,  # the thread is archived
    10015: Refusal.EXPIRED,
    10062: Refusal.EXPIRED,
    50027: Refusal.EXPIRED,
    10003: Refusal.CHANNEL_GONE,
    10004: Refusal.CHANNEL_GONE,
    40005: Refusal.TOO_LARGE,
}
STATUSES: Final = {
    401: Refusal.LATER,
    403: Refusal.FORBIDDEN,
    404: Refusal.MESSAGE_GONE,
    413: Refusal.TOO_LARGE,
    429: Refusal.LATER,
}


def is_temporary(error: Exception) -> bool:
    """Return whether the same call may succeed later."""
    return isinstance(error, REFUSALS) and refusal_of(error) is Refusal.LATER


def refusal_of(error: Exception) -> Refusal:
    """Tell what an exception of discord.py or of the network means for a delivery."""
    if not isinstance(error, discord.HTTPException):
        return Refusal.LATER
    if error.status >= 500:
        return Refusal.LATER
    return CODES.get(error.code) or STATUSES.get(error.status, Refusal.INVALID)
