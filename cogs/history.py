"""/history: a member's own pictures, page by page."""

import asyncio
import contextlib
import io
import re
from typing import Any, Final, Self

import discord
from discord import app_commands, ui
from discord.app_commands import Range
from discord.ext import commands
from PIL import Image

from cogs.core.generation.service import GenerationService
from cogs.core.i18n.catalogues import ENGLISH, say
from cogs.core.messages import render
from cogs.core.messages.delivery import NO_MENTIONS
from cogs.core.policy.locale import language_of
from cogs.core.policy.permissions import Interaction
from cogs.core.request.options import clean
from cogs.core.storage.creations import Creation, Page
from cogs.core.storage.images import ImageMissingError
from cogs.lineage import ShowSelect
from diffusion.text import N_, plural

SEARCH_LIMIT: Final = 50  # characters, as a custom_id has room for
PROMPT_SHOWN: Final = 150
THUMBNAIL_SIDE: Final = 192
GONE: Final = N_("its pictures are not kept any more")
FRAMES: Final = plural("{count} frame", "{count} frames")
PICTURES: Final = plural("{count} picture", "{count} pictures")
WAYS: Final = {"newer": (N_("Newer"), "◀️"), "older": (N_("Older"), "▶️")}


class PageButton(
    ui.DynamicItem[ui.Button[Any]],
    template=re.compile(r"darkroom:history:(?P<way>newer|older):(?P<creation>\d+):(?P<search>.*)", re.DOTALL),
):
    """Leads on from the creation at the edge of a page."""

    def __init__(self, way: str, creation: int, search: str, language: str = ENGLISH) -> None:
        name, emoji = say(language, WAYS[way][0]), WAYS[way][1]
        super().__init__(ui.Button(label=name, emoji=emoji, custom_id=f"darkroom:history:{way}:{creation}:{search}"))
        self.way, self.creation, self.search = way, creation, search

    @classmethod
    async def from_custom_id(cls, interaction: Interaction, item: ui.Item[Any], match: re.Match[str]) -> Self:
        """Make the button anew from its custom_id."""
        return cls(match["way"], int(match["creation"]), match["search"])

    async def callback(self, interaction: Interaction) -> None:
        """Hand the press over."""
        await interaction.client.get_cog("HistoryCog").turn(interaction, self.way, self.creation, self.search)


class HistoryCog(commands.Cog):
    """Lists what a member has made."""

    def __init__(self, service: GenerationService) -> None:
        self.service = service

    @app_commands.command()
    @app_commands.describe(search="Only pictures whose prompt has this in it")
    async def history(self, interaction: Interaction, search: Range[str, 1, SEARCH_LIMIT] | None = None) -> None:
        """Look through the pictures that you have made."""
        async with self.service.answering(interaction):
            await interaction.response.defer(ephemeral=True, thinking=True)
            wanted, language = clean(search or ""), language_of(interaction)
            page = await self.service.creation_store.page(interaction.user.id, wanted)
            if not page.creations:
                none = say(language, "You have no pictures yet.")
                if wanted:
                    quoted = render.escape(wanted)
                    none = say(language, "You have no pictures with “{search}” in their prompt yet.", search=quoted)
                await interaction.followup.send(none, ephemeral=True, allowed_mentions=NO_MENTIONS)
                return
            view, files = await self._laid_out(page, wanted, language)
            await interaction.followup.send(view=view, files=files, ephemeral=True, allowed_mentions=NO_MENTIONS)

    async def turn(self, interaction: Interaction, way: str, creation: int, search: str) -> None:
        """Show the next page in the message whose button was pressed."""
        async with self.service.answering(interaction):
            await interaction.response.defer()
            edge = {"after" if way == "newer" else "before": creation}
            page = await self.service.creation_store.page(interaction.user.id, search, **edge)
            if not page.creations:  # gone meanwhile
                page = await self.service.creation_store.page(interaction.user.id, search)
            view, files = await self._laid_out(page, search, language_of(interaction))
            await interaction.edit_original_response(view=view, attachments=files, allowed_mentions=NO_MENTIONS)

    async def _laid_out(self, page: Page, search: str, language: str) -> tuple[ui.LayoutView, list[discord.File]]:
        """Lay ``page`` out, with the thumbnails that it shows as files."""
        view, files = ui.LayoutView(timeout=None), []
        for creation in page.creations:
            picture = await self._thumbnail(creation)
            text = ui.TextDisplay[Any](entry_text(creation, language, gone=picture is None))
            if picture is None:
                view.add_item(text)
                continue
            name = f"{creation.id}.webp"
            files.append(discord.File(io.BytesIO(picture), name))
            alt = creation.prompt[: render.ALT_TEXT_LIMIT] or say(language, render.ALT_WITHOUT_PROMPT)
            media = ui.Thumbnail[Any](f"attachment://{name}", description=alt, spoiler=creation.spoiler)
            view.add_item(ui.Section(text, accessory=media))
        if page.creations:
            view.add_item(ui.ActionRow(ShowSelect(page.creations, language)))
        edges = {"newer": page.creations[:1] if page.newer else [], "older": page.creations[-1:] if page.older else []}
        buttons = [PageButton(way, creation.id, search, language) for way, edge in edges.items() for creation in edge]
        if buttons:
            view.add_item(ui.ActionRow(*buttons))
        return view, files

    async def _thumbnail(self, creation: Creation) -> bytes | None:
        with contextlib.suppress(ImageMissingError, IndexError, TypeError):
            return await asyncio.to_thread(thumbnail, await self.service.image_store.read((creation.pictures or [])[0]))
        return None


def thumbnail(png: bytes) -> bytes:
    """Make a small picture of a large one. Encodes: call it in a thread."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        small = image.convert("RGB")
        small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
        small.save(buffer, "WEBP", quality=80)
    return buffer.getvalue()


def entry_text(creation: Creation, language: str, gone: bool) -> str:
    """Word one entry of a page."""
    request = creation.request or {}
    count = request.get("count", 1)
    place = f"https://discord.com/channels/{creation.guild_id or '@me'}/{creation.channel_id}/{creation.message_id}"
    parts = [
        discord.utils.format_dt(creation.created, "R"),
        say(language, "seed {seeds}", seeds=request.get("seed")),
        *([say(language, FRAMES if request.get("morph_to") else PICTURES, count=count)] if count > 1 else []),
        *([say(language, "private")] if creation.private else []),
        *([f"[{say(language, 'message')}]({place})"] if creation.message_id and not creation.private else []),
        *([say(language, GONE)] if gone else []),
    ]
    title = render.title(creation.prompt, PROMPT_SHOWN, language)
    return f"{title}\n-# {' · '.join(parts)}\n-# id `{creation.id}`"


async def setup(bot: Any) -> None:
    """Add the cog and make its buttons known."""
    bot.add_dynamic_items(PageButton)
    await bot.add_cog(HistoryCog(bot.service))
