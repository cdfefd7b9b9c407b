"""What a request starts from, and whether its member may start from it here.

Every request passes `OriginRules`, whichever button, menu or attachment it comes from.
"""

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from typing import Final, Self

from cogs.core.policy.context import Context
from cogs.core.policy.limits import NotAllowedError
from cogs.core.policy.permissions import fits_channel
from cogs.core.request.preferences import Scope
from cogs.core.storage.creations import Creation, request_from_json
from cogs.core.storage.stores import Stores
from diffusion.errors import InvalidRequestError
from diffusion.request import ImageRequest
from diffusion.text import N_

MAX_ANCESTORS: Final = 10
REMIX_FORBIDDEN: Final = N_("This member does not allow others to start from their pictures or avatar.")
AGE_RESTRICTED: Final = N_("These pictures come from an age-restricted channel. Please go on with them in such a channel.")


@dataclass(frozen=True)
class Origin:
    """An earlier creation, or the picture of a member.

    ``uses_picture`` is whether the request starts from its picture, ``uses_source`` whether it starts from the picture that the
    creation started from, if any. ``author`` posted the picture, if it is no creation. ``action`` is what the member did with
    the creation, as `Creation` has it.
    """

    creation: Creation | None = None
    uses_picture: bool = False
    uses_source: bool = True
    author: int | None = None
    action: str | None = None

    @classmethod
    def posted(cls, creation: Creation | None, author: int) -> Self:
        """Return the origin of a request that starts from a posted picture."""
        return cls(creation, uses_picture=True, author=None if creation else author)


def is_repeated_by(origin: Origin, request: ImageRequest) -> bool:
    """Whether ``request`` draws the creation of ``origin`` again."""
    if origin.creation is None or origin.creation.request is None:
        return False
    try:
        return request_from_json(origin.creation.request, request.image, request.mask) == request
    except (InvalidRequestError, TypeError):  # of an older version
        return False


class OriginRules:
    """Applies the authors' wishes about remixes, and the limits of age-restricted channels."""

    def __init__(self, stores: Stores) -> None:
        self.preference_store = stores.preference_store
        self.creation_store = stores.creation_store

    async def check(self, context: Context, origin: Origin, private: bool) -> None:
        """Raise `NotAllowedError` unless the member may start from ``origin`` here.

        ``private`` is whether only the member will see the pictures.
        """
        if any(self._is_forbidden(context, author) for author in await self._authors(origin)):
            raise NotAllowedError(REMIX_FORBIDDEN)
        if origin.creation and not private and not fits_channel(context, origin.creation):
            raise NotAllowedError(AGE_RESTRICTED)

    async def check_files(self, context: Context, names: Collection[str], private: bool) -> None:
        """Raise `NotAllowedError` unless the member may start from these files.

        ``names`` are those that the files would have in the `ImageStore`: it holds those that the bot has made.
        """
        for creation in await self.creation_store.with_files(names):
            await self.check(context, Origin(creation, uses_picture=True), private)

    def _is_forbidden(self, context: Context, author: int) -> bool:
        return author != context.member_id and self.preference_store.get(Scope.MEMBER, author).remix is False

    async def _authors(self, origin: Origin) -> set[int]:
        """Return the members whose pictures are used: also those from which the origin was made."""
        authors = set() if origin.author is None else {origin.author}
        creation = origin.creation
        if creation and (origin.uses_picture or (origin.uses_source and creation.source)):
            authors.add(creation.owner)
            async for ancestor in self._pictured_ancestors(creation):
                authors.add(ancestor.owner)
        return authors

    async def _pictured_ancestors(self, creation: Creation) -> AsyncIterator[Creation]:
        """Yield the creations whose pictures went into ``creation``, the nearest first."""
        for _ in range(MAX_ANCESTORS):
            if creation.source is None or creation.parent_id is None:
                return
            parent = await self.creation_store.get(creation.parent_id)
            if parent is None:
                return
            yield parent
            creation = parent
