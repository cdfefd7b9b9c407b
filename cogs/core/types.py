"""Types that all cogs share."""

from typing import TYPE_CHECKING, TypeAlias

import discord

if TYPE_CHECKING:
    from bot import Darkroom

Interaction: TypeAlias = "discord.Interaction[Darkroom]"
