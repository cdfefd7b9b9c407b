"""The draft of an emoji or sticker: its preview, buttons and naming form."""

import asyncio
import io
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import discord
from PIL import Image

from cogs.core.i18n.catalogues import ENGLISH, say, translate
from cogs.core.messages.components import Form, PersistentButton, view_of
from cogs.core.messages.message import NO_MENTIONS, Answer
from cogs.core.messages.render import SPOILER_PREFIX, escape
from cogs.core.messages.views import ResultTarget
from cogs.core.policy.context import Context
from cogs.core.policy.origins import Origin
from cogs.core.request.prompt import clean
from cogs.core.storage.creations import Creation
from cogs.core.storage.images import ImageMissingError
from cogs.core.types import Interaction
from cogs.emoji.expressions import (
    ANY_TAG,
    DESCRIPTION_LIMIT,
    EMOJI,
    EXPRESSION_KINDS,
    STICKER,
    TAG_LIMIT,
    Expression,
    Kind,
    guess_tag,
    server_for,
    upload,
)
from cogs.emoji.preview import INLINE_SIDE, preview_pictures
from diffusion.errors import DarkroomError
from diffusion.images.cutout import Cutout, cut_out
from diffusion.text import N_, plural

TRANSPARENT: Final = N_("Transparent background: on")
OPAQUE: Final = N_("Transparent background: off")
FORM_TITLES: Final = {"emoji": N_("Add the emoji to this server"), "sticker": N_("Add the sticker to this server")}
PREVIEW_TEXTS: Final = {
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


@dataclass(frozen=True)
class Draft:
    """An emoji or sticker to be made from the picture ``index`` of a creation."""

    kind: Kind
    creation_id: int
    index: int
    transparent: bool
    name: str
    tag: str
    description: str = ""

    def expression(self, cutout: Cutout) -> Expression:
        """Return the emoji or sticker; raises `InvalidRequestError` for its name.

        Encodes: call it in a thread.
        """
        name = self.kind.validate_name(self.name)
        return Expression(self.kind, cutout.png(self.kind.side, self.transparent), name, self.tag, self.description)


class DraftButton(PersistentButton, name="draft"):
    """A button under a draft: it toggles the background or asks for the name.

    The custom_id carries the draft without its description, which is the alt text of the picture above.
    """

    action: Literal["cut", "name"]
    kind: Literal["emoji", "sticker"]
    creation_id: int
    index: int
    transparent: bool
    tag: str
    name: str

    def __init__(self, action: str, draft: Draft, language: str = ENGLISH) -> None:
        if action == "name":
            label = say(language, "Name and upload")
            style = discord.ButtonStyle.primary
        else:
            label = say(language, TRANSPARENT if draft.transparent else OPAQUE)
            style = discord.ButtonStyle.secondary
        button: discord.ui.Button[Any] = discord.ui.Button(label=label, style=style)
        super().__init__(
            button,
            action=action,
            kind=draft.kind.word,
            creation_id=draft.creation_id,
            index=draft.index,
            transparent=draft.transparent,
            tag=draft.tag,
            name=draft.name,
        )

    async def run(self, interaction: Interaction) -> None:
        """Toggle the background of the draft, or open the form that asks for its name."""
        draft = self._draft(interaction.message)
        if self.action == "name":
            server_for(interaction, draft.kind)
            await interaction.response.send_modal(NameForm(draft, Context.of(interaction).language))
        else:
            await interaction.response.defer()
            await _show(interaction, replace(draft, transparent=not draft.transparent))

    def _draft(self, message: discord.Message | None) -> Draft:
        pictures = message.attachments if message else []
        description = pictures[0].description if pictures else None
        kind = EXPRESSION_KINDS[self.kind]
        return Draft(kind, self.creation_id, self.index, self.transparent, self.name, self.tag, description or "")


class NameForm(Form):
    """Asks for the name of a draft, then adds it to the server."""

    def __init__(self, draft: Draft, language: str = ENGLISH) -> None:
        super().__init__(say(language, FORM_TITLES[draft.kind.word]))
        self._draft = draft
        text_input: Any = discord.ui.TextInput
        limit = draft.kind.max_name_length
        self.name = text_input(default=draft.name, min_length=2, max_length=limit, custom_id="name")
        self.ask(say(language, "Name"), self.name)
        if draft.kind is STICKER:
            self.tag = text_input(default=draft.tag, max_length=TAG_LIMIT, custom_id="tag")
            self.ask(say(language, "Related emoji"), self.tag)
            self.description = text_input(
                default=draft.description, required=False, max_length=DESCRIPTION_LIMIT, custom_id="description"
            )
            self.ask(say(language, "Description"), self.description)

    async def run(self, interaction: Interaction) -> None:
        """Add the draft to the server, or show why not and keep what was typed."""
        draft = self._named_draft()
        language = Context.of(interaction).language
        await interaction.response.defer()
        try:
            _, cutout = await _cutout_of(interaction, draft)
            text = await add_expression(interaction, draft, cutout)
        except DarkroomError as error:
            await _show(interaction, draft, translate(language, error))
            return
        try:
            await interaction.edit_original_response(content=text, view=None, allowed_mentions=NO_MENTIONS)
        except discord.NotFound:  # the member dismissed the draft meanwhile
            await interaction.followup.send(text, ephemeral=True, allowed_mentions=NO_MENTIONS)

    def _named_draft(self) -> Draft:
        draft = replace(self._draft, name=clean(self.name.value))
        if draft.kind is EMOJI:
            return replace(draft, tag="", description=clean(draft.description))
        tag = self.tag.value.replace(":", "").strip() or ANY_TAG
        return replace(draft, tag=tag, description=clean(self.description.value))


async def begin_draft(interaction: Interaction, target: ResultTarget) -> None:
    """Show the member a draft of a picture; raises `DarkroomError`."""
    kind = EXPRESSION_KINDS[target.action]
    server_for(interaction, kind)
    await interaction.response.defer(ephemeral=True, thinking=True)
    creation = await interaction.client.service.creation_store.get(target.creation_id)
    if creation and creation.private and creation.owner != interaction.user.id:
        raise DarkroomError("Only the member who asked for these pictures can do that.")
    request = creation.request if creation else None
    prompt = (request or {}).get("prompt", "")
    tag = guess_tag(prompt) if kind is STICKER else ""
    name = kind.guess_name(prompt)
    draft = Draft(kind, target.creation_id, target.index, True, name, tag, prompt[:DESCRIPTION_LIMIT])
    await _show(interaction, draft)


async def add_expression(interaction: Interaction, draft: Draft, cutout: Cutout) -> str:
    """Add ``draft`` to the server and return a text that confirms it.

    Raises `DarkroomError` where that is impossible.
    """
    draft.kind.validate_name(draft.name)
    guild = server_for(interaction, draft.kind)
    expression = await asyncio.to_thread(draft.expression, cutout)
    shown = await upload(guild, expression, interaction.user)
    language = Context.of(interaction).language
    if draft.kind is EMOJI:
        return say(language, "{emoji} is an emoji of this server now.", emoji=f"{shown} `:{expression.name}:`")
    sticker = f"**{escape(shown)}**"
    return say(language, "{sticker} is a sticker of this server now.", sticker=sticker)


async def draft_files(draft: Draft, cutout: Cutout, language: str, *, spoiler: bool = False) -> list[discord.File]:
    """Return the picture of ``draft`` and its preview as fresh files; a ``spoiler`` is hidden until clicked."""
    pictures = await asyncio.to_thread(
        preview_pictures,
        draft.kind,
        cutout,
        transparent=draft.transparent,
        description=draft.description,
        language=language,
    )
    prefix = SPOILER_PREFIX if spoiler else ""
    return Answer("", tuple(replace(picture, name=f"{prefix}{picture.name}") for picture in pictures)).files()


async def _show(interaction: Interaction, draft: Draft, error_text: str = "") -> None:
    """Edit the response to show ``draft``, or why it was not added."""
    creation, cutout = await _cutout_of(interaction, draft)
    language = Context.of(interaction).language
    buttons = [DraftButton("name", draft, language)]
    text = say(language, PREVIEW_TEXTS[draft.kind.word], side=INLINE_SIDE)
    if cutout.subject:
        buttons.insert(0, DraftButton("cut", draft, language))
    else:
        text += f" {say(language, 'I found no subject on a plain background, so the background stays.')}"
    await interaction.edit_original_response(
        content=error_text or text,
        attachments=await draft_files(draft, cutout, language, spoiler=creation.spoiler),
        view=view_of(*buttons),
        allowed_mentions=NO_MENTIONS,
    )


async def _cutout_of(interaction: Interaction, draft: Draft) -> tuple[Creation, Cutout]:
    service = interaction.client.service
    creation = await service.creation_store.get(draft.creation_id)
    names = (creation.pictures or []) if creation else []
    try:
        if creation is None or draft.index >= len(names):
            raise ImageMissingError
        await service.origin_rules.check(Context.of(interaction), Origin(creation, uses_picture=True), private=True)
        png = await service.image_store.read(names[draft.index])
    except ImageMissingError:
        raise DarkroomError("This picture has been deleted. Please save it and attach it to `/emoji`.") from None
    return creation, await asyncio.to_thread(lambda: cut_out(Image.open(io.BytesIO(png))))
