"""Make emoji, Make sticker and /emoji: a picture's subject, cut out, named and added to the server."""

import asyncio
import io
import re
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final, Self

import discord
from discord import app_commands
from discord.app_commands import Range
from discord.ext import commands
from PIL import Image

from cogs.core.generation.service import GenerationService
from cogs.core.i18n.catalogues import ENGLISH, say, translate
from cogs.core.messages.attachments import fetch_image
from cogs.core.messages.delivery import NO_MENTIONS
from cogs.core.messages.message import Picture
from cogs.core.messages.validation import Bounded
from cogs.core.messages.views import FORM_SECONDS
from cogs.core.policy.locale import language_of
from cogs.core.request.options import clean, server_only
from cogs.core.storage.images import ImageMissingError
from cogs.emoji.expressions import (
    ANY_TAG,
    DESCRIPTION_LIMIT,
    EMOJI,
    KINDS,
    STICKER,
    TAG_LIMIT,
    Kind,
    add,
    guess_tag,
    server_for,
)
from diffusion.errors import DarkroomError
from diffusion.text import N_, plural

if TYPE_CHECKING:
    from diffusion.images.cutout import Cutout

Interaction = discord.Interaction[Any]
GROUNDS: Final = ("#323339", "#ffffff")  # of Discord's dark and light themes
SMALL: Final = 32  # pixels, as an emoji stands within a text
GAP: Final = 12
TRANSPARENT: Final = N_("Transparent background: on")
OPAQUE: Final = N_("Transparent background: off")
ADD: Final = {"emoji": N_("Add the emoji to this server"), "sticker": N_("Add the sticker to this server")}
LOOKS: Final = {
    "emoji": plural(
        "This is how your emoji will look, below on dark and on light and at {side} pixel.",
        "This is how your emoji will look, below on dark and on light and at {side} pixels.",
        by="side",
    ),
    "sticker": plural(
        "This is how your sticker will look, below on dark and on light and at {side} pixel.",
        "This is how your sticker will look, below on dark and on light and at {side} pixels.",
        by="side",
    ),
}
ALTS: Final = {
    "emoji": N_("The emoji on dark and on light, large and small"),
    "sticker": N_("The sticker on dark and on light, large and small"),
}


@dataclass(frozen=True)
class Draft:
    """What shall become an emoji or sticker. Its buttons hold all but the description, which is the picture's alt text."""

    kind: Kind
    creation: int
    index: int
    transparent: bool
    name: str
    tag: str
    description: str = ""


class DraftButton(
    discord.ui.DynamicItem[discord.ui.Button[Any]],
    template=r"draft:(?P<step>ground|name):(?P<kind>emoji|sticker):(?P<creation>\d+):(?P<index>\d+):(?P<transparent>[01])"
    r":(?P<tag>[^:]*):(?P<name>.*)",
):
    """A button under a draft. It hands over to the cog named Emoji."""

    def __init__(self, step: str, draft: Draft, language: str = ENGLISH) -> None:
        if step == "name":
            label = say(language, "Name and upload")
        else:
            label = say(language, TRANSPARENT if draft.transparent else OPAQUE)
        style = discord.ButtonStyle.primary if step == "name" else discord.ButtonStyle.secondary
        state = f"{draft.kind.word}:{draft.creation}:{draft.index}:{draft.transparent:d}:{draft.tag}:{draft.name}"
        super().__init__(discord.ui.Button(label=label, style=style, custom_id=f"draft:{step}:{state}"))
        self.step, self.draft = step, draft

    @classmethod
    async def from_custom_id(cls, interaction: Interaction, item: discord.ui.Item[Any], match: re.Match[str]) -> Self:
        """Make the button anew from its custom_id and the picture above it."""
        pictures = interaction.message.attachments if interaction.message else []
        description = pictures[0].description if pictures else None
        number, index, transparent = int(match["creation"]), int(match["index"]), match["transparent"] == "1"
        draft = Draft(KINDS[match["kind"]], number, index, transparent, match["name"], match["tag"], description or "")
        return cls(match["step"], draft)

    async def callback(self, interaction: Interaction) -> None:
        """Hand the press over."""
        cog = interaction.client.get_cog("EmojiCog")
        await (cog.ask_name if self.step == "name" else cog.change_ground)(interaction, self.draft)


