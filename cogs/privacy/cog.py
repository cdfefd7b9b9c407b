"""/privacy: what is kept about a member, to take along or to be forgotten, and whether others may start from their pictures."""

import asyncio
import contextlib
import io
import re
from collections.abc import Iterable
from typing import Any, Final, Self

import discord
from discord import app_commands
from discord.ext import commands

from cogs.core.generation.service import GenerationService
from cogs.core.i18n.catalogues import ENGLISH, say
from cogs.core.messages.delivery import NO_MENTIONS
from cogs.core.messages.http_errors import DISCORD_ERRORS
from cogs.core.policy.locale import language_of
from cogs.core.request.preferences import Scope
from cogs.core.storage.personal_data import DeletedData
from cogs.privacy.export import Export
from diffusion.errors import DarkroomError
from diffusion.text import N_, plural

Interaction = discord.Interaction[Any]
MOST_MESSAGES: Final = 200  # Discord lets a bot delete few at a time
LONGEST_WAIT: Final = 5.0  # seconds for what is being made to be taken back
WARNING: Final = N_(
    "This deletes all that I keep about you: what you asked for and the pictures, also out of my messages as far as I can,"
    " and your settings, that others may not start from your pictures among them. It cannot be undone."
    " `/privacy export` gives you a copy first."
)


KEPT: Final = plural(
    "{count} picture stays, as another member has it as well.",
    "{count} pictures stay, as other members have them as well.",
)
CLEARING: Final = plural(
    "I am deleting your pictures from {count} message.", "I am deleting your pictures from {count} messages."
)
OLDER: Final = plural(
    "{count} older message stays; its Delete button works.", "{count} older messages stay; their Delete buttons work."
)
REMIXED: Final = N_("Others may start from your avatar and your pictures.")
NOT_REMIXED: Final = N_("Nobody else may start from your avatar and your pictures.")


class ForgetButton(discord.ui.DynamicItem[discord.ui.Button[Any]], template=r"darkroom:forget:(?P<member>[0-9]+)"):
    """Confirms that a member wants to be forgotten."""

    def __init__(self, member: int, language: str = ENGLISH) -> None:
        custom_id, label = f"darkroom:forget:{member}", say(language, "Forget me")
        super().__init__(discord.ui.Button(label=label, style=discord.ButtonStyle.danger, custom_id=custom_id))
        self.member = member

    @classmethod
    async def from_custom_id(cls, interaction: Interaction, item: discord.ui.Item[Any], match: re.Match[str]) -> Self:
        """Make the button anew from its custom_id."""
        return cls(int(match["member"]))

    async def callback(self, interaction: Interaction) -> None:
        """Hand the press over."""
        await interaction.client.get_cog("PrivacyCog").forget_now(interaction, self.member)


