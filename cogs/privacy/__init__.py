"""Privacy: export or delete a member's data, and respect deleted messages.

A member can also forbid others to start from their pictures.
"""

from typing import TYPE_CHECKING

from cogs.privacy.cog import PrivacyCog
from cogs.privacy.deletions import DeletionsCog

if TYPE_CHECKING:
    from bot import Darkroom


async def setup(bot: "Darkroom") -> None:
    """Add the cogs."""
    await bot.add_cog(PrivacyCog(bot.service))
    await bot.add_cog(DeletionsCog(bot.service))
