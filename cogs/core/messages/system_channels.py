"""Messages of the bot to a whole server, in the channel that Discord uses for its own."""

import discord

from cogs.core.i18n.catalogues import ENGLISH, LANGUAGE_BY_LOCALE
from cogs.core.messages.http_errors import DISCORD_ERRORS
from cogs.core.messages.message import NO_MENTIONS


def system_channel_of(guild: discord.Guild) -> discord.TextChannel | None:
    """Return the system channel of ``guild`` if the bot may write there."""
    channel = guild.system_channel
    if channel is None:
        return None
    allowed = channel.permissions_for(guild.me)
    return channel if allowed.view_channel and allowed.send_messages else None


def language_of(guild: discord.Guild, chosen: str | None) -> str:
    """Return the language in which to speak to all of ``guild``: the one ``chosen`` there, or else Discord's."""
    return chosen or LANGUAGE_BY_LOCALE.get(guild.preferred_locale, ENGLISH)


async def post_to_server(guild: discord.Guild, text: str) -> bool:
    """Post ``text`` in the system channel; return whether that was possible."""
    channel = system_channel_of(guild)
    if channel is None:
        return False
    try:
        await channel.send(text, allowed_mentions=NO_MENTIONS)
    except DISCORD_ERRORS:
        return False
    return True
