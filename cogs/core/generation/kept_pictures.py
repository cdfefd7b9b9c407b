"""The pictures of recent requests: who asks for the same with the same seed gets them, and nothing is drawn."""

import asyncio
import hashlib
import time
import weakref
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Final

from PIL import Image

from cogs.core.policy.context import Context
from cogs.core.policy.permissions import may_see
from cogs.core.storage.creations import Creation, CreationStore, State, request_to_json
from cogs.core.storage.database import DatabaseUnavailableError
from diffusion.request import ImageRequest
from diffusion.result import ImageResult
from diffusion.serving.interface import ImageEngine
from diffusion.serving.job import Job

MAX_BYTES: Final = 64 * 2**20
MAX_SECONDS: Final = 3600.0


@dataclass(frozen=True)
class _Kept:
    """The ``result`` of the creation with the id ``creation_id``, of ``nbytes``; ``kept_at`` is in monotonic seconds."""

    creation_id: int
    owner: int
    result: ImageResult
    nbytes: int
    kept_at: float


class KeptPictures:
    """Keeps results of at most `MAX_BYTES` for `MAX_SECONDS`, by all that they depend on.

    That is the request with its pictures, the loaded model, and how its networks are called. The pictures become the same
    files again, byte for byte. Members get the result of a creation only if they may see that, and never a flagged one.
    """

    def __init__(self, engine: ImageEngine, creation_store: CreationStore, max_bytes: int = MAX_BYTES) -> None:
        self._engine = engine
        self._creation_store = creation_store
        self._max_bytes = max_bytes
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._kept)

    async def find(self, context: Context, request: ImageRequest) -> tuple[Hashable, Job | None]:
        """Return the recipe of ``request``, which is all that its pictures depend on, and a finished job for it.

        The job is None if it has to be drawn; the recipe is None if files may change on which it depends.
        """
        if request.loras:
            return None, None
        pictures = [image for image in (request.image, request.mask) if image is not None]
        digests = await asyncio.to_thread(_digests, pictures) if pictures else ()
        model = self._engine.model_of(request.serving_model)
        recipe = (*request_to_json(request).items(), request.mask is None, digests, weakref.ref(model), model.revision)
        kept = self._kept.get(recipe)
        if kept is None:
            return recipe, None
        try:
            creation = await self._creation_store.get(kept.creation_id)
        except DatabaseUnavailableError:
            return recipe, None
        is_over = creation is None or creation.message_id is None or time.monotonic() - kept.kept_at > MAX_SECONDS
        if creation is None or is_over:
            self._kept.pop(recipe, None)
            return recipe, None
        if creation.state != State.DELIVERED or not may_see(context, creation):
            return recipe, None
        self._kept.move_to_end(recipe)
        job = Job(request, context.member_id, model, lambda _: None)
        job.finish(replace(kept.result, request=request))
        return recipe, job

    async def has(self, context: Context, request: ImageRequest) -> bool:
        """Whether ``request`` need not be drawn."""
        _, job = await self.find(context, request)
        return job is not None

    def keep(self, recipe: Hashable, creation: Creation, result: ImageResult) -> None:
        """Keep the ``result`` of a delivered ``creation``, unless it was flagged."""
        if recipe is None or creation.flags or creation.state != State.DELIVERED or (recipe in self._kept and creation.private):
            return
        images = (*result.images, *result.timelapses)
        nbytes = sum(image.width * image.height * len(image.getbands()) for image in images)
        self._kept[recipe] = _Kept(creation.id, creation.owner, result, nbytes, time.monotonic())
        while sum(each.nbytes for each in self._kept.values()) > self._max_bytes:
            self._kept.popitem(last=False)

    def forget(self, member: int) -> None:
        """Forget the pictures of ``member``."""
        for recipe in [recipe for recipe, kept in self._kept.items() if kept.owner == member]:
            del self._kept[recipe]


def _digests(images: list[Image.Image]) -> tuple[bytes, ...]:
    """Return a checksum of each of ``images``."""
    return tuple(hashlib.sha256(repr((image.mode, image.size)).encode() + image.tobytes()).digest() for image in images)
