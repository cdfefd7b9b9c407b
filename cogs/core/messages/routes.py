"""The routes by which an answer reaches its member, and their order.

Edits by the interaction's token come first: each token has rate limits of its own, and they do not count against the bot's 50
requests a second. Edits by the channel share about 5 in 5 seconds with all messages of the channel.
"""

from collections.abc import Collection
from dataclasses import replace
from enum import Enum, auto
from typing import Final

from cogs.core.messages.http_errors import ErrorKind
from cogs.core.messages.message import Answer
from cogs.core.messages.token_time import has_expired, is_early
from cogs.core.storage.creations import Creation


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
    by_token = creation.token_only or (creation.token and is_early(creation))
    return Route.EDIT_BY_TOKEN if by_token else Route.EDIT
