"""The context of an interaction, resolved once: who asks, where, which rules."""

from dataclasses import dataclass, field, replace

from cogs.core.i18n.catalogues import ENGLISH, LANGUAGE_BY_LOCALE
from cogs.core.request.preferences import Preferences, Scope, layered
from cogs.core.storage.preferences import NO_PREFERENCES, scopes_of
from cogs.core.types import Interaction
from diffusion.request import Limits

CONTEXT_KEY = "context"  # the key in `Interaction.extras`


@dataclass(frozen=True)
class Context:
    """Everything that the bot knows about an interaction before it acts.

    ``place_ids`` are the ids of the channel, of its category and of a thread's channel. ``preferences`` holds for the member
    in this place: the nearest of member, channel and server that sets something wins, and the lowest maximum. ``server`` is
    what the server itself sets. ``limits`` are the operator's, lowered to the maxima of ``preferences``. What only the member
    reads is in ``language``, what the whole channel reads in ``channel_language``.
    """

    interaction: Interaction = field(repr=False)
    member_id: int
    role_ids: frozenset[int]
    guild_id: int | None
    place_ids: frozenset[int]
    is_age_restricted: bool
    preferences: Preferences
    server: Preferences
    limits: Limits
    language: str
    channel_language: str

    @classmethod
    def of(cls, interaction: Interaction) -> "Context":
        """Return the context of ``interaction``; the first call resolves it.

        The language of the whole channel is the one set for it or for its server, or else the one that the server has in
        Discord. Outside servers it is the member's own language.
        """
        if CONTEXT_KEY in interaction.extras:
            known: Context = interaction.extras[CONTEXT_KEY]
            return known
        service = interaction.client.service
        found = {scope: service.preference_store.get(scope, subject) for scope, subject in scopes_of(interaction).items()}
        layers = {scope: layer for scope, layer in found.items() if layer != NO_PREFERENCES}
        preferences = layered(layers.values()) if layers else NO_PREFERENCES
        language = preferences.language or LANGUAGE_BY_LOCALE.get(interaction.locale, ENGLISH)
        channel_language = language
        if interaction.guild_id is not None:
            shared = (layers[scope].language for scope in (Scope.CHANNEL, Scope.SERVER) if scope in layers)
            channel_language = next(filter(None, shared), None) or LANGUAGE_BY_LOCALE.get(interaction.guild_locale, ENGLISH)
        limits = service.engine.config.limits
        channel = interaction.channel
        is_nsfw = getattr(channel, "is_nsfw", None)
        places = (interaction.channel_id, getattr(channel, "parent_id", None), getattr(channel, "category_id", None))
        context = cls(
            interaction=interaction,
            member_id=interaction.user.id,
            role_ids=frozenset(role.id for role in getattr(interaction.user, "roles", ())),
            guild_id=interaction.guild_id,
            place_ids=frozenset(place for place in places if place is not None),
            is_age_restricted=is_nsfw is not None and is_nsfw(),  # a thread is like its channel, a direct message never is
            preferences=preferences,
            server=layers.get(Scope.SERVER, NO_PREFERENCES),
            limits=replace(
                limits,
                side=min(limits.side, preferences.max_size or limits.side),
                steps=min(limits.steps, preferences.max_steps or limits.steps),
                count=min(limits.count, preferences.max_count or limits.count),
            ),
            language=language,
            channel_language=channel_language,
        )
        interaction.extras[CONTEXT_KEY] = context
        return context

    def language_for(self, private: bool) -> str:
        """Return the language of a reply for the member only or for the channel."""
        return self.language if private else self.channel_language
