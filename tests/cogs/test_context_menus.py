import io
import json

import discord
import pytest
from PIL import Image
from simcord.backend import serializers
from simcord.results import to_discord_message

from cogs.core.messages import attachments
from cogs.core.messages.shown_pictures import cdn_url, shown_pictures
from cogs.core.request.preferences import Preferences, Scope
from cogs.image_info import recipe_text
from diffusion.images.io import read_image
from diffusion.images.metadata.adaptation import adapt
from diffusion.images.metadata.recipe import Recipe
from diffusion.images.parameters import read_parameters
from diffusion.request import Limits
from tests.support.cases import CASES
from tests.support.foreign_metadata import FROM_A1111, with_texts, workflow
from tests.support.interactions import forge_click
from tests.support.messages import pictures_of, png, private_text, source_of, text_of


async def sent(server, *files, member=None):
    return await (member or server.bob).send(server.channel, "look", attachments=list(files))


async def made(server, **options):
    result = await server.alice.slash(server.channel, "imagine", **{"prompt": "red apple", "steps": 3, "seed": 5} | options)
    await server.until_finished(result.response, options.get("count", 1))
    await server.until_idle()
    return result.response


async def creation_of(server, message):
    return await server.service.creation_store.get_by_message(message.id)


async def menu(server, name, message, member=None):
    return await (member or server.alice).context_menu(server.channel, name, message)


def told(shown):
    """The one answer, which only the member sees."""
    (answer,) = [shown.response, *shown.followups]
    assert answer.ephemeral
    return answer


async def chosen(server, shown, number, member=None):
    """Return the result of choosing a picture in the question that ``shown`` is."""
    assert shown.response.ephemeral and "Which one do you mean?" in shown.response.content
    return await (member or server.alice).select(shown.response, [str(number)])


def options_of(shown):
    return [option["label"] for option in shown.response.components[0]["components"][0]["options"]]


async def again(server, shown):
    result = await server.alice.click(shown, label="Make another like it")
    await server.until_finished(result.response)
    await server.until_idle()
    return result.response


# More like this


async def test_more_like_this_starts_from_any_picture(server):
    message = await sent(server, ("notes.txt", b"hello"), ("in.jpg", png(colour="blue")))
    result = await menu(server, "More like this", message)
    await server.until_finished(result.response)
    with Image.open(io.BytesIO(await source_of(result.response).read())) as source:
        assert source.getpixel((3, 3)) == (0, 0, 255)
    await server.until_idle()
    assert (await creation_of(server, result.response)).parent_id is None


async def test_more_like_this_keeps_the_proportions(server):
    message = await sent(server, ("in.png", png((40, 160))))
    result = await menu(server, "More like this", message)
    await server.until_finished(result.response)
    assert read_image(await pictures_of(result.response)[0].read()).size == (16, 64)


@pytest.mark.parametrize("name", ["picture", "photo.jfif", "picture.bin", "picture.avif"])
async def test_more_like_this_goes_by_the_content_of_a_file(server, name):
    data = CASES["fmt.avif"] if name.endswith("avif") else png()
    result = await menu(server, "More like this", await sent(server, (name, data)))
    await server.until_finished(result.response)


async def test_more_like_own_picture_keeps_prompt_and_parent(server):
    message = await made(server)
    result = await menu(server, "More like this", message, server.bob)
    await server.until_finished(result.response)
    await server.until_idle()
    assert "red apple" in text_of(result.response)
    assert (await creation_of(server, result.response)).parent_id == (await creation_of(server, message)).id


async def test_more_like_this_uses_the_prompt_in_the_metadata(server):
    message = await sent(server, ("a1111.png", with_texts(parameters=FROM_A1111)))
    result = await menu(server, "More like this", message)
    await server.until_finished(result.response)
    assert "a (red fox:1.3) in the snow" in text_of(result.response)


