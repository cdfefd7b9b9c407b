"""What a member's words and options become: a request, with what they, their channel, server or model prefer for the rest."""

from typing import Any

import discord

from cogs.options import parse_size, with_style
from cogs.preferences import Preferences
from cogs.rules import Rules
from diffusion.model import ImageDiffusionModel
from diffusion.request import ImageRequest, Limits


class Composer:
    """Composes requests for one model."""

    def __init__(self, model: ImageDiffusionModel, rules: Rules) -> None:
        self.model, self.rules = model, rules

    def request(
        self, interaction: discord.Interaction[Any], prompt: str, style: str | None = None, **options: Any
    ) -> ImageRequest:
        """Compose what is asked for with ``options``, of which None leaves one open; raises `InvalidRequest`."""
        preferred = self.rules.registry.at(interaction)
        given = {name: value for name, value in options.items() if value is not None}
        defaults = self.defaults(preferred, self.rules.limits(interaction))
        if style is None and prompt.strip():
            style = preferred.style
        return self.model.request(with_style(prompt, style), **defaults | given)

    def defaults(self, preferred: Preferences, limits: Limits) -> dict[str, Any]:
        """Give what is preferred, lowered to ``limits``: what nobody asked for is no reason to refuse."""
        width, height = parse_size(preferred.size)
        width, height = self.fitting(width or self.model.sample_side, height or self.model.sample_side, limits.side)
        own = self.model.defaults
        return {
            "width": width,
            "height": height,
            "steps": min(preferred.steps or own.steps, limits.steps),
            "guidance_scale": own.guidance_scale if preferred.guidance is None else preferred.guidance,
            "sampler": preferred.sampler or own.sampler,
        }

    def fitting(self, width: float, height: float, side: int) -> tuple[int, int]:
        """Shrink a size until its longer side is at most ``side``, in whole cells of the model's latents."""
        scale, cell = min(1, side / max(width, height)), self.model.latent_factor
        return max(cell, int(width * scale / cell) * cell), max(cell, int(height * scale / cell) * cell)
