"""The buttons below pictures: variations, Upscale, Cancel, Delete and Info."""

import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import discord

from cogs.core.generation.source import ResultSource
from cogs.core.i18n.catalogues import say
from cogs.core.messages import render
from cogs.core.messages.confirm import Answers, confirm
from cogs.core.messages.message import NO_MENTIONS
from cogs.core.messages.views import ResultTarget, text_view
from cogs.core.policy.context import Context
from cogs.core.policy.origins import Origin
from cogs.core.types import Interaction
from cogs.results.variations import SIMILARITIES, img2img, upscaled, validate_upscale, with_fresh_seed
from diffusion.errors import DarkroomError
from diffusion.request import ImageRequest
from diffusion.text import N_

if TYPE_CHECKING:
    from bot import Darkroom

DELETE_QUESTION: Final = N_("Delete these pictures for everyone who sees them? This cannot be undone.")
DELETE_ANSWERS: Final = Answers(N_("Delete"), N_("Keep"), N_("Nothing was deleted."))


async def cancel(interaction: Interaction, target: ResultTarget) -> None:
    """Cancel unfinished pictures."""
    await interaction.client.service.cancel(Context.of(interaction), target.creation_id)
    await interaction.response.defer()


async def delete(interaction: Interaction, target: ResultTarget) -> None:
    """Delete the message, once the member has confirmed that.

    Only the member who asked for it and moderators of its channel may do that.
    """
    is_moderator = interaction.guild_id is not None and interaction.permissions.manage_messages
    if interaction.user.id != target.owner and not is_moderator:
        raise DarkroomError("Only the member who asked for these pictures or a moderator can delete them.")
    context = Context.of(interaction)
    confirmed = await confirm(context, say(context.language, DELETE_QUESTION), DELETE_ANSWERS)
    if confirmed is None or interaction.message is None:
        return
    await confirmed.interaction.response.defer()
    try:
        await interaction.followup.delete_message(interaction.message.id)
    except discord.HTTPException:
        with contextlib.suppress(discord.NotFound):  # it was deleted meanwhile
            await interaction.message.delete()


async def info(interaction: Interaction, target: ResultTarget) -> None:
    """Show the member how these pictures were made."""
    source = await ResultSource.of(interaction.client.service, interaction.message, target.creation_id)
    text = render.info_text(await source.request_soon(), source.creation, Context.of(interaction).language)
    await interaction.response.send_message(view=text_view(text), ephemeral=True, allowed_mentions=NO_MENTIONS)


async def reroll(interaction: Interaction, target: ResultTarget) -> None:
    """Draw the same request with other seeds."""

    async def prepare(source: ResultSource) -> ImageRequest:
        return with_fresh_seed(await source.request())

    await _accept(interaction, target, prepare, starts_from_picture=False)


async def more_like_this(interaction: Interaction, target: ResultTarget) -> None:
    """Draw pictures that start from the chosen one."""
    sampler = interaction.client.service.engine.model.even_sampler

    async def prepare(source: ResultSource) -> ImageRequest:
        request = (await source.request()).replace(sampler=sampler)
        return img2img(request, await source.picture(target.index), target.index, SIMILARITIES[target.action])

    await _accept(interaction, target, prepare, starts_from_picture=True)


async def upscale(interaction: Interaction, target: ResultTarget) -> None:
    """Draw a picture again at twice the size."""
    limits = Context.of(interaction).limits
    model = interaction.client.service.engine.model

    async def prepare(source: ResultSource) -> ImageRequest:
        request = (await source.request()).replace(sampler=model.even_sampler)
        validate_upscale(request, limits)
        return upscaled(request, await source.picture(target.index), target.index, model.defaults.upscale_start)

    await _accept(interaction, target, prepare, starts_from_picture=True)


async def _accept(
    interaction: Interaction,
    target: ResultTarget,
    prepare: Callable[[ResultSource], Awaitable[ImageRequest]],
    *,
    starts_from_picture: bool,
) -> None:
    """Accept the changed request."""
    service = interaction.client.service
    context = Context.of(interaction)
    source = await ResultSource.of(service, interaction.message, target.creation_id)
    origin = Origin(source.creation, starts_from_picture)
    await service.accept(context, lambda: prepare(source), private=source.creation.private, origin=origin)


async def setup(bot: "Darkroom") -> None:
    """Register the actions."""
    bot.service.result_actions |= {
        "cancel": cancel,
        "delete": delete,
        "info": info,
        "reroll": reroll,
        "subtle": more_like_this,
        "strong": more_like_this,
        "upscale": upscale,
    }