@pytest.mark.parametrize("name", ["More like this", "Image info"])
async def test_menus_refuse_a_message_without_a_picture(server, name):
    assert "no picture" in private_text(await menu(server, name, await server.bob.send(server.channel, "no picture here")))
    assert "no picture" in private_text(await menu(server, name, await sent(server, ("notes.txt", b"x"))))


async def test_more_like_this_does_not_fetch_embeds(server):
    channel = server.env.bot.get_channel(server.channel.id)
    message = await channel.send(embed=discord.Embed().set_image(url="https://example.com/x.png"))
    assert "no picture" in private_text(await menu(server, "More like this", message))


@pytest.mark.parametrize("name", ["More like this", "Image info"])
@pytest.mark.parametrize(("data", "words"), [(b"junk", "as a picture"), (png(), "larger than")])
async def test_menus_explain_an_unreadable_picture(server, monkeypatch, name, data, words):
    if data != b"junk":
        monkeypatch.setattr(attachments, "MAX_BYTES", 10)
    result = await menu(server, name, await sent(server, ("in.png", data)))
    assert words in private_text(result)


async def test_menus_explain_a_missing_picture(server):
    message = await sent(server, ("in.png", png()))
    server.env.backend.cdn._blobs.clear()
    for name in ("More like this", "Image info"):
        assert "could not download" in private_text(await menu(server, name, message))


# Remix avatar


async def test_remix_avatar_starts_from_the_avatar(server):
    carol = server.guild.add_member(server.env.create_user("carol", avatar="0" * 32))
    url = f"https://cdn.discordapp.com/avatars/{carol.id}/{'0' * 32}.png?size=512"
    server.env.backend.cdn._blobs[url] = png(colour="lime")
    result = await menu(server, "Remix avatar", carol)
    await server.until_finished(result.response)
    with Image.open(io.BytesIO(await source_of(result.response).read())) as source:
        assert source.getpixel((3, 3)) == (0, 255, 0)


async def test_remix_avatar_explains_a_failed_download(server):
    assert "could not download" in private_text(await menu(server, "Remix avatar", server.bob))


async def test_menus_respect_the_remix_setting(server):
    made_by_alice, sent_by_alice = await made(server), await sent(server, ("in.png", png()), member=server.alice)
    await server.service.preference_store.set(Scope.MEMBER, server.alice.id, Preferences(remix=False))
    for target, name in ((made_by_alice, "More like this"), (sent_by_alice, "More like this"), (server.alice, "Remix avatar")):
        assert "does not allow" in private_text(await menu(server, name, target, server.bob))
    assert "does not allow" in private_text(await server.bob.click(made_by_alice, label="Vary (strong)"))
    again = await server.bob.click(made_by_alice, label="Reroll")  # which starts from noise
    await server.until_finished(again.response)
    mine = await menu(server, "More like this", sent_by_alice, server.alice)
    await server.until_finished(mine.response)


# Image info


async def test_image_info_shows_settings_and_makes_another(server):
    message = await made(server, negative="pear", guidance=3.5, sampler="ddim", upscale=2)
    shown = await menu(server, "Image info", message, server.alice)
    answer = told(shown)
    for word in ("red apple", "pear", "3 steps", "guidance 3.5", "seed 5", "32x32", "DDIM", "tiny"):
        assert word in answer.content
    assert "here:" not in answer.content  # nothing has to be different
    another = await again(server, answer)
    before, after = [read_parameters(await pictures_of(shown)[0].read()) for shown in (message, another)]
    assert before.pop("seed") != after.pop("seed") and before == after
    assert (await creation_of(server, another)).parent_id == (await creation_of(server, message)).id


async def test_image_info_knows_a_picture_posted_smaller(server, monkeypatch):
    monkeypatch.setattr(discord.Guild, "filesize_limit", 1500)
    message = await made(server, prompt="red apple", seed=5)
    assert pictures_of(message)[0].name.endswith(".webp")
    answer = told(await menu(server, "Image info", message))
    assert "red apple" in answer.content and "seed 5" in answer.content and "here:" not in answer.content
    assert "red apple" in text_of(await again(server, answer))


