"""The menus of messages and members: More like this, Image info, Remix avatar."""

import asyncio
import contextlib
import io
import json
import re
from dataclasses import asdict
from pathlib import PurePath
from typing import Any, Final, Self

import discord
from discord import app_commands
from discord.ext import commands

from cogs.core.generation.service import GenerationService
from cogs.core.i18n.catalogues import ENGLISH, say, translate
from cogs.core.messages.attachments import PostedFile, download, posted_files
from cogs.core.messages.delivery import NO_MENTIONS
from cogs.core.messages.render import escape, title
from cogs.core.policy.locale import language_of
from cogs.core.policy.permissions import Interaction, may_see
from cogs.core.request.options import clean
from cogs.core.request.prompt_matrix import literal
from cogs.core.storage.creations import Creation
from cogs.core.storage.database import DatabaseUnavailableError
from cogs.similar import SIMILARITY
from diffusion.errors import InvalidImageError
from diffusion.images.io import read_image
from diffusion.images.metadata.adaptation import PROMPTS, adapt
from diffusion.images.metadata.recipe import Recipe, read_recipe
from diffusion.request import SAMPLER_NAMES, ImageRequest, random_seed, start_step_for
from diffusion.text import Text, plural

SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
AVATAR_SIDE: Final = 512
RECIPE: Final = "recipe.json"
PROMPT_SHOWN, NEGATIVE_SHOWN, NAME_SHOWN = 250, 100, 50


class AgainButton(discord.ui.DynamicItem[discord.ui.Button[Any]], template=r"darkroom:again:(?P<creation>\d+)"):
    """Makes another picture by the recipe that is attached to its message; ``creation`` is what it was read from, or 0."""

    def __init__(self, creation: int, language: str = ENGLISH) -> None:
        custom_id, label = f"darkroom:again:{creation}", say(language, "Make another like it")
        super().__init__(discord.ui.Button(label=label, emoji="🎨", custom_id=custom_id))
        self.creation = creation

    @classmethod
    async def from_custom_id(cls, interaction: Interaction, item: discord.ui.Item[Any], match: re.Match[str]) -> Self:
        """Make the button anew from its custom_id."""
        return cls(int(match["creation"]))

    async def callback(self, interaction: Interaction) -> None:
        """Hand the press over."""
        await interaction.client.get_cog("ContextMenusCog").again(interaction, self.creation or None)


