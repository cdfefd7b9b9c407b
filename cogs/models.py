"""/models: show the models and which one is in use; let the operator switch."""

import asyncio
import contextlib
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

import discord
from discord import app_commands
from discord.ext import commands

from cogs.admin import OTHER_PROCESSES
from cogs.core.config import model_name
from cogs.core.generation.service import GenerationService
from cogs.core.i18n.catalogues import say, translate
from cogs.core.messages.replies import as_user_error
from cogs.core.policy.context import Context
from cogs.core.policy.permissions import check_operator
from cogs.core.request.options import matching_choices
from cogs.core.types import Interaction
from diffusion.errors import DarkroomError
from diffusion.text import N_

if TYPE_CHECKING:
    from bot import Darkroom

log = logging.getLogger(__name__)
OTHERS = N_("Choose another for a picture by the option `model`, or for all of yours with `/settings mine`: {models}.")
LOADING = N_("Loading `{model}`. I draw with `{drawing}` until it is ready…")


class ModelsCog(commands.Cog):
    """Lists the operator's models and switches to another one."""

    def __init__(self, service: GenerationService, bot: Any) -> None:
        self.service = service
        self.bot = bot
        self.drawing: str = bot.config.model_names[0]
        self._chosen: str | None = None  # the latest choice in another process
        self._following = asyncio.Lock()
        service.broadcasts.handlers["model"] = lambda source: service.background.start(self._follow(source))

    @app_commands.command()
    @app_commands.describe(model="The model to use from now on, for everyone; only the bot's operator can choose it")
    async def models(self, interaction: Interaction, model: str | None = None) -> None:
        """Show the models and which one is in use."""
        language = Context.of(interaction).language
        if model is None:
            await _say(interaction, self._overview_text(language))
            return
        await check_operator(interaction)
        source = self._source(model)
        await _say(interaction, say(language, LOADING, model=model, drawing=model_name(self.drawing)))
        self.service.background.start(self._switch(interaction, source))

    @models.autocomplete("model")
    async def _offer_models(self, interaction: Interaction, current: str) -> list[app_commands.Choice[str]]:
        return matching_choices(map(model_name, self.bot.config.model_names), current)

    def _overview_text(self, language: str) -> str:
        lines = [say(language, "I draw with `{model}`.", model=model_name(self.drawing))]
        if others := [f"`{model_name(source)}`" for source in self.bot.config.model_names if source != self.drawing]:
            lines.append(say(language, OTHERS, models=", ".join(others)))
        return "\n".join(lines)

    def _source(self, model: str) -> str:
        """Find an offered model by name; raises `DarkroomError`."""
        offered: dict[str, str] = {model_name(source): source for source in self.bot.config.model_names}
        if model not in offered:
            names = ", ".join(f"`{name}`" for name in offered)
            raise DarkroomError("There is no such model here. Choose one of these: {models}.", models=names)
        if offered[model] == self.drawing:
            raise DarkroomError("I draw with `{model}` already.", model=model)
        return offered[model]

    async def _switch(self, interaction: Interaction, source: str) -> None:
        language = Context.of(interaction).language
        try:
            await self._load(source)
            others = await self.service.broadcasts.publish("model", source)
        except Exception as error:
            unchanged = say(language, "I go on drawing with `{model}`.", model=model_name(self.drawing))
            text = f"{translate(language, as_user_error(error))} {unchanged}"
        else:
            text = say(language, "From now on I draw with `{model}`.", model=model_name(source))
            if others:
                text += f"\n{say(language, OTHER_PROCESSES, count=others)}"
        try:
            await interaction.edit_original_response(content=text)
        except discord.HTTPException:  # the answer cannot be edited after 15 minutes
            log.info("the answer to /models could not be edited")

    async def _follow(self, source: str) -> None:
        """Switch to the model that was chosen in another process."""
        if source not in self.bot.config.model_names:
            log.warning("another process draws with the model %s, which is not offered here", source)
            return
        self._chosen = source
        async with self._following:
            if source == self._chosen:  # otherwise a newer choice waits for the lock
                with contextlib.suppress(Exception):  # `_load` has logged it
                    await self._load(source)

    async def _load(self, source: str) -> None:
        try:
            await self.service.engine.switch(partial(self.bot.load_model, source), model_name(source))
        except Exception as error:
            log.warning("the model %s cannot be used: %s", source, error)
            raise
        log.info("the model %s is in use", source)
        self.drawing = source


async def _say(interaction: Interaction, text: str) -> None:
    await interaction.response.send_message(text, ephemeral=True)


async def setup(bot: "Darkroom") -> None:
    """Add the cog."""
    await bot.add_cog(ModelsCog(bot.service, bot))
