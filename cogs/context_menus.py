"""More like this and Remix avatar: draw pictures that start from a posted one."""

from typing import TYPE_CHECKING, Final

import discord
from discord import app_commands
from PIL import Image

from cogs.core.generation.authorship import origin_of, origin_of_avatar
from cogs.core.generation.linked import with_pictures
from cogs.core.generation.source import pictures_to_choose
from cogs.core.messages.attachments import PostedFile, fetch_picture, hides_any
from cogs.core.messages.choose import choose_picture
from cogs.core.policy.context import Context
from cogs.core.policy.origins import Origin
from cogs.core.policy.permissions import may_see
from cogs.core.request.options import Options
from cogs.core.request.prompt import escape, parse_prompt
from cogs.core.types import Interaction
from cogs.image_info import prompt_in_picture
from cogs.similar import similar_request
from diffusion.images.io import on_white
from diffusion.request import ImageRequest, random_seed

if TYPE_CHECKING:
    from bot import Darkroom

AVATAR_SIDE: Final = 512


async def more_like_this(interaction: Interaction, message: discord.Message) -> None:
    """Draw a picture that starts from one that ``message`` shows, or else the message to which it replies.

    Uses that picture's prompt if it is known.
    """
    service = interaction.client.service
    asked = Context.of(interaction)
    message = await with_pictures(asked, message)
    pictures = pictures_to_choose(message)
    posted = await origin_of(asked, message)
    chosen = await choose_picture(asked, pictures)
    if chosen is None:
        return
    context, file = chosen
    origin = origin_of_avatar(file) or posted
    creation = origin.creation if origin.creation and may_see(context, origin.creation) else None

    async def prepare() -> ImageRequest:
        picture = await fetch_picture(file)
        prompt = (creation.request or {}).get("prompt", "") if creation else await prompt_in_picture(context, picture)
        return _similar(context, on_white(picture.image), prompt)

    await service.accept(context, prepare, spoiler=hides_any(file) or None, origin=origin)


async def remix_avatar(interaction: Interaction, member: discord.User) -> None:
    """Draw a picture that starts from the avatar of ``member``."""
    service = interaction.client.service
    context = Context.of(interaction)

    async def prepare() -> ImageRequest:
        avatar = member.display_avatar.with_size(AVATAR_SIDE).with_static_format("png")  # Discord scales it
        picture = await fetch_picture(PostedFile.of_asset(avatar))
        return _similar(context, on_white(picture.image), "")

    await service.accept(context, prepare, origin=Origin.posted(None, member.id))


def _similar(context: Context, image: Image.Image, prompt: str) -> ImageRequest:
    """Return the request that /similar would make with its defaults.

    Braces in ``prompt`` stand for themselves.
    """
    return similar_request(context, parse_prompt(escape(prompt)), Options(seed=random_seed()), image=image)


async def setup(bot: "Darkroom") -> None:
    """Add the menus."""
    bot.tree.add_command(app_commands.ContextMenu(name="More like this", callback=more_like_this))
    bot.tree.add_command(app_commands.ContextMenu(name="Remix avatar", callback=remix_avatar))
