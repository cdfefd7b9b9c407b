"""Image info: read from a file how a picture was made, and make another.

The picture may come from this bot or from another tool.
"""

import asyncio
import contextlib
import io
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import discord
from discord import app_commands

from cogs.core.generation.linked import with_pictures
from cogs.core.generation.source import creation_of_message, pictures_to_choose
from cogs.core.i18n.catalogues import ENGLISH, say, translate
from cogs.core.messages.attachments import PostedFile, download, fetch_picture, hides_any, posted_files
from cogs.core.messages.choose import choose_picture
from cogs.core.messages.components import PersistentButton, view_of
from cogs.core.messages.message import NO_MENTIONS
from cogs.core.messages.render import escape, title
from cogs.core.policy.context import Context
from cogs.core.policy.origins import Origin
from cogs.core.request.prompt import clean
from cogs.core.storage.creations import Creation
from cogs.core.types import Interaction
from diffusion.errors import InvalidImageError
from diffusion.images.decoding import DecodedImage
from diffusion.images.metadata.adaptation import PROMPT_FIELDS, adapt
from diffusion.images.metadata.recipe import Recipe
from diffusion.images.metadata.registry import recipe_of
from diffusion.request import SAMPLER_NAMES, ImageRequest, random_seed
from diffusion.text import Text, plural

if TYPE_CHECKING:
    from bot import Darkroom

RECIPE_FILE: Final = "recipe.json"
MAX_RECIPE_BYTES: Final = 2**20
PROMPT_LENGTH: Final = 250  # characters shown
NEGATIVE_LENGTH: Final = 100
NAME_LENGTH: Final = 50
MESSAGE_LENGTH: Final = 2000  # Discord's limit


class AgainButton(PersistentButton, name="again"):
    """Makes another picture from the recipe attached to its message.

    ``creation_id`` is 0 for a picture that the bot did not make.
    """

    is_public = True

    creation_id: int

    def __init__(self, creation_id: int, language: str = ENGLISH) -> None:
        button: discord.ui.Button[Any] = discord.ui.Button(label=say(language, "Make another like it"), emoji="🎨")
        super().__init__(button, creation_id=creation_id)

    async def run(self, interaction: Interaction) -> None:
        """Make another picture from the recipe.

        Neither flags nor the member's own style apply.
        """
        context = Context.of(interaction)
        service = interaction.client.service
        files = posted_files(interaction.message) if interaction.message else []
        file = next((file for file in files if file.name.endswith(RECIPE_FILE)), None)
        if file is None:
            raise InvalidImageError("The recipe of this message is gone. Please use Image info again.")
        creation = await service.creation_store.get(self.creation_id) if self.creation_id else None

        async def prepare() -> ImageRequest:
            settings, _ = await _adapt(context, Recipe(**json.loads(await download(file, MAX_RECIPE_BYTES))))
            prompts = {field: clean(settings[field]) for field in PROMPT_FIELDS}
            model = service.engine.model_of(settings.get("model", ""))
            return model.request(**settings | prompts, seed=random_seed())

        origin = Origin(creation, uses_source=False)
        await service.accept(context, prepare, spoiler=hides_any(file) or None, origin=origin)


async def show_info(interaction: Interaction, message: discord.Message) -> None:
    """Show the member how a picture of ``message`` was made, or of the message to which it replies."""
    message = await with_pictures(Context.of(interaction), message)
    chosen = await choose_picture(Context.of(interaction), pictures_to_choose(message))
    if chosen is None:
        return
    context, file = chosen
    interaction = context.interaction
    language = context.language
    await interaction.response.defer(ephemeral=True, thinking=True)
    creation = await creation_of_message(context, message)
    recipe = await _read(context, file, creation)
    _, changes = await _adapt(context, recipe)
    text = recipe_text(recipe, [translate(language, change) for change in changes], language)
    # The button reads the attached recipe, because the picture may be deleted or out of reach later.
    data = io.BytesIO(json.dumps(asdict(recipe), indent=1).encode())
    attached = discord.File(data, RECIPE_FILE, spoiler=hides_any(file))  # so that the button hides its picture, too
    view = view_of(AgainButton(creation.id if creation else 0, language))
    await interaction.followup.send(text, file=attached, view=view, ephemeral=True, allowed_mentions=NO_MENTIONS)


async def prompt_in_picture(context: Context, picture: DecodedImage) -> str:
    """Return the prompt that a picture's file contained, "" if there is none."""
    with contextlib.suppress(InvalidImageError):
        recipe = await asyncio.to_thread(recipe_of, picture.texts, picture.size)
        settings, _ = await _adapt(context, recipe)
        return str(settings["prompt"])
    return ""


async def _read(context: Context, file: PostedFile, creation: Creation | None) -> Recipe:
    """Read how ``file`` was made, or else take it from its creation.

    Animations and files that were made smaller do not contain it. Files of others are charged if they are refused.
    """
    try:
        async with contextlib.AsyncExitStack() as charging:
            if creation is None:
                rules = context.interaction.client.service.rules
                await charging.enter_async_context(rules.charging_refused_attachment(context))
            picture = await fetch_picture(file)
        return await asyncio.to_thread(recipe_of, picture.texts, picture.size)
    except InvalidImageError:
        if creation is None or not creation.request:
            raise
        return Recipe(creation.request, creation.model or "", SAMPLER_NAMES.get(creation.request.get("sampler", ""), ""))


async def _adapt(context: Context, recipe: Recipe) -> tuple[dict[str, Any], list[Text]]:
    """Return the settings for the model of the recipe, or else the present one, and what differs from the recipe."""
    engine = context.interaction.client.service.engine
    known = {"": engine.model, **engine.models}
    name = recipe.settings.get("model") or ""
    if not name or name not in known:
        drew = recipe.model
        name = next((name for name, model in known.items() if drew and drew in (name, model.name)), "")
    settings, notes = await asyncio.to_thread(adapt, recipe, known[name], context.limits)
    return (settings | {"model": name} if name else settings), notes


def recipe_text(recipe: Recipe, notes: list[str], language: str = ENGLISH) -> str:
    """Return how a picture was made, and what would be different here."""
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
    for name, weight in settings.get("loras") or ():
        parts.append(say(language, "LoRA {name} {weight}", name=_short(name), weight=f"{weight:g}"))
    if settings.get("guide_label"):
        parts.append(say(language, "steered to {label}", label=_short(settings["guide_label"])))
    if recipe.model:
        parts.append(say(language, "model {name}", name=_short(recipe.model)))
    lines = [title(settings.get("prompt") or say(language, "No prompt"), PROMPT_LENGTH)]
    if negative := settings.get("negative_prompt"):
        lines.append(f"-# {say(language, 'without {prompt}', prompt=title(negative, NEGATIVE_LENGTH))}")
    lines.append(f"-# {escape(' · '.join(parts))}")
    if notes:
        lines.append(say(language, "To make another like it here:"))
    for note in notes:
        line = f"- {escape(note)}"
        if sum(map(len, lines)) + len(lines) + len(line) > MESSAGE_LENGTH - 2:
            lines.append("…")
            break
        lines.append(line)
    return "\n".join(lines)


def _short(name: str) -> str:
    return clean(name)[:NAME_LENGTH]


async def setup(bot: "Darkroom") -> None:
    """Add the menu."""
    bot.tree.add_command(app_commands.ContextMenu(name="Image info", callback=show_info))
