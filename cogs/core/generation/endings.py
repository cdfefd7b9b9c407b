"""How a creation ends whose pictures do not come about: in one sentence to its member, or without a word where it was lost."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from cogs.core.generation.safety_gate import NotShownError
from cogs.core.i18n.catalogues import say, translate
from cogs.core.messages import render
from cogs.core.messages.delivery import Delivery, UndeliverableError
from cogs.core.messages.message import Answer
from cogs.core.storage.creations import Creation, CreationStore, OwnershipLostError, State
from cogs.core.storage.images import ImageStore
from diffusion.errors import DarkroomError, JobCancelledError

log = logging.getLogger(__name__)


class Endings:
    """Ends creations in order."""

    def __init__(self, creation_store: CreationStore, image_store: ImageStore, delivery: Delivery) -> None:
        self.creation_store, self.image_store, self.delivery = creation_store, image_store, delivery

    @contextlib.asynccontextmanager
    async def of(self, creation: Creation) -> AsyncIterator[None]:
        """End ``creation`` where something goes wrong inside."""
        try:
            async with self._told(creation):
                yield
        except OwnershipLostError:
            log.warning("%r is not made here any more", creation)

    async def revoke(self, creation: Creation, seconds: float) -> None:
        """Cancel what was claimed from a process that may show its progress so many ``seconds`` more before it notices."""
        token, cancelled = creation.token, state_answer(creation, say(creation.language, render.CANCELLED))
        async with self.of(creation):
            await self.creation_store.close(creation, State.CANCELLED)
            creation.token = token  # here it is forgotten only once that was said
            await self.delivery.announce(creation, cancelled)
            await asyncio.sleep(seconds)
            await self.delivery.announce(creation, cancelled)

    @contextlib.asynccontextmanager
    async def _told(self, creation: Creation) -> AsyncIterator[None]:
        try:
            yield
            return
        except OwnershipLostError:
            raise
        except UndeliverableError as error:
            await self.creation_store.close(creation, State.FAILED, str(error))
            return
        except JobCancelledError:
            await self.delivery.announce(creation, state_answer(creation, say(creation.language, render.CANCELLED)))
            await self.creation_store.close(creation, State.CANCELLED)
            return
        except DarkroomError as error:
            failure = error
            if isinstance(error, NotShownError):
                await self._discard(creation)
        except Exception:
            log.exception("%r failed", creation)
            failure = DarkroomError("Something went wrong here. Please try again.")
        try:
            await self.delivery.deliver(creation, state_answer(creation, translate(creation.language, failure)))
        except UndeliverableError as error:
            log.warning("%r: its member could not be told %r: %s", creation, str(failure), error)
        await self.creation_store.close(creation, State.FAILED, str(failure))

    async def _discard(self, creation: Creation) -> None:
        """Keep neither the pictures nor what they started from, unless others need them."""
        names = creation.files
        await self.creation_store.update(creation, pictures=None, source=None, film=None)
        with contextlib.suppress(DarkroomError):
            await self.image_store.delete(names - await self.creation_store.needed(names))


def state_answer(creation: Creation, sentence: str) -> Answer:
    """Say in one ``sentence`` how far ``creation`` is."""
    request, language = creation.request, creation.language
    return Answer(render.state_text(request["prompt"], sentence, language) if request else sentence)
