"""Emojis and stickers, which Discord calls expressions: what they may be, who may add them, and how they get on a server."""

import asyncio
import contextlib
import io
import re
import unicodedata
from dataclasses import dataclass
from typing import Any, Final

import discord

from cogs.core.messages.http_errors import NETWORK_ERRORS, ErrorKind, classify
from diffusion.errors import DarkroomError, InvalidRequestError
from diffusion.text import N_

PATIENCE: Final = 60.0  # seconds; Discord lets few be added in an hour, and discord.py would wait out the rest of it
FULL_CODES: Final = (30008, 30039)
DESCRIPTION_LIMIT: Final = 100
TAG_LIMIT: Final = 16  # of the 200 that Discord takes: one emoji, which has to fit into a custom_id
ANY_TAG: Final = "🎨"
FIRST_PICTOGRAPH: Final = "\U0001f300"


@dataclass(frozen=True)
class Kind:
    """A sort of expression: the sides of its file and as it is shown in messages, in pixels, and what it may be called.

    The rest is said where one cannot be added: elsewhere than in a server, to a full one, now, or as it is.
    """

    word: str
    side: int
    shown: int
    longest: int
    pattern: str
    rule: str
    elsewhere: str
    full: str
    later: str
    refused: str

    def checked(self, name: str) -> str:
        """Give ``name`` without blanks around it; raises `InvalidRequestError` where this may not be called so."""
        name = name.strip()
        if not re.fullmatch(self.pattern, name):
            raise InvalidRequestError("name", self.rule)
        return name

    def guess(self, text: str) -> str:
        """Make a valid name of what ``text``, such as a prompt, says first."""
        name = " ".join(text.partition(",")[0].split())
        if self is EMOJI:
            name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
            name = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        if len(name) > self.longest:
            shorter = name[: self.longest + 1]
            name = re.sub(r"[ _][^ _]*$", "", shorter)[: self.longest]
        return name if len(name) >= 2 else "darkroom"


EMOJI: Final = Kind(
    "emoji",
    side=128,
    shown=128,
    longest=32,
    pattern=r"[A-Za-z0-9_]{2,32}",
    rule=N_("An emoji's name has 2 to 32 letters from a to z, digits and underscores. Please choose another."),
    elsewhere=N_("Emojis belong to a server: please do this in one that I am a member of."),
    full=N_("This server has no place left for another emoji. Please ask a moderator to remove one first."),
    later=N_("Discord takes no emoji from me at the moment. Please try again later."),
    refused=N_("Discord did not take this emoji. Please try another name."),
)
STICKER: Final = Kind(
    "sticker",
    side=320,
    shown=160,
    longest=30,
    pattern=r".{2,30}",
    rule=N_("A sticker's name has 2 to 30 characters. Please choose another."),
    elsewhere=N_("Stickers belong to a server: please do this in one that I am a member of."),
    full=N_("This server has no place left for another sticker. Please ask a moderator to remove one first."),
    later=N_("Discord takes no sticker from me at the moment. Please try again later."),
    refused=N_("Discord did not take this sticker. Please try another name."),
)
I_LACK: Final = N_("I need the permission Create Expressions on this server. Please ask a moderator for it.")
YOU_LACK: Final = N_("You need the permission Create Expressions on this server. Please ask a moderator for it.")
BOTH_LACK: Final = N_("You and I need the permission Create Expressions on this server. Please ask a moderator for it.")
KINDS: Final = {kind.word: kind for kind in (EMOJI, STICKER)}


def guess_tag(text: str) -> str:
    """Give the emoji that is called like what ``text`` says first or like a word of it; a sticker is filed under one."""
    words = re.findall(r"[^\W\d_]+", text.partition(",")[0].upper())
    for name in (" ".join(words), *words):
        for candidate in (f"{name} FACE", name):
            with contextlib.suppress(KeyError):
                if (tag := unicodedata.lookup(candidate)) >= FIRST_PICTOGRAPH:
                    return tag
    return ANY_TAG


def server_for(interaction: discord.Interaction[Any], kind: Kind) -> discord.Guild:
    """Give the server of ``interaction`` if such a thing can be added to it now; raises `DarkroomError` saying why not."""
    guild = interaction.client.get_guild(interaction.guild_id) if interaction.guild_id else None
    if guild is None:
        raise DarkroomError(kind.elsewhere)
    # Since Discord split the two, Manage Expressions alone does not let anybody add one.
    you, me = (
        permissions.create_expressions or permissions.administrator
        for permissions in (interaction.permissions, interaction.app_permissions)
    )
    if not (you and me):
        raise DarkroomError(I_LACK if you else YOU_LACK if me else BOTH_LACK)
    taken, places = _places(guild, kind)
    if taken >= places:
        raise DarkroomError(kind.full)
    return guild


async def add(
    guild: discord.Guild, kind: Kind, png: bytes, name: str, tag: str, description: str, member: discord.abc.User
) -> str:
    """Add it for ``member`` and give it as a message shows it; ``tag`` and ``description`` are a sticker's.

    Raises `DarkroomError` where Discord refuses.
    """
    reason = f"Made by {member} ({member.id}) with Darkroom"
    try:
        async with asyncio.timeout(PATIENCE):
            if kind is EMOJI:
                return str(await guild.create_custom_emoji(name=name, image=png, reason=reason))
            file = discord.File(io.BytesIO(png), "sticker.png")
            description = description if len(description) >= 2 else ""
            sticker = await guild.create_sticker(name=name, description=description, emoji=tag, file=file, reason=reason)
            return sticker.name
    except (discord.HTTPException, *NETWORK_ERRORS) as error:
        raise _refused(kind, error) from error


def _refused(kind: Kind, error: Exception) -> DarkroomError:
    if isinstance(error, discord.HTTPException) and error.code in FULL_CODES:
        return DarkroomError(kind.full)
    kind = classify(error)
    if kind is ErrorKind.FORBIDDEN:
        return DarkroomError(I_LACK)
    return DarkroomError(kind.later if kind is ErrorKind.TEMPORARY else kind.refused)


def _places(guild: discord.Guild, kind: Kind) -> tuple[int, int]:
    if kind is STICKER:
        return len(guild.stickers), guild.sticker_limit
    return sum(not (emoji.animated or emoji.managed) for emoji in guild.emojis), guild.emoji_limit