class NameModal(Bounded, discord.ui.Modal):
    """Asks what a draft is called; what becomes of it is up to the cog named Emoji."""

    def __init__(self, draft: Draft, language: str = ENGLISH) -> None:
        super().__init__(title=say(language, ADD[draft.kind.word]), timeout=FORM_SECONDS)
        self.draft = draft
        text: Any = discord.ui.TextInput
        longest, label = draft.kind.longest, say(language, "Name")
        self.name = text(label=label, default=draft.name, min_length=2, max_length=longest, custom_id="name")
        self.add_item(self.name)
        if draft.kind is STICKER:
            label = say(language, "Related emoji")
            self.tag = text(label=label, default=draft.tag, max_length=TAG_LIMIT, custom_id="tag")
            self.description = text(
                label=say(language, "Description"),
                default=draft.description,
                required=False,
                max_length=DESCRIPTION_LIMIT,
                custom_id="description",
            )
            self.add_item(self.tag).add_item(self.description)

    async def on_submit(self, interaction: Interaction) -> None:
        """Hand over what was typed."""
        draft = replace(self.draft, name=self.name.value)
        if draft.kind is STICKER:
            draft = replace(draft, tag=self.tag.value, description=self.description.value)
        await interaction.client.get_cog("EmojiCog").upload(interaction, draft)


class EmojiCog(commands.Cog):
    """Pictures as a server's emojis and stickers."""

    def __init__(self, service: GenerationService) -> None:
        self.service = service

    async def begin(self, interaction: Interaction, creation_id: int, index: int, kind: str) -> None:
        """Show the member the picture ``index`` of a creation as an "emoji" or "sticker", with buttons to go on."""
        async with self.service.answering(interaction):
            server_for(interaction, KINDS[kind])
            await interaction.response.defer(ephemeral=True, thinking=True)
            creation = await self.service.creation_store.get(creation_id)
            if creation and creation.private and creation.owner != interaction.user.id:
                raise DarkroomError("Only the member who asked for these pictures can do that.")
            prompt = (creation.request or {}).get("prompt", "") if creation else ""
            name, tag = KINDS[kind].guess(prompt), guess_tag(prompt) if kind == "sticker" else ""
            draft = Draft(KINDS[kind], creation_id, index, True, name, tag, prompt[:DESCRIPTION_LIMIT])
            await self._show(interaction, draft)

    async def change_ground(self, interaction: Interaction, draft: Draft) -> None:
        """Show ``draft`` with its background where it was without, and the other way round."""
        async with self.service.answering(interaction):
            await interaction.response.defer()
            await self._show(interaction, replace(draft, transparent=not draft.transparent))

    async def ask_name(self, interaction: Interaction, draft: Draft) -> None:
        """Ask for the name of ``draft``."""
        async with self.service.answering(interaction):
            server_for(interaction, draft.kind)
            await interaction.response.send_modal(NameModal(draft, language_of(interaction)))

    async def upload(self, interaction: Interaction, draft: Draft) -> None:
        """Add ``draft`` to the server, or say why not and keep what was typed."""
        tag = draft.tag.replace(":", "").strip() or ANY_TAG if draft.kind is STICKER else ""
        draft = replace(draft, name=clean(draft.name), tag=tag, description=clean(draft.description))
        async with self.service.answering(interaction):
            await interaction.response.defer()
            try:
                cutout = await self._cutout(draft)
                added = await self._add(interaction, draft, cutout)
            except DarkroomError as error:
                await self._show(interaction, draft, translate(language_of(interaction), error))
                return
            try:
                await interaction.edit_original_response(content=added, view=None, allowed_mentions=NO_MENTIONS)
            except discord.NotFound:  # the draft was dismissed meanwhile
                await interaction.followup.send(added, ephemeral=True, allowed_mentions=NO_MENTIONS)

    @app_commands.command()
    @server_only
    @app_commands.describe(
        image="The picture to make it of",
        name="What to call it: the file's name if left out",
        sticker="A sticker instead of an emoji",
        transparent="Without its background, where that is plain",
    )
    async def emoji(
        self,
        interaction: Interaction,
        image: discord.Attachment,
        name: Range[str, 1, 32] | None = None,
        sticker: bool = False,
        transparent: bool = True,
    ) -> None:
        """Add an attached picture to this server as an emoji or sticker."""
        async with self.service.answering(interaction):
            kind = STICKER if sticker else EMOJI
            server_for(interaction, kind)
            name = kind.checked(name) if name else kind.guess(PurePath(image.filename).stem)
            draft = Draft(kind, 0, 0, transparent, name, guess_tag(name.replace("_", " ")))
            await interaction.response.defer(ephemeral=True, thinking=True)
            cutout = await asyncio.to_thread(_cut_out, await fetch_image(image))
            added = await self._add(interaction, draft, cutout)
            pictures = await asyncio.to_thread(_pictures, draft, cutout, language_of(interaction))
            files = [picture.file() for picture in pictures]
            await interaction.edit_original_response(content=added, attachments=files, allowed_mentions=NO_MENTIONS)

    async def _show(self, interaction: Interaction, draft: Draft, said: str = "") -> None:
        cutout, language = await self._cutout(draft), language_of(interaction)
        view = discord.ui.View(timeout=None)
        if cutout.subject:
            view.add_item(DraftButton("ground", draft, language))
        view.add_item(DraftButton("name", draft, language))
        text = say(language, LOOKS[draft.kind.word], side=SMALL)
        if not cutout.subject:
            text += f" {say(language, 'I found no subject on a plain background, so it stays.')}"
        files = [picture.file() for picture in await asyncio.to_thread(_pictures, draft, cutout, language)]
        await interaction.edit_original_response(
            content=said or text, attachments=files, view=view, allowed_mentions=NO_MENTIONS
        )

    async def _cutout(self, draft: Draft) -> "Cutout":
        creation = await self.service.creation_store.get(draft.creation)
        try:
            names = (creation.pictures or []) if creation else []
            if draft.index >= len(names):
                raise ImageMissingError
            png = await self.service.image_store.read(names[draft.index])
        except ImageMissingError:
            raise DarkroomError("I do not keep this picture any more. Please save it and attach it to `/emoji`.") from None
        return await asyncio.to_thread(lambda: _cut_out(Image.open(io.BytesIO(png))))

    async def _add(self, interaction: Interaction, draft: Draft, cutout: "Cutout") -> str:
        name = draft.kind.checked(draft.name)
        guild = server_for(interaction, draft.kind)
        png = await asyncio.to_thread(cutout.png, draft.kind.side, draft.transparent)
        shown = await add(guild, draft.kind, png, name, draft.tag, draft.description, interaction.user)
        if draft.kind is EMOJI:
            return say(language_of(interaction), "{emoji} is an emoji of this server now.", emoji=f"{shown} `:{name}:`")
        sticker = f"**{discord.utils.escape_markdown(shown)}**"
        return say(language_of(interaction), "{sticker} is a sticker of this server now.", sticker=sticker)


