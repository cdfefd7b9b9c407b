"""Post alone: post one of several pictures by itself, at its full size."""

from typing import TYPE_CHECKING

from cogs.core.generation.source import ResultSource
from cogs.core.i18n.catalogues import say
from cogs.core.messages import render
from cogs.core.messages.message import Result
from cogs.core.messages.uploads import send_followup
from cogs.core.messages.views import ResultAction, ResultTarget
from cogs.core.policy.context import Context
from cogs.core.policy.limits import NotAllowedError
from cogs.core.policy.origins import AGE_RESTRICTED
from cogs.core.policy.permissions import fits_channel
from cogs.core.types import Interaction
from diffusion.text import N_

if TYPE_CHECKING:
    from bot import Darkroom


async def post_alone(interaction: Interaction, target: ResultTarget) -> None:
    """Post the chosen picture as a message of its own, with all that members can do with it."""
    service = interaction.client.service
    context = Context.of(interaction)
    source = await ResultSource.of(service, interaction.message, target.creation_id)
    creation = source.creation
    if not creation.private and not fits_channel(context, creation):
        raise NotAllowedError(AGE_RESTRICTED)
    await interaction.response.defer(thinking=True, ephemeral=creation.private)
    language = context.language_for(creation.private)
    request = await source.request()
    own = request.single(target.index)
    picture = await source.file(target.index)
    shown = range(target.index, target.index + 1)
    number = say(language, "Picture {number} of {count}.", number=target.index + 1, count=request.count)
    result = Result(
        render.headline(own, language),
        render.result_pictures(own, [picture], language),
        footer=f"-# {number}",
        rows=lambda: service.result_actions.rows(creation, shown, language),
        spoiler=creation.spoiler,
        language=language,
    )
    await send_followup(interaction, result, ephemeral=creation.private)


async def setup(bot: "Darkroom") -> None:
    """Register the action."""
    bot.service.result_actions.add(
        ResultAction(
            "alone",
            post_alone,
            N_("Post this one alone"),
            "🖼️",
            N_("Posts it by itself, at its full size"),
            of_picture=True,
            of_several=True,
        )
    )