async def test_image_info_reads_a1111_and_comfyui_metadata(server):
    for texts, words in (
        ({"parameters": FROM_A1111}, ("dreamshaper", "DPM++ 2M SDE", "208x312 instead of 512x768")),
        ({"prompt": json.dumps(workflow())}, ("v1-5-pruned", "euler", "galaxy", "360x176 instead of 512x256")),
    ):
        shown = await menu(server, "Image info", await sent(server, ("in.png", with_texts(**texts))))
        answer = told(shown)
        content = answer.content.replace("\\", "")
        assert all(word in content for word in words), content
        another = await again(server, answer)
        assert (await creation_of(server, another)).parent_id is None


async def test_make_another_works_after_deletion_and_restart(server):
    message = await sent(server, ("in.png", with_texts(prompt=json.dumps(workflow()))))
    shown = await menu(server, "Image info", message)
    await server.bob.delete(message)
    await server.restart()
    another = await again(server, told(shown))
    assert "galaxy" in text_of(another)


async def test_make_another_does_not_add_the_members_style(server):
    await server.service.preference_store.set(Scope.MEMBER, server.alice.id, Preferences(style="pixel art"))
    shown = await menu(server, "Image info", await sent(server, ("in.png", with_texts(prompt=json.dumps(workflow())))))
    another = await again(server, told(shown))
    assert "pixel art" not in text_of(another)


def test_recipe_text_fits_one_message(tiny_model):
    long = "*_`~|@" * 1000
    settings = {"prompt": f"<lora:x> {long}", "negative_prompt": long, "steps": 10**9, "width": 10**9, "height": 10**9}
    settings |= {"seed": 2**64, "guidance_scale": 1e300, "guide_label": long, "start_step": 3}
    recipe = Recipe(settings, long, long, loras=(long,), left_out=(long,) * 20, unread=(long,) * 20)
    notes = list(map(str, adapt(recipe, tiny_model, Limits())[1]))
    assert len(notes) == 12 and len(recipe_text(recipe, notes)) <= 2000
    assert len(recipe_text(recipe, notes * 2)) <= 2000 and recipe_text(recipe, notes * 2).endswith("\n…")


def test_recipe_text_neither_pings_nor_links():
    text = recipe_text(Recipe({"prompt": "@everyone", "steps": 1}, "https://example.com", f"<@{10**18}> **x**"), ["@here"])
    assert not {"@everyone", "@here", f"<@{10**18}>", "https://example.com", "**x**"} & set(text.split())


def test_menus_stay_within_discords_limit(server):
    for kind in (discord.AppCommandType.message, discord.AppCommandType.user):
        assert len(server.env.bot.tree.get_commands(type=kind)) <= 15


@pytest.mark.parametrize("name", ["More like this", "Image info"])
async def test_menus_ask_which_of_many_pictures_is_meant(server, name):
    files = [("notes.txt", b"x"), *((f"{number}.png", png()) for number in range(11))]
    message = await sent(server, *files, ("fox.png", with_texts(parameters=FROM_A1111)))
    question = await menu(server, name, message)
    assert "12 pictures" in question.response.content
    assert options_of(question) == [*(f"{number + 1}. {number}.png" for number in range(11)), "12. fox.png"]
    question_id = question.response.id
    result = await chosen(server, question, 12)
    assert question_id not in [shown.id for shown in server.channel.history(viewer=server.alice)]
    assert not server.service.questions
    if name == "More like this":
        await server.until_finished(result.response)
        assert "red fox" in text_of(result.response)
    else:
        assert "red fox" in told(result).content


async def test_menus_ask_for_pictures_of_a_result_but_not_for_its_source(server):
    result = await server.alice.slash(server.channel, "similar", image=("in.png", png()), prompt="fox", steps=3)
    await server.until_finished(result.response)
    assert "fox" in told(await menu(server, "Image info", result.response)).content
    several = await made(server, count=2)
    question = await menu(server, "Image info", several)
    assert len(options_of(question)) == 2
    assert "seed 6" in told(await chosen(server, question, 2)).content


