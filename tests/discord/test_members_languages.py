"""Members read what the bot says in their own language, and channels in theirs."""

from cogs.preferences import Preferences, Scope
from tests.discord.conftest import sentence


async def speaks(server, scope, subject, language):
    """Set a language as the panel of /settings does."""
    await server.studio.registry.set(scope, subject.id, Preferences(language=language))


async def test_a_member_is_refused_in_their_language(server):
    await speaks(server, Scope.MEMBER, server.alice, "de")
    refused = await server.alice.slash(server.channel, "imagine", prompt="red apple", size="wide")
    assert sentence(refused) == "Die Größe muss Breite x Höhe in Pixeln sein, etwa 512x768."
    refused = await server.bob.slash(server.channel, "imagine", prompt="red apple", size="wide")
    assert sentence(refused) == "The size must be width x height in pixels, such as 512x768."


async def test_settings_are_called_as_in_the_language_of_the_sentence(server):
    await speaks(server, Scope.MEMBER, server.alice, "de")
    refused = await server.alice.slash(server.channel, "imagine", prompt="red apple", count=4, size="500x32")
    assert sentence(refused) == "Die Breite darf hier höchstens 256 sein, nicht 500."


async def test_where_a_member_has_chosen_none_the_channels_language_counts(server):
    await speaks(server, Scope.CHANNEL, server.channel, "fr")
    refused = await server.alice.slash(server.channel, "imagine", prompt="red apple", size="wide")
    assert sentence(refused).startswith("La taille s'écrit largeur x hauteur")


async def test_what_is_thrown_outside_of_commands_is_told_in_the_language_as_well(server):
    await speaks(server, Scope.MEMBER, server.alice, "ja")
    refused = await server.alice.slash(server.channel, "show", id="no id")
    assert "`/履歴`" in sentence(refused)
