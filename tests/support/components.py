"""Persistent buttons and selects, made from their custom_ids alone."""

import inspect
from types import SimpleNamespace

import discord

from cogs.core.messages.components import PersistentItem
from cogs.emoji.draft import Draft
from cogs.emoji.expressions import EMOJI

EXAMPLES = {"draft": Draft(EMOJI, 1, 0, True, "fox", "")}  # of what constructors take beside the fields


async def component_of(item, custom_id):
    """Return the button or select that an item class with this custom_id shows, with nothing to choose from."""
    match = item.__discord_ui_compiled_template__.fullmatch(custom_id)
    interaction = SimpleNamespace(message=None)
    if not issubclass(item, PersistentItem) or item.__init__ is PersistentItem.__init__:
        return (await item.from_custom_id(interaction, discord.ui.Select(custom_id=custom_id), match)).item
    fields = vars(await item.from_custom_id(interaction, discord.ui.Select(custom_id=custom_id), match))
    needed = [name for name, parameter in inspect.signature(item).parameters.items() if parameter.default is parameter.empty]
    return item(**{name: fields.get(name, EXAMPLES.get(name, range(0))) for name in needed}).item
