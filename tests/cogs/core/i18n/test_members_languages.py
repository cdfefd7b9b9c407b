"""Members read what the bot says in their own language, and channels in theirs."""

from cogs.core.request.preferences import Preferences, Scope
from tests.support.jobs import slow_down, until_running
from tests.support.messages import pictures_of, private_text, text_of
from tests.support.settings_panel import page_id


async def speaks(server, scope, subject, language):
    """Set a language as the panel of /settings does."""
    await server.service.preference_store.set(scope, subject.id, Preferences(language=language))


async def test_error_is_in_the_members_language(server):
    await speaks(server, Scope.MEMBER, server.alice, "de")
    refused = await server.alice.slash(server.channel, "imagine", prompt="red apple", size="wide")
    assert private_text(refused) == "Die Größe muss Breite x Höhe in Pixeln sein, etwa 512x768."
    refused = await server.bob.slash(server.channel, "imagine", prompt="red apple", size="wide")
    assert private_text(refused) == "The size must be width x height in pixels, such as 512x768."


async def test_error_names_the_setting_in_the_members_language(server):
    await speaks(server, Scope.MEMBER, server.alice, "de")
    refused = await server.alice.slash(server.channel, "imagine", prompt="red apple", count=4, size="600x32")
    assert private_text(refused) == "Breite: Hier gehen höchstens 512, nicht 600."


async def test_channel_language_counts_where_the_member_chose_none(server):
    await speaks(server, Scope.CHANNEL, server.channel, "fr")
    refused = await server.alice.slash(server.channel, "imagine", prompt="red apple", size="wide")
    assert private_text(refused).startswith("La taille s'écrit largeur x hauteur")


async def test_error_of_a_lookup_is_in_the_members_language(server):
    await speaks(server, Scope.MEMBER, server.alice, "ja")
    refused = await server.alice.slash(server.channel, "show", id="no id")
    assert "`/履歴`" in private_text(refused)


async def finished(server, message):
    await server.until(lambda: pictures_of(message))
    return text_of(message)


def labels(message):
    shown = getattr(message, "message", message)
    return [button.label for row in shown.components for button in getattr(row, "children", ()) if hasattr(button, "label")]


async def test_public_result_is_in_the_channels_language(server):
    await speaks(server, Scope.CHANNEL, server.channel, "fr")
    await speaks(server, Scope.MEMBER, server.alice, "de")
    result = await server.alice.slash(server.channel, "imagine", prompt="red apple", seed=7, steps=8)
    await finished(server, result.response)
    assert {"Relancer", "Modifier", "Supprimer"} <= set(labels(result.response))
    result = await server.alice.slash(server.channel, "imagine", prompt="red apple", seed=7, steps=8, private=True)
    await finished(server, result.response)
    assert {"Neu würfeln", "Bearbeiten", "Löschen"} <= set(labels(result.response))


async def test_button_works_in_every_language(server):
    await speaks(server, Scope.SERVER, server.guild, "ja")
    result = await server.alice.slash(server.channel, "imagine", prompt="red apple", seed=7, steps=8)
    await finished(server, result.response)
    told = await server.bob.click(result.response, label="情報")
    assert "プロンプト" in text_of(told.response)


async def test_progress_and_cancellation_are_in_the_channels_language(server):
    await speaks(server, Scope.CHANNEL, server.channel, "es")
    result = await server.alice.slash(server.channel, "imagine", prompt="red apple", steps=150, count=4)
    await server.until(lambda: "paso " in text_of(result.response))
    await server.alice.click(result.response, label="Cancelar")
    await server.until(lambda: "Cancelado." in text_of(result.response))


async def test_result_keeps_its_language_after_a_restart(server, monkeypatch):
    slow_down(server, monkeypatch)
    await speaks(server, Scope.CHANNEL, server.channel, "de")
    result = await server.alice.slash(server.channel, "imagine", prompt="red apple", steps=40, seed=7)
    await speaks(server, Scope.CHANNEL, server.channel, "fr")
    await until_running(server, result.response)
    await server.restart()
    await finished(server, result.response)
    assert "Neu würfeln" in labels(result.response)


async def test_private_replies_are_in_the_members_language(server):
    await speaks(server, Scope.MEMBER, server.alice, "de")
    told = {
        name: text_of((await server.alice.slash(server.channel, name)).response)
        for name in ("queue", "usage", "about", "history", "settings mine")
    }
    assert told["queue"] == "Niemand wartet. `/zeichne` beginnt sofort."
    assert told["usage"].startswith("Du hast heute 0 Bilder gemacht.\nDu darfst so viele machen, wie du willst.")
    assert "`/warteschlange`" in told["about"]
    assert told["history"] == "Du hast noch keine Bilder."
    assert told["settings mine"].startswith("**Deine Einstellungen**\n")


async def test_forms_and_questions_are_in_the_members_language(server):
    await speaks(server, Scope.MEMBER, server.alice, "es")
    asked = await server.alice.slash(server.channel, "imagine", prompt="{red|blue} fox", steps=4)
    assert asked.response.content.startswith("Esto hace 2 imágenes:") and labels(asked.response) == ["Empezar", "Cancelar"]
    panel = await server.alice.slash(server.channel, "settings mine")
    form = await server.alice.click(panel.response, custom_id=page_id("mine", "pictures"))
    assert form.modal["title"] == "Tamaño y estilo"
