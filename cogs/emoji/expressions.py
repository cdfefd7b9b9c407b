"""Discord's rules for emojis and stickers ("expressions"), and their upload."""

import asyncio
import contextlib
import io
import re
import unicodedata
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

import discord

from cogs.core.messages.http_errors import DISCORD_ERRORS, ErrorKind, classify
from cogs.core.types import Interaction
from diffusion.errors import DarkroomError, InvalidRequestError
from diffusion.text import N_

UPLOAD_TIMEOUT_SECONDS: Final = 60.0  # Discord allows few uploads an hour, and discord.py would wait for the next hour
FULL_CODES: Final = (30008, 30039)
DESCRIPTION_LIMIT: Final = 100
TAG_LIMIT: Final = 16  # Discord takes 200, but a custom_id has room for one emoji
ANY_TAG: Final = "🎨"
SPOILER_PREFIX: Final = "SPOILER_"
FIRST_PICTOGRAPH: Final = "\U0001f300"


@dataclass(frozen=True)
class Kind:
    """A kind of expression.

    ``side`` is that of its file and ``shown`` that in messages, in pixels. ``name_rule`` describes ``pattern`` to members.
    The other texts say why one cannot be added: outside a server, to a full server, at the moment, or with this name.
    """

    word: str
    side: int
    shown: int
    max_name_length: int
    pattern: str
    name_rule: str
    servers_only: str
    server_full: str
    try_later: str
    rejected: str

    def validate_name(self, name: str) -> str:
        """Return ``name`` without spaces around it.

        Raises `InvalidRequestError` if Discord would reject it.
        """
        name = name.strip()
        if not re.fullmatch(self.pattern, name):
            raise InvalidRequestError("name", self.name_rule)
        return name

    def name_of_file(self, filename: str) -> str:
        """Return a valid name from the name of a file, without what Discord adds to hide its content."""
        stem = PurePath(filename).stem
        while stem.upper().startswith(SPOILER_PREFIX):
            stem = stem[len(SPOILER_PREFIX) :]
        return self.guess_name(stem)

    def guess_name(self, text: str) -> str:
        """Return a valid name from the first words of ``text``, such as a prompt."""
        name = " ".join(text.partition(",")[0].split())
        if self is EMOJI:
            name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
            name = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        if len(name) > self.max_name_length:
            shorter = name[: self.max_name_length + 1]
            name = re.sub(r"[ _][^ _]*$", "", shorter)[: self.max_name_length]
        return name if len(name) >= 2 else "darkroom"


EMOJI: Final = Kind(
    "emoji",
    side=128,
    shown=128,
    max_name_length=32,
    pattern=r"[A-Za-z0-9_]{2,32}",
    name_rule=N_("An emoji's name has 2 to 32 letters from a to z, digits and underscores. Please choose another."),
    servers_only=N_("Emojis belong to a server. Please do this in a server that I am in."),
    server_full=N_("This server has no emoji slots left. Please ask a moderator to remove an emoji first."),
    try_later=N_("Discord does not let me add an emoji at the moment. Please try again later."),
    rejected=N_("Discord did not accept this emoji. Please try another name."),
)
STICKER: Final = Kind(
    "sticker",
    side=320,
    shown=160,
    max_name_length=30,
    pattern=r".{2,30}",
    name_rule=N_("A sticker's name has 2 to 30 characters. Please choose another."),
    servers_only=N_("Stickers belong to a server. Please do this in a server that I am in."),
    server_full=N_("This server has no sticker slots left. Please ask a moderator to remove a sticker first."),
    try_later=N_("Discord does not let me add a sticker at the moment. Please try again later."),
    rejected=N_("Discord did not accept this sticker. Please try another name."),
)
BOT_NEEDS_PERMISSION: Final = N_("I need the permission Create Expressions in this server. Please ask a moderator for it.")
MEMBER_NEEDS_PERMISSION: Final = N_("You need the permission Create Expressions in this server. Please ask a moderator for it.")
BOTH_NEED_PERMISSION: Final = N_(
    "You and I need the permission Create Expressions in this server. Please ask a moderator for it."
)
EXPRESSION_KINDS: Final = {kind.word: kind for kind in (EMOJI, STICKER)}


def guess_tag(text: str) -> str:
    """Return an emoji named like the first words of ``text``.

    Every sticker needs a related emoji.
    """
    words = re.findall(r"[^\W\d_]+", text.partition(",")[0].upper())
    for name in (" ".join(words), *words):
        for candidate in (f"{name} FACE", name):
            with contextlib.suppress(KeyError):
                if (tag := unicodedata.lookup(candidate)) >= FIRST_PICTOGRAPH:
                    return tag
    return ANY_TAG


def server_for(interaction: Interaction, kind: Kind) -> discord.Guild:
    """Return the server if the member can add an expression to it now.

    Raises `DarkroomError` with the reason where they cannot.
    """
    guild = interaction.client.get_guild(interaction.guild_id) if interaction.guild_id else None
    if guild is None:
        raise DarkroomError(kind.servers_only)
    # Manage Expressions alone does not include adding new ones.
    you, me = (
        permissions.create_expressions or permissions.administrator
        for permissions in (interaction.permissions, interaction.app_permissions)
    )
    if not (you and me):
        raise DarkroomError(BOT_NEEDS_PERMISSION if you else MEMBER_NEEDS_PERMISSION if me else BOTH_NEED_PERMISSION)
    used, slots = _slots(guild, kind)
    if used >= slots:
        raise DarkroomError(kind.server_full)
    return guild


@dataclass(frozen=True)
class Expression:
    """An emoji or sticker that is ready for upload.

    Only stickers have a ``tag`` (their related emoji) and a ``description``.
    """

    kind: Kind
    png: bytes
    name: str
    tag: str = ""
    description: str = ""


async def upload(guild: discord.Guild, expression: Expression, member: discord.abc.User) -> str:
    """Add ``expression`` for ``member``; return it as messages show it.

    Raises `DarkroomError` if Discord rejects it.
    """
    reason = f"Made by {member} ({member.id}) with Darkroom"
    try:
        async with asyncio.timeout(UPLOAD_TIMEOUT_SECONDS):
            if expression.kind is EMOJI:
                return str(await guild.create_custom_emoji(name=expression.name, image=expression.png, reason=reason))
            description = expression.description
            sticker = await guild.create_sticker(
                name=expression.name,
                description=description if len(description) >= 2 else "",
                emoji=expression.tag,
                file=discord.File(io.BytesIO(expression.png), "sticker.png"),
                reason=reason,
            )
            return sticker.name
    except DISCORD_ERRORS as error:
        raise _upload_error(expression.kind, error) from error


def _upload_error(kind: Kind, error: Exception) -> DarkroomError:
    if isinstance(error, discord.HTTPException) and error.code in FULL_CODES:
        return DarkroomError(kind.server_full)
    match classify(error):
        case ErrorKind.FORBIDDEN:
            return DarkroomError(BOT_NEEDS_PERMISSION)
        case ErrorKind.TEMPORARY:
            return DarkroomError(kind.try_later)
        case _:
            return DarkroomError(kind.rejected)


def _slots(guild: discord.Guild, kind: Kind) -> tuple[int, int]:
    if kind is STICKER:
        return len(guild.stickers), guild.sticker_limit
    return sum(not (emoji.animated or emoji.managed) for emoji in guild.emojis), guild.emoji_limit
