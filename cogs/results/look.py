"""The second form of Edit: model, style, size, quality or sampler, and LoRAs."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

import discord

from cogs.core.generation.builder import RequestBuilder
from cogs.core.i18n.catalogues import say
from cogs.core.messages.components import INVALID_CHOICE, Form
from cogs.core.policy.context import Context
from cogs.core.request.edit_form import Edit
from cogs.core.request.options import MAX_CHOICES, QUALITY_NAMES
from cogs.core.types import Interaction
from diffusion.errors import DarkroomError
from diffusion.families.spec import ModelSpec
from diffusion.lora.tags import find_tags
from diffusion.request import MAX_LORAS, SAMPLER_NAMES, ImageRequest

KEEP: Final = "keep"  # the value of an option that changes nothing
SIZE_LENGTH: Final = 11  # as in "1024 x 1024"
Submit = Callable[[Interaction, Edit], Awaitable[None]]


class LookForm(Form):
    """Asks how to draw ``request`` again, whose settings are ``filled`` in, and hands the result to ``submit``."""

    def __init__(
        self, context: Context, request: ImageRequest, filled: Edit, *, builder: RequestBuilder, submit: Submit
    ) -> None:
        language = context.language
        super().__init__(say(language, "Model and look"))
        self._request = request
        self._filled = filled
        self._builder = builder
        self._submit = submit
        current = builder.for_model(filled.model or request.model)
        names = {name: name for name in builder.engine.models}
        kept = {KEEP: say(language, "Leave it as it is")}
        self._selects: dict[str, discord.ui.Select[Any]] = {}
        if len(names) > 1:
            self._offer("model", names, [_name_of(builder, current.model)])
            self.ask(say(language, "Model"), self._selects["model"], say(language, "Another one brings its own settings"))
        if current.styles:
            self._offer("style", kept | {name: name for name in current.styles}, [filled.style or KEEP])
            self.ask(say(language, "Style"), self._selects["style"], say(language, "Is added to the prompt"))
        size = filled.size or f"{request.width}x{request.height}"
        self._size: discord.ui.TextInput[Any] = discord.ui.TextInput(default=size, max_length=SIZE_LENGTH, custom_id="size")
        self.ask(say(language, "Size"), self._size, say(language, "Width x height in pixels, such as 512x768"))
        self._offer("way", kept | _ways(current.model, language), [KEEP])
        self.ask(say(language, "Quality or sampler"), self._selects["way"], say(language, "A quality also sets the steps"))
        worn = [name for name, _ in find_tags(filled.prompt)[1]]
        loras = dict.fromkeys([*worn, *(lora.name for lora in current.model.loras.values() if not lora.problem)])
        if loras:
            self._offer("loras", {name: name for name in loras}, worn, most=MAX_LORAS)
            self.ask(say(language, "LoRAs"), self._selects["loras"], say(language, "The prompt has their weights"))

    def _offer(self, name: str, labels: Mapping[str, str], chosen: Iterable[str], most: int = 1) -> None:
        """Make a select of as many options as Discord shows, of which some are chosen."""
        chosen = set(chosen)
        first = [value for value in labels if value in chosen or value == KEEP]
        values = dict.fromkeys([*first, *labels])
        options = [
            discord.SelectOption(label=labels[value][:100], value=value[:100], default=value in chosen)
            for value in [*values][:MAX_CHOICES]
        ]
        most = min(most, len(options))
        self._selects[name] = discord.ui.Select(
            custom_id=name, options=options, required=False, min_values=0 if most > 1 else 1, max_values=most
        )

    async def run(self, interaction: Interaction) -> None:
        """Pass on what the member chose."""
        for select in self._selects.values():
            if not {option.value for option in select.options}.issuperset(select.values):
                raise DarkroomError(INVALID_CHOICE)
        await self._submit(interaction, self._edit(Context.of(interaction)))

    def _chosen(self, name: str) -> str:
        select = self._selects.get(name)
        return select.values[0] if select and select.values and select.values[0] != KEEP else ""

    def _edit(self, context: Context) -> Edit:
        """Return the settings with what the member chose; another model brings its own."""
        edit = self._filled
        request = self._request
        typed = self._size.value.strip()
        before = edit.size or f"{request.width}x{request.height}"
        builder = self._builder.for_model(edit.model or request.model)
        chosen = self._chosen("model")
        if chosen and chosen != _name_of(self._builder, builder.model):
            builder = self._builder.for_model(chosen)
            width, height = builder.fit_aspect((request.width, request.height), context.limits)
            edit = _with_preset(replace(edit, model=chosen, size=f"{width}x{height}"), builder, "standard", context)
            edit = replace(edit, guidance=f"{builder.model.defaults.guidance_scale:g}")
        if typed and typed != before:
            edit = replace(edit, size=typed)
        kind, _, way = self._chosen("way").partition(":")
        if kind == "quality":
            edit = _with_preset(edit, builder, way, context)
        elif kind == "sampler":
            edit = replace(edit, quality="", sampler=way)
        if "loras" in self._selects:
            edit = edit.with_loras(self._selects["loras"].values)
        return replace(edit, style=self._chosen("style"))


def _ways(model: ModelSpec, language: str) -> dict[str, str]:
    """Return the qualities and samplers of ``model`` by the values of their options."""
    qualities = {
        f"quality:{quality}": say(language, "Quality: {name}", name=say(language, title))
        for quality, title in QUALITY_NAMES.items()
    }
    return qualities | {f"sampler:{name}": SAMPLER_NAMES[name] for name in model.samplers}


def _with_preset(edit: Edit, builder: RequestBuilder, quality: str, context: Context) -> Edit:
    preset = builder.preset(quality, context.limits)
    return replace(edit, quality=quality, steps=str(preset["steps"]), sampler=preset["sampler"])


def _name_of(builder: RequestBuilder, model: ModelSpec) -> str:
    """Return the name by which members choose ``model``."""
    return next((name for name, offered in builder.engine.models.items() if offered is model), "")
