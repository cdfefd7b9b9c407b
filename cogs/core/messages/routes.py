"""The routes by which an answer reaches its member, and the time of a token.

Edits by the interaction's token come first: each token has rate limits of its own, and they do not count against the bot's 50
requests a second. Edits by the channel share about 5 in 5 seconds with all messages of the channel.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection
from dataclasses import replace
from datetime import timedelta
from enum import Enum, auto
from typing import Any, Final

import discord

from cogs.core.i18n.catalogues import ENGLISH, say
from cogs.core.messages.http_errors import ErrorKind
from cogs.core.messages.message import Answer
from cogs.core.storage.creations import Creation
from diffusion.errors import DarkroomError
from diffusion.text import plural

TOKEN_LIFE_MINUTES = 15
TOKEN_MINUTES = 14  # for drawing, and for edits where the channel would do as well; the rest is for delivery
TOKEN_MARGIN = timedelta(seconds=10)
DELIVERY_TIME = timedelta(minutes=TOKEN_LIFE_MINUTES - TOKEN_MINUTES)


class _Original:
    """The id "@original" of an interaction's response.

    discord.py would percent-encode the @ of a str.
    """

    def __str__(self) -> str:
        return "@original"


ORIGINAL: Final[Any] = _Original()


class Route(Enum):
    """How an answer reaches its member."""

    EDIT_BY_TOKEN = auto()
    EDIT = auto()
    NEW = auto()
    NEW_BY_TOKEN = auto()
    DIRECT = auto()


EDIT_ROUTES: Final = frozenset({Route.EDIT_BY_TOKEN, Route.EDIT})
TOKEN_ROUTES: Final = frozenset({Route.EDIT_BY_TOKEN, Route.NEW_BY_TOKEN})
CHANNEL_ROUTES: Final = frozenset({Route.EDIT, Route.NEW})
REFUSALS: Final = frozenset({ErrorKind.BLOCKED, ErrorKind.INVALID, ErrorKind.TOO_LARGE})  # of what the answer contains
FALLBACKS: Final = {  # the first that is still open comes next
    ErrorKind.MESSAGE_GONE: (Route.NEW, Route.NEW_BY_TOKEN, Route.DIRECT),
    ErrorKind.MESSAGE_TOO_OLD: (Route.NEW, Route.NEW_BY_TOKEN, Route.DIRECT),
    ErrorKind.FORBIDDEN: (Route.EDIT_BY_TOKEN, Route.EDIT, Route.NEW_BY_TOKEN, Route.DIRECT),
    ErrorKind.TOKEN_EXPIRED: (Route.EDIT, Route.NEW, Route.DIRECT),
    ErrorKind.CHANNEL_GONE: (Route.DIRECT,),
} | dict.fromkeys(REFUSALS, (Route.NEW_BY_TOKEN, Route.DIRECT))
CLOSED_BY: Final = {  # the routes that an error closes besides its own
    ErrorKind.MESSAGE_GONE: EDIT_ROUTES,
    ErrorKind.TOKEN_EXPIRED: TOKEN_ROUTES,
    ErrorKind.CHANNEL_GONE: frozenset(Route) - {Route.DIRECT},
}


class Attempt:
    """The next attempt to bring one answer to its member.

    Each of the ``allowed`` routes is tried once. ``is_refused`` is whether Discord has refused what the answer contains,
    ``is_gone`` whether the message that announced it was deleted.
    """

    def __init__(self, creation: Creation, answer: Answer, allowed: Collection[Route] = frozenset(Route)) -> None:
        self.answer = answer
        self.route = initial_route(creation)
        self.is_refused = False
        self.is_gone = False
        self._open = set(allowed)
        if creation.token_only:
            self._open -= CHANNEL_ROUTES
        if has_expired(creation):
            self._open -= TOKEN_ROUTES

    def change(self, kind: ErrorKind) -> bool:
        """Change text or route after an error; return False if nothing is left.

        The members of a server see no text that was refused: they see the sentence alone, or only the asking member does.
        """
        if kind in REFUSALS:
            self.is_refused = True
            if self.answer.sentence:
                self.answer = replace(self.answer, text=self.answer.sentence, sentence="")
                return True
        self.is_gone = self.is_gone or kind in (ErrorKind.MESSAGE_GONE, ErrorKind.CHANNEL_GONE)
        self._open -= CLOSED_BY.get(kind, frozenset()) | {self.route}
        following = next((route for route in FALLBACKS.get(kind, ()) if route in self._open), None)
        if following is not None:
            self.route = following
        return following is not None


def initial_route(creation: Creation) -> Route:
    """Return the route to try first.

    It is by the token for `TOKEN_MINUTES`, then by the channel if the bot sees that.
    """
    by_token = creation.token_only or (creation.token and discord.utils.utcnow() < creation.expires - DELIVERY_TIME)
    return Route.EDIT_BY_TOKEN if by_token else Route.EDIT


def webhook_of(client: discord.Client, creation: Creation) -> discord.Webhook:
    """Return the webhook of the interaction's token. It knows the first answer as `ORIGINAL`, too."""
    webhook = discord.Webhook.partial(creation.application_id, creation.token, client=client)
    webhook.type = discord.WebhookType.application  # only such a webhook may send what one member alone sees
    return webhook


def has_expired(creation: Creation) -> bool:
    """Return whether the token of ``creation`` is too old to use."""
    return discord.utils.utcnow() >= creation.expires - TOKEN_MARGIN


def token_note(language: str = ENGLISH) -> str:
    """Return the note under an answer that only the interaction's token can edit."""
    template = plural(
        "I can answer here for {count} minute only. Pictures that take longer are lost.",
        "I can answer here for {count} minutes only. Pictures that take longer are lost.",
    )
    return f"-# {say(language, template, count=TOKEN_MINUTES)}"


@contextlib.asynccontextmanager
async def while_token_lives(creation: Creation) -> AsyncIterator[None]:
    """Limit the block to the life of the token, for a creation that no other route reaches.

    Raises `DarkroomError` when the time is over.
    """
    try:
        async with asyncio.timeout((creation.expires - DELIVERY_TIME - discord.utils.utcnow()).total_seconds()):
            yield
    except TimeoutError:
        raise DarkroomError(
            plural(
                "This took longer than the {count} minute in which I can answer here. Please ask for less.",
                "This took longer than the {count} minutes in which I can answer here. Please ask for less.",
            ),
            count=TOKEN_MINUTES,
        ) from None
