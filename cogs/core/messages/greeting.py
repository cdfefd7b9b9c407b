"""How the bot introduces itself: a text, pictures of examples, and buttons that draw them."""

import io
from functools import cache
from pathlib import Path
from typing import Any, Final

import discord
from discord import ui

import diffusion
from cogs.core.i18n.catalogues import ENGLISH, say
from cogs.core.messages.components import PersistentButton
from cogs.core.policy.context import Context
from cogs.core.request.prompt import parse_prompt
from cogs.core.types import Interaction
from diffusion.errors import DarkroomError
from diffusion.families.spec import ModelSpec

EMBEDDED_NAME: Final = "darkroom-embedded"
PICTURES: Final = Path(diffusion.__file__).with_name("pretrained")  # where `benchmarks.style_sheet` saves both
EXAMPLES_FILE: Final = "examples.webp"
STYLES_FILE: Final = "styles.webp"
ROW_LENGTH: Final = 5  # Discord's limit
EXAMPLE_LENGTH: Final = 80  # characters: a label, and a custom_id of 100 with its prefix


class ExampleButton(PersistentButton, name="example"):
    """Draws an example."""

    is_public = True

    prompt: str

    def __init__(self, prompt: str) -> None:
        super().__init__(ui.Button[Any](label=prompt, emoji="🎨"), prompt=prompt)

    async def run(self, interaction: Interaction) -> None:
        """Draw it for the member who pressed."""
        context = Context.of(interaction)
        service = interaction.client.service
        await service.accept(context, service.builder.build(context, parse_prompt(self.prompt)))


class StylesButton(PersistentButton, name="styles"):
    """Shows a picture of each style."""

    def __init__(self, language: str = ENGLISH) -> None:
        super().__init__(ui.Button[Any](label=say(language, "Styles"), emoji="🖌️"))

    async def run(self, interaction: Interaction) -> None:
        """Show the member a picture of each style, or its name."""
        service = interaction.client.service
        language = Context.of(interaction).language
        styles = service.builder.styles
        if not styles:
            raise DarkroomError("There are no styles here. Describe the look in the prompt.")
        names = ", ".join(f"`{name}`" for name in styles)
        hint = say(language, "Choose one by the option `style`, or write `--style` and its name.")
        view = ui.LayoutView(timeout=None)
        view.add_item(ui.TextDisplay(f"**{say(language, 'Styles')}**\n{names}"[:4000]))
        sheet = None if service.builder.custom_styles else picture_of(service.engine.model, STYLES_FILE)
        if sheet:
            view.add_item(ui.MediaGallery(discord.MediaGalleryItem(f"attachment://{STYLES_FILE}")))
        view.add_item(ui.TextDisplay(f"-# {hint}"))
        files = [discord.File(io.BytesIO(sheet), STYLES_FILE, description=", ".join(styles)[:1000])] if sheet else []
        await interaction.response.send_message(view=view, files=files, ephemeral=True)


def picture_of(model: ModelSpec, name: str) -> bytes | None:
    """Return a picture that was drawn with ``model`` beforehand, None without one."""
    return _read(name) if model.name == EMBEDDED_NAME else None


@cache
def _read(name: str) -> bytes | None:
    path = PICTURES / name
    return path.read_bytes() if path.is_file() else None


def greeting(text: str, model: ModelSpec, language: str = ENGLISH) -> dict[str, Any]:
    """Return the options of a message of ``text``, pictures of the examples of ``model``, and buttons that draw these."""
    view = ui.LayoutView(timeout=None)
    view.add_item(ui.TextDisplay(text))
    picture = picture_of(model, EXAMPLES_FILE)
    examples = [example for example in model.defaults.examples if len(example) <= EXAMPLE_LENGTH]
    if picture:
        description = ", ".join(examples)
        view.add_item(ui.MediaGallery(discord.MediaGalleryItem(f"attachment://{EXAMPLES_FILE}", description=description)))
    buttons = [*map(ExampleButton, examples), StylesButton(language)]
    for start in range(0, len(buttons), ROW_LENGTH):
        view.add_item(ui.ActionRow(*buttons[start : start + ROW_LENGTH]))
    files = [discord.File(io.BytesIO(picture), EXAMPLES_FILE)] if picture else []
    return {"view": view, "files": files}
