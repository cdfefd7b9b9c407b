from cogs.core.request.preferences import Preferences, Scope
from cogs.core.request.presets import MAX_PRESETS
from tests.support.messages import private_text, text_of


async def presets(server, command, member=None, **options):
    return private_text(await (member or server.alice).slash(server.channel, f"presets {command}", **options))


async def drawn(server, member=None, **options):
    """Return the stored request of an /imagine."""
    given = {"prompt": "red fox", "steps": 2} | options
    result = await (member or server.alice).slash(server.channel, "imagine", **given)
    await server.until_finished(result.response, given.get("count", 1))
    await server.until_idle()
    row = await server.service.creation_store.get_by_message(result.response.id)
    return row.request, result.response


async def test_preset_in_use_adds_words_and_flags_to_each_prompt(server):
    saved = await presets(server, "save", name="Oil", text="oil painting --no text --cfg 3 --clip-skip 1")
    assert "Saved as **Oil**" in saved and "`--preset Oil`" in saved
    assert "**Oil** is added" in await presets(server, "use", name="oil")
    request, message = await drawn(server)
    assert request["prompt"] == "red fox, oil painting"
    assert (request["negative_prompt"], request["guidance_scale"]) == ("text", 3)
    info = (await server.alice.click(message, label="Info")).response
    assert "red fox, oil painting" in text_of(info)
    request, _ = await drawn(server, prompt="red fox --cfg 4 --no blur")
    assert (request["negative_prompt"], request["guidance_scale"]) == ("blur", 4)
    request, _ = await drawn(server, member=server.bob)
    assert request["prompt"] == "red fox"
    assert "any more" in await presets(server, "use")
    request, _ = await drawn(server)
    assert request["prompt"] == "red fox"


async def test_preset_of_one_prompt_and_suffix_go_together(server):
    await presets(server, "save", name="my look", text="in the snow")
    assert "end with “at night” now" in await presets(server, "suffix", text="at night")
    request, _ = await drawn(server, prompt='red fox --preset "My Look"')
    assert request["prompt"] == "red fox, in the snow, at night"
    assert "no preset called “none”" in private_text(
        await server.alice.slash(server.channel, "imagine", prompt="fox --preset none")
    )
    assert "any more" in await presets(server, "suffix")
    request, _ = await drawn(server)
    assert request["prompt"] == "red fox"


async def test_edit_adds_nothing_twice_but_a_named_preset(server):
    await presets(server, "save", name="oil", text="oil painting --steps 3")
    await presets(server, "suffix", text="at night")
    _, message = await drawn(server)
    form = await server.alice.click(message, label="Edit")
    typed = {"prompt": "red fox, at night --preset oil", "steps": "2", "guidance": "5", "seed": "7"}
    result = await server.alice.submit_modal(form, typed)
    await server.until_finished(result.response)
    await server.until_idle()
    row = await server.service.creation_store.get_by_message(result.response.id)
    assert row.request["prompt"] == "red fox, at night, oil painting" and row.request["steps"] == 3


async def test_blocked_words_hold_for_presets(server):
    await presets(server, "suffix", text="with a sword")
    await server.service.preference_store.set(Scope.SERVER, server.guild.id, Preferences(words=("sword",)))
    refused = private_text(await server.alice.slash(server.channel, "imagine", prompt="fox"))
    assert "sword" in refused
    assert not server.service.jobs


REFUSED = {
    "nothing": ({"text": "   "}, "words or flags that should be added"),
    "alternatives": ({"text": "{red|blue}"}, "alternatives in braces"),
    "seed": ({"text": "--seed 7"}, "the same picture each time"),
    "number": ({"text": "--steps many"}, "`--steps` needs a number"),
    "unknown flag alone": ({"text": "--tile"}, "words or flags that should be added"),
    "name": ({"name": "***", "text": "oil"}, "letters or digits"),
}


async def test_save_refuses_what_does_not_suit(server):
    for kind, (options, words) in REFUSED.items():
        assert words in await presets(server, "save", **{"name": "mine"} | options), kind
    assert "consists of words" in await presets(server, "suffix", text="oil --ar 3:2")
    assert server.service.preference_store.get(Scope.MEMBER, server.alice.id) == Preferences()


async def test_save_says_which_flags_have_no_effect(server):
    assert "I ignored unknown flags: `--tile`" in await presets(server, "save", name="mine", text="oil --tile")


async def test_presets_are_bounded_listed_and_deleted(server):
    assert "You have no presets" in await presets(server, "list")
    for number in range(MAX_PRESETS):
        await presets(server, "save", name=f"look {number}", text=f"look {number}")
    assert f"You have {MAX_PRESETS} presets" in await presets(server, "save", name="more", text="more")
    assert "Saved" in await presets(server, "save", name="LOOK 3", text="another *look*")
    await presets(server, "use", name="look 3")
    await presets(server, "suffix", text="at night")
    listed = await presets(server, "list")
    assert "**LOOK 3** (in use): another \\*look\\*" in listed and "Suffix: at night" in listed
    offered = await server.alice.autocomplete(server.channel, "presets use", "name", "look 3")
    assert [choice["value"] for choice in offered] == ["LOOK 3"]
    assert "is deleted" in await presets(server, "delete", name="look 3")
    assert server.service.preference_store.get(Scope.MEMBER, server.alice.id).preset is None
    assert "no preset called “look 3”" in await presets(server, "delete", name="look 3")
    assert "no preset called “look 3”" in await presets(server, "use", name="look 3")


async def test_presets_are_exported_and_forgotten(server):
    await presets(server, "save", name="oil", text="oil painting")
    exported = [document async for document in server.service.personal_data.export(server.alice.id)]
    assert any(b"oil painting" in document.data for document in exported if document.name == "settings.json")
    asked = await server.alice.slash(server.channel, "privacy forget")
    await server.alice.click(asked.response, label="Forget me")
    assert "You have no presets" in await presets(server, "list")
