"""Who reads an answer, and so in which language it is said."""

from typing import Any

import discord

from cogs.core.i18n.catalogues import language_of_locale
from cogs.core.request.preferences import Scope, layered
from cogs.core.storage.preferences import scopes_of

Interaction = discord.Interaction[Any]


def language_of(interaction: Interaction) -> str:
    """Give the language of the member of ``interaction``, for what they alone see.

    It is the one that they have set, else the channel's or the server's, else that of their own Discord.
    """
    return interaction.client.service.preference_store.effective_for(interaction).language or language_of_locale(
        interaction.locale
    )


def language_for(interaction: Interaction, private: bool) -> str:
    """Give the language of an answer to ``interaction`` that its member alone sees, or all who read the channel."""
    return language_of(interaction) if private else language_here(interaction)


def language_here(interaction: Interaction) -> str:
    """Give the language for what all who read the channel of ``interaction`` see.

    It is the one that is set for the channel or the server, whatever the member prefers for themselves, else that of the server
    in Discord (English unless it is a community). Outside of servers it is the member's: they asked, and most are alone there.
    """
    if interaction.guild_id is None:
        return language_of(interaction)
    preference_store = interaction.client.service.preference_store
    shared = [
        preference_store.get(scope, subject) for scope, subject in scopes_of(interaction).items() if scope is not Scope.MEMBER
    ]
    return layered(shared).language or language_of_locale(interaction.guild_locale)
