"""Pictures that a member may mean, suggested while an id or words of a prompt are typed."""

import asyncio
import contextlib
import re
from typing import Final

from discord import app_commands

from cogs.core.generation.source import visible_creation
from cogs.core.i18n.catalogues import ENGLISH, say
from cogs.core.messages.interactions import SUGGESTION_SECONDS
from cogs.core.policy.context import Context
from cogs.core.request.options import MAX_CHOICES
from cogs.core.request.prompt import clean
from cogs.core.storage.creations import Creation
from cogs.core.storage.database import DatabaseUnavailableError
from cogs.core.storage.short_ids import read_short_id
from cogs.core.types import Interaction
from diffusion.errors import DarkroomError

TYPED_WORD: Final = re.compile(r"([^\s,;]+)[\s,;]+")
MAX_LABEL_LENGTH: Final = 100  # Discord's limit on an option of a select and on an autocomplete choice


async def suggest_creations(interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
    """Suggest the picture whose id is typed, and the member's latest whose id begins so or whose prompt contains it."""
    context = Context.of(interaction)
    try:
        async with asyncio.timeout(SUGGESTION_SECONDS):
            found = await _possible(context, typed)
    except (DatabaseUnavailableError, TimeoutError):
        return []
    return [app_commands.Choice(name=creation_label(each, context.language), value=each.short_id) for each in found]


async def suggest_more_creations(interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
    """Suggest pictures as `suggest_creations` does, to follow the ids and links that are typed already."""
    end = 0
    while (word := TYPED_WORD.match(typed, end)) and (read_short_id(word[1]) or "://" in word[1]):
        end = word.end()
    head = typed[:end]
    found = await suggest_creations(interaction, typed[end:])
    named = {f"{head}{choice.value}": f"{head}{choice.name}"[:MAX_LABEL_LENGTH] for choice in found}
    return [app_commands.Choice(name=name, value=value) for value, name in named.items() if len(value) <= MAX_LABEL_LENGTH]


async def _possible(context: Context, typed: str) -> list[Creation]:
    """Return up to `MAX_CHOICES` pictures, those found by their id first."""
    gallery = context.interaction.client.service.stores.gallery
    found: list[Creation] = []
    with contextlib.suppress(DarkroomError):
        found = [await visible_creation(context, typed)]
    if not found:
        found = await gallery.beginning(context.member_id, typed, MAX_CHOICES)
    if len(found) < MAX_CHOICES:
        found += await gallery.latest(context.member_id, typed, MAX_CHOICES)
    return list({creation.id: creation for creation in found}.values())[:MAX_CHOICES]


def creation_label(creation: Creation, language: str = ENGLISH) -> str:
    """Return the name of ``creation`` in a list to choose from."""
    prompt = clean(creation.prompt) or say(language, "Similar picture")
    when = f" · {creation.short_id} · {creation.created:%Y-%m-%d %H:%M}"
    room = MAX_LABEL_LENGTH - len(when)
    return (prompt if len(prompt) <= room else f"{prompt[: room - 1]}…") + when
