"""What a member's words and options become: a request, with what they, their channel, server or model prefer for the rest.

Of all that say something the nearest counts: the command's options, flags in the prompt, the style, preferences, the model.
"""

from collections.abc import Mapping
from typing import Any

import discord

from cogs.core.messages.replies import NOTE
from cogs.core.policy.limits import Rules
from cogs.core.policy.locale import language_of
from cogs.core.request.flags import note, read_flags
from cogs.core.request.options import checked, clean, parse_size
from cogs.core.request.preferences import Preferences
from cogs.core.request.prompt_matrix import prompted
from cogs.core.request.styles import Style, of_words, style_of
from diffusion.families.spec import ModelSpec
from diffusion.request import ImageRequest, Limits, random_seed, start_step_for
from diffusion.serving.interface import ImageEngine


class RequestBuilder:
    """Composes requests for the model that draws."""

    def __init__(self, engine: ImageEngine, rules: Rules, styles: Mapping[str, Style] | None = None) -> None:
        self.engine, self.rules = engine, rules
        self.offer(styles)

    @property
    def model(self) -> ModelSpec:
        """What draws at the moment."""
        return self.engine.model

    @property
    def styles(self) -> Mapping[str, Style]:
        """What is offered by name."""
        return self._styles or of_words(self.model.defaults.styles)

    def offer(self, styles: Mapping[str, Style] | None) -> None:
        """Know ``styles`` by name; None: the model's own."""
        self._styles = styles

    def request(
        self,
        interaction: discord.Interaction[Any],
        prompt: str,
        style: str | None = None,
        quality: str | None = None,
        **options: Any,
    ) -> ImageRequest:
        """Compose what is asked for with ``options``, of which None leaves one open; raises `InvalidRequestError`."""
        limits, preferred = self.rules.limits(interaction), self.rules.preference_store.effective_for(interaction)
        words, flags = self._read(interaction, prompt, limits)
        of_flags = flags.pop("style", None)
        named = next((name for name in (style, of_flags, preferred.style if words else None) if name), None)
        chosen = style_of(self.styles, clean(named or ""))
        options = {name: value for name, value in options.items() if value is not None}
        given = {"count": 1} | self._developed(quality, limits) | flags | options
        return self.model.request(**self.defaults(preferred, chosen, limits) | _styled(words, chosen, given))

    def edited(
        self, interaction: discord.Interaction[Any], request: ImageRequest, prompt: str, **settings: Any
    ) -> ImageRequest:
        """Give ``request`` with ``settings`` and with ``prompt``, whose flags count more; raises `InvalidRequestError`."""
        words, flags = self._read(interaction, prompt, self.rules.limits(interaction))
        chosen = style_of(self.styles, clean(flags.pop("style", "")))
        given = _styled(words, chosen, {"count": request.count_each} | settings | flags)
        start_step = start_step_for(request.start_step / request.steps, given.get("steps", request.steps))
        return request.replace(start_step=start_step, **given)

    def _read(self, interaction: discord.Interaction[Any], prompt: str, limits: Limits) -> tuple[str, dict[str, Any]]:
        """Take ``prompt`` apart into words and what its flags set; those that mean nothing are noted for the member."""
        written = read_flags(clean(prompt))
        if written.unknown:
            interaction.extras[NOTE] = note(written.unknown, language_of(interaction))
        flags = dict(written.settings)
        if aspect := flags.pop("aspect", None):
            flags["width"], flags["height"] = self.shaped(aspect, limits)
        return written.prompt, flags

    def _developed(self, quality: str | None, limits: Limits) -> dict[str, Any]:
        """Give the settings that a member asks for by ``quality``, in as many steps as there may be."""
        if quality is None:
            return {}
        preset = self.model.defaults.of(quality)
        return preset | {"steps": min(preset["steps"], limits.steps)}

    def defaults(self, preferred: Preferences, style: Style | None, limits: Limits) -> dict[str, Any]:
        """Give what is preferred, lowered to ``limits``: what nobody asked for is no reason to refuse."""
        width, height = parse_size(preferred.size)
        width, height = self.fitting(width or self.model.sample_side, height or self.model.sample_side, limits)
        own = self.model.defaults
        preset = own.of(preferred.quality or "standard")
        guidances = (style and style.guidance, preferred.guidance, own.guidance_scale)
        return {
            "width": width,
            "height": height,
            "steps": min((style and style.steps) or preferred.steps or preset["steps"], limits.steps),
            "guidance_scale": next(guidance for guidance in guidances if guidance is not None),
            "sampler": preferred.sampler or preset["sampler"],
            "guidance_interval": preset["guidance_interval"],
            "seed": random_seed(),
        }

    def shaped(self, aspect: tuple[float, float], limits: Limits) -> tuple[int, int]:
        """Give the size of the model's own area whose sides are to each other as those of ``aspect``."""
        stretch = (aspect[0] / aspect[1]) ** 0.5
        return self.fitting(self.model.sample_side * stretch, self.model.sample_side / stretch, limits)

    def fitting(self, width: float, height: float, limits: Limits) -> tuple[int, int]:
        """Shrink a size to ``limits``, in whole cells of the model's latents."""
        cell = self.model.latent_factor
        scale = min(1, limits.side / max(width, height)) / cell

        def cells(side: float) -> int:
            return max(1, min(round(side * scale), limits.side // cell))

        return cells(width) * cell, cells(height) * cell


def _styled(words: str, style: Style | None, settings: dict[str, Any]) -> dict[str, Any]:
    """Give ``settings`` with the prompts that ``words`` are in that style, and with what it keeps out."""
    if style and style.negative:
        settings["negative_prompt"] = ", ".join(filter(None, (settings.get("negative_prompt"), style.negative)))
    return settings | prompted(checked(style.applied(words) if style else words), settings["count"])
