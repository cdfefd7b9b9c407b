"""/describe: prompts that draw a picture again, read from its file or found by a network that looks at it."""

import asyncio
import re
from typing import TYPE_CHECKING, Any, Final

import discord
from discord import app_commands
from discord.ext import commands
from PIL import Image

from cogs.core.generation.authorship import origin_of, origin_of_avatar
from cogs.core.generation.linked import LINK_DESCRIPTION, Link, check_one_picture, given_picture, with_pictures
from cogs.core.generation.service import GenerationService
from cogs.core.generation.source import pictures_to_choose
from cogs.core.generation.suggestions import suggest_creations
from cogs.core.i18n.catalogues import ENGLISH, say
from cogs.core.messages.attachments import PostedFile, fetch_picture, fetched_names, hides_any
from cogs.core.messages.choose import choose_picture
from cogs.core.messages.components import PersistentButton, view_of
from cogs.core.messages.interactions import IS_PRIVATE
from cogs.core.messages.message import MESSAGE_LIMIT, NO_MENTIONS, fit_together
from cogs.core.messages.render import fenced, unfenced
from cogs.core.policy.context import Context
from cogs.core.policy.limits import NotAllowedError
from cogs.core.policy.origins import Origin
from cogs.core.request.options import Options
from cogs.core.request.prompt import PROMPT_LIMIT, clean, escape, parse_prompt
from cogs.core.types import Interaction
from cogs.image_info import prompt_in_picture
from diffusion.errors import DarkroomError
from diffusion.images.io import on_white
from diffusion.text import N_

if TYPE_CHECKING:
    from bot import Darkroom

MAX_PROMPTS: Final = 4
BLOCK: Final = re.compile(r"```\n(.*?)\n```", re.DOTALL)
FROM_FILE: Final = N_("This picture carries the prompt that it was made from:")
SEEN: Final = N_("This is what I see in the picture:")
NOTHING_KNOWN: Final = N_(
    "This picture does not say how it was made, and no model here can look at pictures."
    " The bot's operator can name one in DESCRIBE_MODEL."
)
NOTHING_SEEN: Final = N_("I recognise nothing in this picture. Please try another one.")
NOT_SAID_HERE: Final = N_("What I see in this picture may not be said here, by the rules of this server.")
GONE: Final = N_("This prompt is gone. Please use `/describe` again.")


class ImagineButton(PersistentButton, name="described"):
    """Draws one of the prompts that its message shows; a ``hidden`` one makes pictures that are hidden until clicked."""

    is_public = True

    number: int
    hidden: bool

    def __init__(self, number: int, hidden: bool = False, language: str = ENGLISH) -> None:
        label = say(language, "Imagine {number}", number=number)
        button: discord.ui.Button[Any] = discord.ui.Button(label=label, emoji="🎨")
        super().__init__(button, number=number, hidden=hidden)

    async def run(self, interaction: Interaction) -> None:
        """Draw pictures from the prompt."""
        message = interaction.message
        prompts = BLOCK.findall(message.content) if message else []
        if message is None or not 1 <= self.number <= len(prompts):
            raise DarkroomError(GONE)
        context = Context.of(interaction)
        service = interaction.client.service
        request = service.builder.build(context, parse_prompt(escape(prompts[self.number - 1])), Options())
        private = True if message.flags.ephemeral else None
        await service.accept(context, request, private=private, spoiler=self.hidden or None)


class DescribeCog(commands.Cog):
    """Finds prompts for pictures."""

    def __init__(self, service: GenerationService) -> None:
        self.service = service

    @app_commands.command()
    @app_commands.describe(
        image="The picture to describe",
        link=LINK_DESCRIPTION,
        private="Show the prompts to you only",
    )
    @app_commands.autocomplete(link=suggest_creations)
    async def describe(
        self,
        interaction: Interaction,
        image: discord.Attachment | None = None,
        link: Link | None = None,
        private: bool | None = None,
    ) -> None:
        """Find prompts that draw a picture again."""
        check_one_picture(image, link)
        given = await given_picture(Context.of(interaction), image, link)
        if given:
            await describe_picture(given.context, given.file, given.origin, private=private)


async def describe_message(interaction: Interaction, message: discord.Message) -> None:
    """Find prompts for a picture of ``message``, or of the message to which it replies."""
    asked = Context.of(interaction)
    message = await with_pictures(asked, message)
    pictures = pictures_to_choose(message)
    origin = await origin_of(asked, message)
    chosen = await choose_picture(asked, pictures)
    if chosen:
        context, file = chosen
        await describe_picture(context, file, origin_of_avatar(file) or origin, private=True)


async def describe_picture(context: Context, file: PostedFile, origin: Origin | None, *, private: bool | None) -> None:
    """Show prompts for the picture in ``file``; raises `DarkroomError`."""
    interaction = context.interaction
    service = interaction.client.service
    if private is None:
        private = bool(context.preferences.private)
    interaction.extras[IS_PRIVATE] = private
    if denial := service.rules.denial(context):
        raise denial
    if origin:
        await service.origin_rules.check(context, origin, private)
    await interaction.response.defer(ephemeral=private, thinking=True)
    async with service.rules.preparing(context.member_id), service.rules.charging_refused_attachment(context):
        with fetched_names() as names:
            picture = await fetch_picture(file)
        await service.origin_rules.check_files(context, names, private)
        known = await prompt_in_picture(context, picture)
        found = [known] if known else await _look(service, await asyncio.to_thread(on_white, picture.image))
    prompts = await _sayable(context, found)
    language = context.language_for(private)
    head = say(language, FROM_FILE if known else SEEN)
    room = MESSAGE_LIMIT - len(head) - len(prompts) * (len(fenced("")) + 1)
    shown = [head, *map(fenced, fit_together(prompts, room, unfenced))]
    hidden = hides_any(file) or bool(origin and origin.creation and origin.creation.spoiler)
    view = view_of(*(ImagineButton(number, hidden, language) for number in range(1, len(prompts) + 1)))
    await interaction.followup.send("\n".join(shown), view=view, ephemeral=private, allowed_mentions=NO_MENTIONS)


async def _look(service: GenerationService, image: Image.Image) -> list[str]:
    if service.describe is None:
        raise DarkroomError(NOTHING_KNOWN)
    return await service.describe(image)


async def _sayable(context: Context, found: list[str]) -> list[str]:
    """Return the prompts that the server's rules about words allow; raises `DarkroomError` if there is none."""
    rules = context.interaction.client.service.rules
    prompts = [prompt for prompt in dict.fromkeys(clean(text)[:PROMPT_LIMIT] for text in found) if prompt][:MAX_PROMPTS]
    if not prompts:
        raise DarkroomError(NOTHING_SEEN)
    allowed = [prompt for prompt in prompts if not await rules.broken_rule(context, prompt)]
    if not allowed:
        raise NotAllowedError(NOT_SAID_HERE)
    return allowed


async def setup(bot: "Darkroom") -> None:
    """Add the cog and its menu."""
    await bot.add_cog(DescribeCog(bot.service))
    bot.tree.add_command(app_commands.ContextMenu(name="Describe", callback=describe_message))