class ContextMenusCog(commands.Cog):
    """Starts from what others have posted."""

    def __init__(self, bot: Any) -> None:
        self.service: GenerationService = bot.service
        self._tree = bot.tree
        self._menus = [
            app_commands.ContextMenu(name="More like this", callback=self.more),
            app_commands.ContextMenu(name="Image info", callback=self.info),
            app_commands.ContextMenu(name="Remix avatar", callback=self.remix),
        ]

    async def cog_load(self) -> None:
        """Add the menus, which discord.py does not find in a cog by itself."""
        for menu in self._menus:
            self._tree.add_command(menu)

    async def cog_unload(self) -> None:
        """Take them out again."""
        for menu in self._menus:
            self._tree.remove_command(menu.name, type=menu.type)

    async def more(self, interaction: Interaction, message: discord.Message) -> None:
        """Make a picture that starts from the first one of ``message``, with its prompt where that can be found out."""
        async with self.service.answering(interaction):
            file = _first_picture(message)
            creation = await self._creation_of(interaction, message)
            self.service.rules.check_remix(interaction, creation.owner if creation else message.author.id)

            async def similar() -> ImageRequest:
                data = await download(file)
                prompt = (creation.request or {}).get("prompt", "") if creation else ""
                if creation is None:
                    with contextlib.suppress(InvalidImageError):
                        recipe = await asyncio.to_thread(read_recipe, data)
                        prompt = (await self._adapted(interaction, recipe))[0]["prompt"]
                return await self._similar(interaction, data, prompt)

            await self.service.make(interaction, similar, parent=creation.id if creation else None)

    async def remix(self, interaction: Interaction, member: discord.User) -> None:
        """Make a picture that starts from the avatar of ``member``."""
        async with self.service.answering(interaction):
            self.service.rules.check_remix(interaction, member.id)

            async def similar() -> ImageRequest:
                # Discord scales it, so that it cannot be large.
                avatar = member.display_avatar.with_size(AVATAR_SIDE).with_static_format("png")
                return await self._similar(interaction, await download(PostedFile("avatar.png", "", 0, avatar.read)), "")

            await self.service.make(interaction, similar)

    async def info(self, interaction: Interaction, message: discord.Message) -> None:
        """Tell the member how the first picture of ``message`` was made, as far as its file says so."""
        async with self.service.answering(interaction):
            file = _first_picture(message)
            await interaction.response.defer(ephemeral=True, thinking=True)
            creation = await self._creation_of(interaction, message)
            recipe = await self._recipe(file, creation)
            view, language = discord.ui.View(timeout=None), language_of(interaction)
            view.add_item(AgainButton(creation.id if creation else 0, language))
            # What the button needs stands in this message: the one it was read from may be gone or out of the bot's reach.
            attached = discord.File(io.BytesIO(json.dumps(asdict(recipe), indent=1).encode()), RECIPE)
            _, changes = await self._adapted(interaction, recipe)
            text = recipe_text(recipe, [translate(language, change) for change in changes], language)
            await interaction.followup.send(text, file=attached, view=view, ephemeral=True, allowed_mentions=NO_MENTIONS)

    async def again(self, interaction: Interaction, parent: int | None) -> None:
        """Make another picture by the recipe in the message whose button was pressed."""
        message = interaction.message

        async def another() -> ImageRequest:
            file = next((file for file in posted_files(message) if file.name == RECIPE), None) if message else None
            if file is None:
                raise InvalidImageError("This message does not hold its recipe any more. Please choose Image info again.")
            settings, _ = await self._adapted(interaction, Recipe(**json.loads(await download(file))))
            prompts = {field: clean(settings[field]) for field in PROMPTS}
            # The file says what to make: neither flags nor the member's own style count.
            return self.service.engine.model.request(**settings | prompts, seed=random_seed())

        await self.service.make(interaction, another, parent=parent)

    async def _recipe(self, file: PostedFile, creation: Creation | None) -> Recipe:
        """Read how ``file`` was made, or else from the journal: smaller files and animations do not tell it."""
        try:
            return await asyncio.to_thread(read_recipe, await download(file))
        except InvalidImageError:
            if creation is None or not creation.request:
                raise
            return Recipe(creation.request, creation.model or "", SAMPLER_NAMES.get(creation.request.get("sampler", ""), ""))

    async def _adapted(self, interaction: Interaction, recipe: Recipe) -> tuple[dict[str, Any], list[Text]]:
        return await asyncio.to_thread(adapt, recipe, self.service.engine.model, self.service.rules.limits(interaction))

    async def _similar(self, interaction: Interaction, data: bytes, prompt: str) -> ImageRequest:
        """Compose what /similar with its defaults would; ``prompt`` is read from a file and stands for itself alone."""
        image = await asyncio.to_thread(read_image, data)
        request = await self.service.request(interaction, literal(prompt), image=image, sampler="ddim", seed=random_seed())
        return request.replace(start_step=start_step_for(SIMILARITY, request.steps))

    async def _creation_of(self, interaction: Interaction, message: discord.Message) -> Creation | None:
        """Find which creation of ours ``message`` shows; none where it is another's, or the journal does not answer."""
        with contextlib.suppress(DatabaseUnavailableError):
            creation = await self.service.creation_store.get_by_message(message.id)
            return creation if creation and may_see(interaction, creation) else None
        return None


def recipe_text(recipe: Recipe, notes: list[str], language: str = ENGLISH) -> str:
    """Word how a picture was made, and what of it would be different here."""
    settings = {field: value for field, value in recipe.settings.items() if value is not None}
    parts = []
    if "steps" in settings:
        parts.append(say(language, plural("{count} step", "{count} steps"), count=settings["steps"]))
    if "guidance_scale" in settings:
        parts.append(say(language, "guidance {scale}", scale=f"{settings['guidance_scale']:g}"))
    if "seed" in settings:
        parts.append(say(language, "seed {seeds}", seeds=settings["seed"]))
    if settings.get("width") and settings.get("height"):
        parts.append(f"{settings['width']}x{settings['height']}")
    if recipe.sampler:
        parts.append(_short(recipe.sampler))
    if settings.get("guide_label"):
        parts.append(say(language, "steered to {label}", label=_short(settings["guide_label"])))
    if recipe.model:
        parts.append(say(language, "model {name}", name=_short(recipe.model)))
    lines = [title(settings.get("prompt") or say(language, "No prompt"), PROMPT_SHOWN)]
    if negative := settings.get("negative_prompt"):
        lines.append(f"-# {say(language, 'without {prompt}', prompt=title(negative, NEGATIVE_SHOWN))}")
    lines.append(f"-# {escape(' · '.join(parts))}")
    if notes:
        lines += [say(language, "To make another like it here:"), *(f"- {escape(note)}" for note in notes)]
    return "\n".join(lines)


def _short(name: str) -> str:
    return clean(name)[:NAME_SHOWN]


def _first_picture(message: discord.Message) -> PostedFile:
    for file in posted_files(message):
        if PurePath(file.name).suffix.lower() in SUFFIXES:
            return file
    raise InvalidImageError("There is no picture attached to this message.")


async def setup(bot: Any) -> None:
    """Add the cog and make its button known."""
    bot.add_dynamic_items(AgainButton)
    await bot.add_cog(ContextMenusCog(bot))
