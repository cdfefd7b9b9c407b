"""What comes back from selects and forms is what they offered, whatever a client sends."""

from collections.abc import Iterable, Iterator
from typing import Any

import discord

from diffusion.errors import DarkroomError
from diffusion.text import N_, plural

Interaction = discord.Interaction[Any]
NOT_OFFERED = N_("This cannot be chosen here. Please choose again, or give the command once more.")


class Offering:
    """For selects that work after a restart: their options stand on their message alone, and a choice is one of these."""

    async def interaction_check(self, interaction: Interaction, /) -> bool:
        """Let a choice pass that is offered; of any other its member is told."""
        data: Any = interaction.data
        offered = set(_values(interaction.message.components if interaction.message else (), data["custom_id"]))
        chosen = data.get("values")
        if chosen and offered.issuperset(chosen):
            return True
        await interaction.client.service.tell(interaction, DarkroomError(NOT_OFFERED))
        return False


class Bounded:
    """For forms: what is typed is no longer than its field takes."""

    async def interaction_check(self: Any, interaction: Interaction, /) -> bool:
        """Let a form pass whose texts are short enough; of any other its member is told."""
        for field in self.walk_children():
            if isinstance(field, discord.ui.TextInput) and len(field.value) > (field.max_length or len(field.value)):
                error = DarkroomError(
                    plural(
                        "A text may have {most} character there. Please shorten it.",
                        "A text may have {most} characters there. Please shorten it.",
                        by="most",
                    ),
                    most=field.max_length,
                )
                await interaction.client.service.tell(interaction, error)
                return False
        return True


def _values(components: Iterable[Any], custom_id: str) -> Iterator[str]:
    for component in components:
        if getattr(component, "custom_id", None) == custom_id:
            yield from (option.value for option in component.options)
        yield from _values(getattr(component, "children", ()), custom_id)
