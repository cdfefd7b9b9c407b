"""Classify Discord's errors by their status and error code."""

from enum import Enum, auto
from typing import Final

import aiohttp
import discord

NETWORK_ERRORS: Final = (discord.RateLimited, aiohttp.ClientError, OSError, TimeoutError)


class TokenExpiredError(Exception):
    """The interaction's token is too old; Discord was not asked."""


DISCORD_ERRORS: Final = (discord.HTTPException, TokenExpiredError, *NETWORK_ERRORS)


class ErrorKind(Enum):
    """The consequence of an error for an answer.

    An unreachable network is `TEMPORARY`, too. `BLOCKED` is content that the server's AutoMod or Discord's own filters refuse.
    """

    MESSAGE_GONE = auto()
    MESSAGE_TOO_OLD = auto()
    FORBIDDEN = auto()
    TOKEN_EXPIRED = auto()
    CHANNEL_GONE = auto()
    TOO_LARGE = auto()
    BLOCKED = auto()
    TEMPORARY = auto()
    INVALID = auto()


CODES: Final = {
    10008: ErrorKind.MESSAGE_GONE,
    30046: ErrorKind.MESSAGE_TOO_OLD,  # too many edits of a message older than an hour
    50001: ErrorKind.FORBIDDEN,
    50013: ErrorKind.FORBIDDEN,
    50005: ErrorKind.FORBIDDEN,  # Discord takes the message for another user's
    50083: ErrorKind.FORBIDDEN,  # the thread is archived
    160002: ErrorKind.FORBIDDEN,  # a reply needs Read Message History
    10015: ErrorKind.TOKEN_EXPIRED,
    10062: ErrorKind.TOKEN_EXPIRED,
    50027: ErrorKind.TOKEN_EXPIRED,
    10003: ErrorKind.CHANNEL_GONE,
    10004: ErrorKind.CHANNEL_GONE,
    40005: ErrorKind.TOO_LARGE,
    50045: ErrorKind.TOO_LARGE,  # a file, with status 400
    20009: ErrorKind.BLOCKED,  # explicit content
    200000: ErrorKind.BLOCKED,  # AutoMod
    200001: ErrorKind.BLOCKED,  # AutoMod, a title
    240000: ErrorKind.BLOCKED,  # links that Discord calls harmful
}
STATUSES: Final = {
    401: ErrorKind.TEMPORARY,
    403: ErrorKind.FORBIDDEN,
    404: ErrorKind.MESSAGE_GONE,
    413: ErrorKind.TOO_LARGE,
    429: ErrorKind.TEMPORARY,
}


def classify(error: Exception) -> ErrorKind:
    """Return the consequence of an error of discord.py or the network."""
    if isinstance(error, TokenExpiredError):
        return ErrorKind.TOKEN_EXPIRED
    if not isinstance(error, discord.HTTPException) or error.status >= 500:
        return ErrorKind.TEMPORARY
    return CODES.get(error.code) or STATUSES.get(error.status, ErrorKind.INVALID)


def is_temporary(error: Exception) -> bool:
    """Return whether the same call may succeed later."""
    return isinstance(error, DISCORD_ERRORS) and classify(error) is ErrorKind.TEMPORARY