class PrivacyCog(commands.GroupCog, group_name="privacy", group_description="What I keep about you"):
    """Gives out and deletes what is kept about a member."""

    def __init__(self, service: GenerationService) -> None:
        self.service = service

    @app_commands.command()
    async def export(self, interaction: Interaction) -> None:
        """Get a copy of all that I keep about you: what you asked for, your settings and your pictures."""
        async with self.service.answering(interaction):
            await interaction.response.defer(ephemeral=True, thinking=True)
            documents, names = await self.service.personal_data.export(interaction.user.id)
            takeout = Export(documents, names, self.service.image_store, interaction.filesize_limit)
            part, language = 0, language_of(interaction)
            async for data in takeout:
                part += 1
                file = discord.File(io.BytesIO(data), f"darkroom-{part}.zip")
                text = say(language, "All that I keep about you:") if part == 1 else ""
                await interaction.followup.send(text, file=file, ephemeral=True)
            if takeout.left_out:
                note = say(
                    language,
                    plural(
                        "{count} picture, the oldest, had no room in the files that Discord takes here.",
                        "{count} pictures, the oldest, had no room in the files that Discord takes here.",
                    ),
                    count=takeout.left_out,
                )
                await interaction.followup.send(note, ephemeral=True)

    @app_commands.command()
    async def forget(self, interaction: Interaction) -> None:
        """Have all that I keep about you deleted, with your pictures."""
        async with self.service.answering(interaction):
            view, language = discord.ui.View(timeout=None), language_of(interaction)
            view.add_item(ForgetButton(interaction.user.id, language))
            await interaction.response.send_message(say(language, WARNING), view=view, ephemeral=True)

    @app_commands.command()
    @app_commands.describe(allowed="Whether others may start from your avatar and your pictures")
    async def remix(self, interaction: Interaction, allowed: bool) -> None:
        """Say whether others may start from your avatar and your pictures."""
        async with self.service.answering(interaction):
            preference_store, member = self.service.preference_store, interaction.user.id
            before = await preference_store.reload(Scope.MEMBER, member)
            await preference_store.set(Scope.MEMBER, member, before.with_(remix=None if allowed else False))
            text = say(language_of(interaction), REMIXED if allowed else NOT_REMIXED)
            await interaction.response.send_message(text, ephemeral=True)

    async def forget_now(self, interaction: Interaction, member: int) -> None:
        """Take back what is being made for ``member``, delete everything, and tell what that was."""
        async with self.service.answering(interaction):
            if interaction.user.id != member:
                raise DarkroomError("Everybody can only have themselves forgotten: `/privacy forget`.")
            language = language_of(interaction)  # one of the settings that are deleted
            await interaction.response.edit_message(content=say(language, "Deleting…"), view=None)
            await self._take_back(member)
            forgotten = await self.service.personal_data.delete(member)
            messages = list(_messages(forgotten))
            self.service.background.start(_delete(interaction.client, messages[:MOST_MESSAGES]))
            told = _told(forgotten, len(messages), language)
            await interaction.edit_original_response(content=told, allowed_mentions=NO_MENTIONS)

    async def _take_back(self, member: int) -> None:
        """Cancel all that is being made for ``member`` and wait until it has ended, but not for what Discord keeps waiting."""
        elsewhere = await self.service.claims.held_by_others(member)
        for creation_id in elsewhere:
            await self.service.cancel_elsewhere(creation_id)
        if elsewhere:
            await asyncio.sleep(2 * self.service.lease.renew_interval)  # until the others notice and keep nothing more
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_WAIT):
                while theirs := [one.id for one in self.service.runner.active if one.owner == member]:
                    for creation_id in theirs:
                        self.service.jobs[creation_id].cancel()
                    await asyncio.sleep(0.05)


async def _delete(client: Any, messages: Iterable[tuple[int, int]]) -> None:
    for channel_id, message_id in messages:
        with contextlib.suppress(*DISCORD_ERRORS):  # the bot may not, or the message is gone
            await client.get_partial_messageable(channel_id).get_partial_message(message_id).delete()


def _messages(forgotten: DeletedData) -> Iterable[tuple[int, int]]:
    """Give channel and id of the messages with a member's pictures, newest first; before them those that ask moderators."""
    for review in forgotten.reviews:
        if review.message_id:
            yield review.channel_id, review.message_id
    for creation in forgotten.creations:
        if creation.message_id and (
            creation.posting_in or not creation.token_only
        ):  # what only a token reaches is theirs alone
            yield creation.posting_in or creation.channel_id, creation.message_id


def _told(forgotten: DeletedData, messages: int, language: str) -> str:
    lines = [
        say(
            language,
            "DeletedData: {requests}, {pictures} and your settings.",
            requests=say(language, plural("{count} request", "{count} requests"), count=len(forgotten.creations)),
            pictures=say(language, plural("{count} picture", "{count} pictures"), count=forgotten.pictures - forgotten.kept),
        )
    ]
    if kept := forgotten.kept:
        lines.append(say(language, KEPT, count=kept))
    if messages:
        count = min(messages, MOST_MESSAGES)
        lines.append(say(language, CLEARING, count=count))
    if (older := messages - MOST_MESSAGES) > 0:
        lines.append(say(language, OLDER, count=older))
    lines.append(say(language, "How many pictures you made today I know until tomorrow, and nothing else."))
    return "\n".join(lines)


async def setup(bot: Any) -> None:
    """Add the cog and make its button known."""
    bot.add_dynamic_items(ForgetButton)
    await bot.add_cog(PrivacyCog(bot.service))