def _cut_out(image: Image.Image) -> "Cutout":
    from diffusion.images.cutout import cut_out  # with scipy: 20 MiB, which most bots never need

    return cut_out(image)


def _pictures(draft: Draft, cutout: "Cutout", language: str) -> tuple[Picture, Picture]:
    """Give the file to be and a sheet that shows it. Encodes: call it in a thread."""
    png = cutout.png(draft.kind.side, draft.transparent)
    return (
        Picture(f"{draft.kind.word}.png", png, draft.description),
        Picture("preview.png", _sheet(png, draft.kind.shown), say(language, ALTS[draft.kind.word])),
    )


def _sheet(png: bytes, shown: int) -> bytes:
    """Draw a picture as large as messages show it, and small, on Discord's dark and light ground."""
    width, height = shown + SMALL + 3 * GAP, shown + 2 * GAP
    sheet = Image.new("RGB", (len(GROUNDS) * width, height))
    with Image.open(io.BytesIO(png)) as image:
        picture = image.convert("RGBA")
    for left, ground in zip(range(0, sheet.width, width), GROUNDS, strict=True):
        sheet.paste(ground, (left, 0, left + width, height))
        for side, x in ((shown, GAP), (SMALL, shown + 2 * GAP)):
            scaled = picture.resize((side, side), Image.Resampling.LANCZOS)
            sheet.paste(scaled, (left + x, height - GAP - side), scaled)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


async def setup(bot: Any) -> None:
    """Add the cog and make its buttons known."""
    bot.add_dynamic_items(DraftButton)
    await bot.add_cog(EmojiCog(bot.service))
