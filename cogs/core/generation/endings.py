"""How a creation ends whose pictures do not come about: in one sentence to its member, or without a word where it was lost."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from cogs.core.generation.safety_gate import NotShown
from cogs.core.i18n.catalogues import explain, say
from cogs.core.messages import render
from cogs.core.messages.delivery import Delivery, Undeliverable
from cogs.core.messages.message import Answer
from cogs.core.storage.creations import Creation, Journal, Lost, State
from cogs.core.storage.images import Gallery
from diffusion.errors import Cancelled, DarkroomError

log = logging.getLogger(__name__)


class Endings:
    """Ends creations in order."""

    def __init__(self, journal: Journal, gallery: Gallery, delivery: Delivery) -> None:
        self.journal, self.gallery, self.delivery = journal, gallery, delivery

    @contextlib.asynccontextmanager
    async def of(self, creation: Creation) -> AsyncIterator[None]:
        """End ``creation`` where something goes wrong inside."""
        try:
            async with self._told(creation):
                yield
        except Lost:
            log.warning("%r is not made here any more", creation)

    async def revoke(self, creation: Creation, seconds: float) -> None:
        """Cancel what was claimed from a process that may show its progress so many ``seconds`` more before it notices."""
        token, cancelled = creation.token, state_of(creation, say(creation.language, render.CANCELLED))
        async with self.of(creation):
            await self.journal.close(creation, State.CANCELLED)
            creation.token = token  # here it is forgotten only once that was said
            await self.delivery.announce(creation, cancelled)
            await asyncio.sleep(seconds)
            await self.delivery.announce(creation, cancelled)

    @contextlib.asynccontextmanager
    async def _told(self, creation: Creation) -> AsyncIterator[None]:
        try:
            yield
            return
        except Lost:
            raise
        except Undeliverable as error:
            await self.journal.close(creation, State.FAILED, str(error))
            return
        except Cancelled:
            await self.delivery.announce(creation, state_of(creation, say(creation.language, render.CANCELLED)))
            await self.journal.close(creation, State.CANCELLED)
            return
        except DarkroomError as error:
            failure = error
            if isinstance(error, NotShown):
                await self._discard(creation)
        except Exception:
            log.exception("%r failed", creation)
            failure = DarkroomError("Something went wrong here. Please try again.")
        try:
            await self.delivery.deliver(creation, state_of(creation, explain(creation.language, failure)))
        except Undeliverable as error:
            log.warning("%r: its member could not be told %r: %s", creation, str(failure), error)
        await self.journal.close(creation, State.FAILED, str(failure))

    async def _discard(self, creation: Creation) -> None:
        """Keep neither the pictures nor what they started from, unless others need them."""
        names = creation.files
        await self.journal.update(creation, pictures=None, source=None, film=None)
        with contextlib.suppress(DarkroomError):
            await self.gallery.delete(names - await self.journal.needed(names))


def state_of(creation: Creation, sentence: str) -> Answer:
    """Say in one ``sentence`` how far ``creation`` is."""
    request, language = creation.request, creation.language
    return Answer(render.state_text(request["prompt"], sentence, language) if request else sentence)
