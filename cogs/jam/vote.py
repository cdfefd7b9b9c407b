"""Vote in a jam by a numbered button."""

from typing import Any, Final

import discord

from cogs.core.i18n.catalogues import say
from cogs.core.messages.components import PersistentButton
from cogs.core.policy.context import Context
from cogs.core.storage.jam_rows import Stage
from cogs.core.storage.jams import VOTE_OVER
from cogs.core.types import Interaction
from cogs.jam.entry import host_of
from diffusion.errors import DarkroomError
from diffusion.text import N_

VOTED_FOR: Final = N_("You voted for picture {number}. Press another number to change your vote.")
OWN: Final = N_("This is your own picture. Please vote for another one.")
GONE: Final = N_("This picture is gone. Please vote for another one.")


class VoteButton(PersistentButton, name="jam:vote"):
    """Votes for the picture of that number."""

    jam_id: int
    number: int

    def __init__(self, jam_id: int, number: int) -> None:
        look: discord.ui.Button[Any] = discord.ui.Button(label=str(number))
        super().__init__(look, jam_id=jam_id, number=number)

    async def run(self, interaction: Interaction) -> None:
        """Write the vote down; nobody else sees it."""
        store = host_of(interaction).store
        jam = await store.get(self.jam_id)
        if jam is None or jam.stage != Stage.VOTING or jam.ends <= discord.utils.utcnow():
            raise DarkroomError(VOTE_OVER)
        candidates = {candidate.entry.number: candidate for candidate in await store.candidates(jam.id)}
        chosen = candidates.get(self.number)
        if chosen is None:
            raise DarkroomError(GONE)
        if chosen.entry.member == interaction.user.id:
            raise DarkroomError(OWN)
        await store.vote(jam.id, interaction.user.id, chosen.entry.member)
        text = say(Context.of(interaction).language, VOTED_FOR, number=self.number)
        await interaction.response.send_message(text, ephemeral=True)