async def test_a_choice_made_twice_or_never_offered_is_refused(server):
    question = await menu(server, "Image info", await sent(server, ("a.png", png()), ("b.png", png())))
    custom_id = question.response.components[0]["components"][0]["custom_id"]
    forged = await forge_click(server, server.alice, question.response, custom_id, component_type=3, values=["9"])
    assert "cannot be chosen" in private_text(forged)
    server.service.questions.clear()
    assert "answered already" in private_text(await server.alice.select(question.response, ["1"]))


FOX = with_texts(parameters=FROM_A1111)


def on_cdn(server, path, data, host="cdn.discordapp.com"):
    url = f"https://{host}/{path}"
    server.env.backend.cdn._blobs[url] = data
    return url


async def info(server, message):
    return told(await menu(server, "Image info", message)).content


async def test_menus_see_forwarded_pictures(server):
    other = server.guild.create_text_channel("other")
    message = await server.bob.send(other, "look", attachments=[("fox.png", FOX)])
    forwarded = await server.bob.forward(message, server.channel)
    assert "red fox" in (await info(server, forwarded)).replace("\\", "")


@pytest.mark.parametrize("host", ["cdn.discordapp.com", "media.discordapp.net", "images-ext-1.discordapp.net"])
@pytest.mark.parametrize("field", ["image", "thumbnail"])
async def test_menus_see_embeds_on_discords_hosts(server, host, field):
    url = on_cdn(server, "external/fox.png", FOX, host)
    picture = {"url": "https://example.com/fox.png", "proxy_url": url, "width": 8, "height": 8}
    stored = server.env.backend.create_message(
        server.channel.id, server.bob.id, "look", embeds=[{"type": "rich", field: picture}]
    )
    message = to_discord_message(server.env, stored)
    assert "red fox" in (await info(server, message)).replace("\\", "")


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/x.png",
        "http://cdn.discordapp.com/x.png",
        "https://cdn.discordapp.com:8080/x.png",
        "https://cdn.discordapp.com@example.com/x.png",
        "https://cdn.discordapp.com.example.com/x.png",
        "https://xcdn.discordapp.com/x.png",
        "https://[x.png",
        "file:///etc/passwd",
        "attachment://x.png",
        "",
        None,
    ],
)
def test_cdn_url_takes_discords_own_hosts_only(url):
    assert cdn_url(url) is None and cdn_url(url, "https://media.discordapp.net/x.png") == "https://media.discordapp.net/x.png"


async def test_shown_pictures_lists_what_other_bots_show(server):
    other = "https://media.discordapp.net/external/x.png"
    gallery = {"type": 12, "items": [{"media": {"url": "https://example.com/x.png", "proxy_url": other}, "spoiler": True}]}
    layout = {"type": 17, "components": [{"type": 10, "content": "hello"}, gallery]}
    stickers = [{"id": "7", "name": "wave", "format_type": kind} for kind in (1, 3)]
    hidden = {"type": "image", "url": "https://example.com/y.png", "thumbnail": {"url": f"{other}y", "proxy_url": f"{other}y"}}
    data = dict(serializers.message_payload(server.env.backend, blank_message(server)))
    data |= {"components": [layout], "sticker_items": stickers, "embeds": [hidden], "content": "||https://example.com/y.png||"}
    message = discord.Message(
        state=server.env.bot._connection, channel=server.env.bot.get_channel(server.channel.id), data=data
    )
    found = [(picture.address, picture.spoiler) for picture in shown_pictures(message)]
    assert found == [(other, True), (f"{other}y", True), ("https://cdn.discordapp.com/stickers/7.png", False)]


def blank_message(server):
    return server.env.backend.create_message(server.channel.id, server.bob.id, "look")
