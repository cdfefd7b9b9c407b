"""The buttons below pictures: variations, Upscale, Cancel, Delete and Info."""

import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import discord

from cogs.core.generation.source import ResultSource
from cogs.core.i18n.catalogues import say
from cogs.core.messages import render
from cogs.core.messages.choose import choose
from cogs.core.messages.confirm import Answers, confirm
from cogs.core.messages.message import NO_MENTIONS
from cogs.core.messages.views import ResultAction, ResultTarget, text_view
from cogs.core.policy.context import Context
from cogs.core.types import Interaction
from cogs.results.variations import SIMILARITIES, img2img, upscaled, validate_upscale, with_fresh_seed
from diffusion.errors import DarkroomError
from diffusion.request import ImageRequest
from diffusion.text import N_

if TYPE_CHECKING:
    from bot import Darkroom

Prepare = Callable[[ResultSource], Awaitable[ImageRequest]]
CHOOSE_A_SIZE: Final = N_("Choose a size")
DRAWN_AGAIN: Final = 0  # in place of a factor
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
    service = interaction.client.service
    source = await ResultSource.of(service, interaction.message, target.creation_id)
    parent_id = source.creation.parent_id
    parent = await service.creation_store.get(parent_id) if parent_id else None
    text = render.info_text(await source.request_soon(), source.creation, Context.of(interaction).language, parent)
    await interaction.response.send_message(view=text_view(text), ephemeral=True, allowed_mentions=NO_MENTIONS)


async def reroll(interaction: Interaction, target: ResultTarget) -> None:
    """Draw the same request with other seeds."""

    async def prepare(source: ResultSource) -> ImageRequest:
        return with_fresh_seed((await source.request()).drawn())

    await _accept(interaction, target, prepare, starts_from_picture=False)


async def more_like_this(interaction: Interaction, target: ResultTarget) -> None:
    """Draw pictures that start from the chosen one."""
    engine = interaction.client.service.engine
    most_steps = Context.of(interaction).limits.steps

    async def prepare(source: ResultSource) -> ImageRequest:
        request = (await source.request()).drawn()
        model = engine.model_of(request.model)
        request = model.by_teacher(request, most_steps).replace(sampler=model.even_sampler)
        return img2img(request, await source.picture(target.index), target.index, SIMILARITIES[target.action])

    await _accept(interaction, target, prepare, starts_from_picture=True)


async def upscale(interaction: Interaction, target: ResultTarget) -> None:
    """Draw a picture again at twice the size."""
    await _accept(interaction, target, _drawer_at_twice_the_size(interaction, target), starts_from_picture=True)


def _drawer_at_twice_the_size(interaction: Interaction, target: ResultTarget) -> Prepare:
    limits = Context.of(interaction).limits
    engine = interaction.client.service.engine

    async def prepare(source: ResultSource) -> ImageRequest:
        request = (await source.request()).drawn()
        model = engine.model_of(request.model)
        request = model.by_teacher(request, limits.steps).replace(sampler=model.even_sampler)
        validate_upscale(request, limits)
        return upscaled(request, await source.picture(target.index), target.index, model.defaults.upscale_start)

    return prepare


async def enlarge(interaction: Interaction, target: ResultTarget) -> None:
    """Ask how to enlarge a picture: by the upscaler, or by drawing it again; then do that."""
    context = Context.of(interaction)
    language = context.language
    by_upscaler = [
        discord.SelectOption(label=say(language, "{factor}x the size", factor=factor), value=str(factor))
        for factor in interaction.client.service.engine.model.upscales
    ]
    again = discord.SelectOption(
        label=say(language, "Drawn again at twice the size"),
        description=say(language, "Takes longer, and changes details"),
        value=str(DRAWN_AGAIN),
    )
    question = say(language, "How should I enlarge this picture?")
    chosen = await choose(context, question, CHOOSE_A_SIZE, [*by_upscaler, again])
    if chosen is None:
        return
    answered, factor = chosen

    async def prepare(source: ResultSource) -> ImageRequest:
        picture = await source.picture(target.index)
        return (await source.request()).single(target.index).enlarged_by_upscaler(picture, factor)

    wanted = _drawer_at_twice_the_size(interaction, target) if factor == DRAWN_AGAIN else prepare
    await _accept(interaction, target, wanted, starts_from_picture=True, context=answered)


async def _accept(
    interaction: Interaction,
    target: ResultTarget,
    prepare: Prepare,
    *,
    starts_from_picture: bool,
    context: Context | None = None,
) -> None:
    """Accept the changed request; ``context`` is that of the answer to a question, if there was one."""
    service = interaction.client.service
    context = context or Context.of(interaction)
    source = await ResultSource.of(service, interaction.message, target.creation_id)
    origin = source.origin(target, uses_picture=starts_from_picture)
    await service.accept(context, lambda: prepare(source), private=source.creation.private, origin=origin)


async def setup(bot: "Darkroom") -> None:
    """Register the actions."""
    service = bot.service

    service.result_actions.add(
        ResultAction(
            "upscale",
            upscale,
            N_("Upscale"),
            "🔍",
            N_("Draws it again at twice the size"),
            rank=10,
            of_picture=True,
            letter="U",
            is_offered=lambda _: not service.engine.model.upscales,
        ),
        ResultAction(
            "enlarge",
            enlarge,
            N_("Upscale"),
            "🔍",
            N_("Makes it two or four times as large"),
            rank=10,
            of_picture=True,
            letter="U",
            is_offered=lambda _: bool(service.engine.model.upscales),
        ),
        ResultAction(
            "subtle", more_like_this, N_("Vary (subtle)"), "🔁", N_("Draws pictures close to it"), rank=20, of_picture=True
        ),
        ResultAction(
            "strong",
            more_like_this,
            N_("Vary (strong)"),
            "🔀",
            N_("Draws pictures that keep only its main lines"),
            rank=30,
            of_picture=True,
            letter="V",
        ),
        ResultAction("reroll", reroll, N_("Reroll"), "🎲", N_("Draws other pictures from the same words"), rank=40),
        ResultAction("info", info, N_("Info"), "ℹ️", N_("Shows the prompt and all settings"), rank=80),
        ResultAction(
            "delete", delete, N_("Delete"), "🗑️", N_("Removes this message"), rank=90, style=discord.ButtonStyle.danger
        ),
        ResultAction("cancel", cancel),
    )
