"""Command options that several commands share: their descriptions, choices and the parsing of sizes."""

import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

import discord
from discord import app_commands
from discord.app_commands import Range

from cogs.core.i18n.catalogues import ENGLISH, language_of_locale, say
from diffusion.errors import InvalidRequestError
from diffusion.families.defaults import QUALITIES
from diffusion.request import MAX_SEED, SAMPLER_NAMES, UPSCALES
from diffusion.text import plural

T = TypeVar("T")

PROMPT_LIMIT: Final = 1000
STYLE_LIMIT: Final = 100
MAX_COUNT: Final = 4
MAX_FRAMES: Final = 24
Prompt = Range[str, 1, PROMPT_LIMIT]
StyleName = Range[str, 1, STYLE_LIMIT]
Size = Range[str, 1, 11]
Steps = Range[int, 1, 150]
Guidance = Range[float, 0, 30]
Seed = Range[int, 0, MAX_SEED]
Count = Range[int, 1, MAX_COUNT]
MARKS: Final = 3  # combining ones that a letter may carry
CHOICES_SHOWN: Final = 25  # Discord's limit on autocomplete
SAMPLER_CHOICES: Final = [app_commands.Choice(name=title, value=name) for name, title in SAMPLER_NAMES.items()]
QUALITY_NAMES: Final = {quality: quality.capitalize() for quality in QUALITIES}
QUALITY_CHOICES: Final = [app_commands.Choice(name=title, value=quality) for quality, title in QUALITY_NAMES.items()]
UPSCALE_CHOICES: Final = [app_commands.Choice(name=f"{factor}x", value=factor) for factor in UPSCALES]
DESCRIPTIONS: Final = {
    "prompt": "What the picture should show; {red|blue} makes one of each, --ar 3:2 --no text and other flags work",
    "negative": "What it should not show",
    "style": "How it should look: added to the prompt; none: no style",
    "image": "The picture to start from",
    "size": "Width x height in pixels, such as 512x768",
    "quality": "How much time to take: steps and sampler that suit each other; classic: LMS in 50 steps",
    "steps": "How many steps to develop it in: more is finer and slower",
    "guidance": "How closely to follow the prompt",
    "sampler": "The method of developing",
    "steer": "A kind or colour to push it towards, besides the prompt",
    "steer_strength": "How hard to push: more is surer and less natural",
    "similarity": "How much of the picture to keep: 0 nearly nothing, 1 nearly everything",
    "start_step": "The step to start from, instead of a similarity",
    "seed": "The same seed and settings give the same picture",
    "count": "How many pictures",
    "upscale": "How many times larger than developed to post it",
    "private": "Only you see the pictures",
    "spoiler": "The pictures are hidden until they are clicked",
}


def describe(*options: str) -> Callable[[Any], Any]:
    """Describe ``options`` of a command."""
    return app_commands.describe(**{option: DESCRIPTIONS[option] for option in options})


def server_only(command: T) -> T:
    """Offer ``command`` only in servers that the bot was added to; others are offered everywhere, as `Darkroom` says."""
    in_servers = app_commands.allowed_contexts(guilds=True, dms=False, private_channels=False)
    return app_commands.allowed_installs(guilds=True, users=False)(in_servers(command))


def parse_size(text: str | None) -> tuple[int, int] | tuple[None, None]:
    """Read "512x768" or "512"; nothing gives (None, None). Raises `InvalidRequestError` for anything else."""
    if text is None:
        return None, None
    match = re.fullmatch(r"\s*(\d{1,5})\s*(?:[x×*]\s*(\d{1,5}))?\s*", text, re.IGNORECASE | re.ASCII)
    if match is None:
        raise InvalidRequestError("size", "The size must be width x height in pixels, such as 512x768.")
    width = int(match[1])
    return width, int(match[2] or width)


def clean(text: str) -> str:
    """Take out of ``text`` what shows nothing or breaks the rows around it.

    Control and zero-width characters, lone surrogates, and combining marks beyond the few that a letter has in any language.
    """
    kept: list[str] = []
    marks = 0
    for character in unicodedata.normalize("NFC", text):
        category = unicodedata.category(character)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        if category == "Cc":
            kept.append(" ")
        elif category not in ("Cf", "Cs", "Co", "Cn") and marks <= MARKS:
            kept.append(character)
    return " ".join("".join(kept).split())


def checked(prompt: str) -> str:
    """Clean ``prompt``; raises `InvalidRequestError` where it is longer than one may be."""
    text = clean(prompt)
    if len(text) > PROMPT_LIMIT:
        raise InvalidRequestError(
            "prompt",
            plural(
                "The prompt and its style may have {most} character. Please shorten them.",
                "The prompt and its style may have {most} characters. Please shorten them.",
                by="most",
            ),
            most=PROMPT_LIMIT,
        )
    return text


def matching_choices(words: Iterable[str], current: str) -> list[app_commands.Choice[str]]:
    """Offer those of ``words``, styles or labels, that hold what is typed so far."""
    typed = current.lower().strip()
    return [app_commands.Choice(name=word, value=word) for word in words if typed in word.lower()][:CHOICES_SHOWN]


async def offer_styles(interaction: discord.Interaction[Any], current: str) -> list[app_commands.Choice[str]]:
    """Offer styles by name."""
    return matching_choices(interaction.client.service.builder.styles, current)


async def offer_sizes(interaction: discord.Interaction[Any], current: str) -> list[app_commands.Choice[str]]:
    """Offer sizes that suit the model."""
    return size_choices(interaction.client.service.engine.model.sample_side, current, language_of_locale(interaction.locale))


def size_choices(side: int, current: str, language: str = ENGLISH) -> list[app_commands.Choice[str]]:
    """Offer the model's own square ``side`` and its neighbours, filtered by what is typed so far."""
    long, longer = side * 3 // 2, side * 2
    shapes = [
        (say(language, "square"), side, side),
        (say(language, "portrait"), side, long),
        (say(language, "landscape"), long, side),
        (say(language, "tall"), side, longer),
        (say(language, "wide"), longer, side),
    ]
    choices = [
        app_commands.Choice(name=f"{width}x{height} ({name})", value=f"{width}x{height}") for name, width, height in shapes
    ]
    return [choice for choice in choices if current.lower().strip() in choice.name.lower()]
