"""Make emoji and Make sticker, from a result to the server's own emojis and stickers."""

import asyncio
import base64
import io

import discord
import numpy as np
import pytest
from PIL import Image, ImageDraw

from cogs.core.generation import runner
from cogs.core.messages.views import ActionButton
from cogs.core.request.preferences import Preferences, Scope
from cogs.emoji import expressions
from tests.support.actions import use
from tests.support.interactions import forge_form
from tests.support.messages import private_text


def apple(ground="white"):
    """A red disc, off the middle, as a PNG."""
    picture = Image.new("RGB", (256, 256), ground)
    ImageDraw.Draw(picture).ellipse((40, 60, 160, 180), fill="red")
    return encoded(picture)


def noise():
    return encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)))


def encoded(picture):
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
async def artist(server):
    """May add emojis."""
    role = server.guild.create_role("artists", permissions=discord.Permissions(create_expressions=True))
    return server.guild.add_member(server.env.create_user("artist"), roles=[role])


async def made(server, monkeypatch, member=None, picture=None, prompt="red apple, flat", **options):
    """Post a result of the model whose picture is ``picture``."""
    monkeypatch.setattr(runner, "encode_result", lambda result: [picture or apple()])
    result = await (member or server.alice).slash(server.channel, "imagine", prompt=prompt, steps=2, **options)
    await server.until_finished(result.response)
    return result.response


async def begun(member, message, kind="emoji"):
    return await use(member, message, kind)


async def draft(server, monkeypatch, member, kind="emoji", **options):
    """Return the message that shows the emoji or sticker to be."""
    shown = await begun(member, await made(server, monkeypatch, **options), kind)
    assert shown.response.ephemeral
    return shown.response


async def named(member, message, **typed):
    shown = await member.click(message, label="Name and upload")
    return await member.submit_modal(shown, typed)


async def pictures_of(message):
    return [Image.open(io.BytesIO(await attachment.read())) for attachment in message.attachments]


def labels(message):
    return [button["label"] for row in message.components for button in row["components"]]


def values(modal):
    return {label["component"]["custom_id"]: label["component"].get("value") for label in modal["components"]}


def uploaded(server):
    """The pictures that the server got as emojis."""
    posts = [entry.json for entry in server.env.http_requests if entry.method == "POST" and entry.path.endswith("/emojis")]
    return [Image.open(io.BytesIO(base64.b64decode(post["image"].partition(",")[2]))) for post in posts]


def emojis(server):
    return server.env.bot.get_guild(server.guild.id).emojis


def stickers(server):
    return server.env.bot.get_guild(server.guild.id).stickers


def take_from_bot(server, permission):
    guild = server.env.backend.get_guild(server.guild.id)
    role = next(role for role in guild.roles.values() if role.managed)
    permissions = discord.Permissions(role.permissions)
    setattr(permissions, permission, False)
    server.env.backend.edit_role(guild.id, role.id, {"permissions": permissions.value})


async def test_emoji_is_made_without_its_background(server, artist, monkeypatch):
    message = await draft(server, monkeypatch, artist)
    picture, sheet = await pictures_of(message)
    assert picture.size == (128, 128) and picture.getpixel((2, 2))[3] == 0 and picture.getpixel((64, 64)) == (255, 0, 0, 255)
    assert sheet.getpixel((2, 2)) == (0x32, 0x33, 0x39) and sheet.getpixel((sheet.width - 2, 2)) == (255, 255, 255)
    await named(artist, message, name="red_apple")
    (emoji,) = emojis(server)
    assert emoji.name == "red_apple"
    assert str(emoji) in message.content and not message.components
    (sent,) = uploaded(server)
    assert sent.size == (128, 128) and sent.tobytes() == picture.tobytes()


async def test_emoji_form_suggests_a_name_from_the_prompt(server, artist, monkeypatch):
    message = await draft(server, monkeypatch, artist)
    shown = await artist.click(message, label="Name and upload")
    assert values(shown.modal) == {"name": "red_apple"}


async def test_emoji_can_keep_its_background(server, artist, monkeypatch):
    message = await draft(server, monkeypatch, artist, picture=apple("#3070e8"))
    await artist.click(message, label="Transparent background: on")
    picture, _ = await pictures_of(message)
    assert picture.mode == "RGB" and picture.getpixel((2, 2)) == (0x30, 0x70, 0xE8)
    await artist.click(message, label="Transparent background: off")
    picture, _ = await pictures_of(message)
    assert picture.getpixel((2, 2))[3] == 0
    await artist.click(message, label="Transparent background: on")
    await named(artist, message, name="apple")
    assert uploaded(server)[0].mode == "RGB"


async def test_sticker_is_made_with_name_tag_and_description(server, artist, monkeypatch):
    message = await draft(server, monkeypatch, artist, kind="sticker")
    picture, _ = await pictures_of(message)
    assert picture.size == (320, 320) and picture.getpixel((5, 5))[3] == 0
    shown = await artist.click(message, label="Name and upload")
    assert values(shown.modal) == {"name": "red apple", "tag": "🍎", "description": "red apple, flat"}
    await artist.submit_modal(shown, {"name": "An apple", "tag": "🍏", "description": "Not to be eaten"})
    (sticker,) = stickers(server)
    assert (sticker.name, sticker.emoji, sticker.description) == ("An apple", "🍏", "Not to be eaten")
    assert "**An apple**" in message.content


async def test_sticker_needs_no_description(server, artist, monkeypatch):
    message = await draft(server, monkeypatch, artist, kind="sticker")
    await named(artist, message, name="apple", tag="🍏", description="")
    (sticker,) = stickers(server)
    assert not sticker.description


async def test_emoji_draft_works_after_a_restart(server, artist, monkeypatch):
    message = await draft(server, monkeypatch, artist, kind="sticker")
    await server.restart()
    await artist.click(message, label="Transparent background: on")
    await server.restart()
    shown = await artist.click(message, label="Name and upload")
    assert values(shown.modal) == {"name": "red apple", "tag": "🍎", "description": "red apple, flat"}
    await artist.submit_modal(shown, {"name": "apple", "tag": "🍏", "description": ""})
    assert [sticker.name for sticker in stickers(server)] == ["apple"]


async def test_emoji_without_a_plain_background_uses_the_whole_picture(server, artist, monkeypatch):
    message = await draft(server, monkeypatch, artist, picture=noise())
    assert "no subject on a plain background" in message.content
    assert labels(message) == ["Name and upload"]
    await named(artist, message, name="noise")
    assert [emoji.name for emoji in emojis(server)] == ["noise"]


@pytest.mark.parametrize("name", ["röd", "red apple", "no-dash", "x:y", ":)"])
async def test_emoji_form_keeps_a_rejected_name(server, artist, monkeypatch, name):
    message = await draft(server, monkeypatch, artist)
    await named(artist, message, name=name)
    assert "2 to 32 letters from a to z, digits and underscores" in message.content
    assert not emojis(server)
    shown = await artist.click(message, label="Name and upload")
    assert values(shown.modal) == {"name": name}
    await artist.submit_modal(shown, {"name": "right"})
    assert [emoji.name for emoji in emojis(server)] == ["right"]


async def test_sticker_form_keeps_rejected_input(server, artist, monkeypatch):
    message = await draft(server, monkeypatch, artist, kind="sticker")
    await named(artist, message, name="    ", tag="🍏", description="Green")
    assert "2 to 30 characters" in message.content and not stickers(server)
    shown = await artist.click(message, label="Name and upload")
    assert {**values(shown.modal), "name": ""} == {"name": "", "tag": "🍏", "description": "Green"}


async def test_emoji_button_needs_create_expressions(server, monkeypatch):
    message = await made(server, monkeypatch)
    refused = private_text(await begun(server.bob, message))
    assert refused.startswith("You need the permission Create Expressions")


async def test_emoji_button_does_not_accept_manage_expressions_alone(server, monkeypatch):
    role = server.guild.create_role("managers", permissions=discord.Permissions(manage_expressions=True))
    manager = server.guild.add_member(server.env.create_user("manager"), roles=[role])
    refused = await begun(manager, await made(server, monkeypatch))
    assert "You need the permission Create Expressions" in private_text(refused)


async def test_emoji_button_needs_the_permission_of_the_bot(server, artist, monkeypatch):
    message = await made(server, monkeypatch)
    take_from_bot(server, "create_expressions")
    assert private_text(await begun(artist, message)).startswith("I need the permission Create Expressions")
    assert private_text(await begun(server.bob, message)).startswith("You and I need the permission")


async def test_emoji_draft_survives_a_lost_permission(server, artist, monkeypatch):
    message = await draft(server, monkeypatch, artist)
    shown = await artist.click(message, label="Name and upload")
    take_from_bot(server, "create_expressions")
    await artist.submit_modal(shown, {"name": "my_apple"})
    assert message.content.startswith("I need the permission Create Expressions")
    assert "Name and upload" in labels(message)
    refused = await artist.click(message, label="Name and upload")
    assert "I need the permission" in private_text(refused)


@pytest.mark.parametrize(("kind", "limit"), [("emoji", "emoji_limit"), ("sticker", "sticker_limit")])
async def test_full_server_is_reported_before_the_draft(server, artist, monkeypatch, kind, limit):
    message = await made(server, monkeypatch)
    for number in range(getattr(server.env.bot.get_guild(server.guild.id), limit)):
        getattr(server.guild, f"create_{kind}")(f"{kind}{number}")
    refused = await begun(artist, message, kind)
    assert f"no {kind} slots left" in private_text(refused)


async def test_animated_emojis_use_separate_slots(server, artist, monkeypatch):
    for number in range(50):
        server.guild.create_emoji(f"emoji{number}", animated=True)
    message = await draft(server, monkeypatch, artist)
    await named(artist, message, name="still")
    assert "still" in [emoji.name for emoji in emojis(server)]


@pytest.mark.parametrize(
    ("kind", "status", "code", "words"),
    [
        ("emoji", 400, 30008, "no emoji slots left"),
        ("sticker", 400, 30039, "no sticker slots left"),
        ("emoji", 403, 50013, "I need the permission Create Expressions"),
        ("emoji", 400, 50035, "did not accept this emoji"),
        ("emoji", 400, 50138, "did not accept this emoji"),
        ("sticker", 413, 40005, "did not accept this sticker"),
    ],
)
async def test_discord_error_is_reported_and_upload_can_be_retried(server, artist, monkeypatch, kind, status, code, words):
    message = await draft(server, monkeypatch, artist, kind=kind)
    server.env.inject_error("POST", f"/guilds/*/{kind}s", status=status, code=code)
    typed = {"name": "mine", **({"tag": "🍏", "description": "Mine"} if kind == "sticker" else {})}
    await named(artist, message, **typed)
    assert words in message.content
    shown = await artist.click(message, label="Name and upload")
    assert values(shown.modal) == typed
    await artist.submit_modal(shown, typed)
    assert "of this server now" in message.content


async def test_emoji_upload_that_times_out_on_a_rate_limit_is_explained(server, artist, monkeypatch):
    async def time_out(*_, **__):
        raise TimeoutError

    monkeypatch.setattr(discord.Guild, "create_custom_emoji", time_out)
    message = await draft(server, monkeypatch, artist)
    await named(artist, message, name="apple")
    assert "not let me add an emoji at the moment" in message.content and not emojis(server)


async def test_private_picture_becomes_an_emoji_for_its_owner_only(server, artist, monkeypatch):
    private = await made(server, monkeypatch, artist, private=True)
    secret = (await server.service.creation_store.get_by_message(private.id)).id
    public = await made(server, monkeypatch)
    role = server.guild.roles["artists"]
    other = server.guild.add_member(server.env.create_user("other"), roles=[role])
    with monkeypatch.context() as forged:
        forged.setattr(ActionButton, "from_custom_id", lambda *_: asyncio.sleep(0, ActionButton("emoji", other.id, secret)))
        refused = await other.click(public, label="Reroll")
    assert "Only the member who asked" in private_text(refused)
    shown = await begun(artist, private)
    assert shown.response.attachments


async def test_emoji_is_not_made_of_pictures_that_others_may_not_start_from(server, artist, monkeypatch):
    message = await made(server, monkeypatch)
    await server.until_idle()
    await server.service.preference_store.set(Scope.MEMBER, server.alice.id, Preferences(remix=False))
    for result in (
        await begun(artist, message),
        await artist.slash(server.channel, "emoji", image=("mine.png", apple())),
    ):
        answers = [answer for answer in (*result.followups, result.response) if answer is not None]
        assert "does not allow" in answers[0].content


async def test_emoji_button_needs_a_server(server, monkeypatch):
    user = server.env.create_user("dora")
    result = await user.slash("imagine", prompt="apple", steps=2)
    await server.until_finished(result.response)
    assert "belong to a server" in private_text(await begun(user, result.response))


async def test_emoji_button_suggests_attaching_a_deleted_picture(server, artist, monkeypatch):
    message = await made(server, monkeypatch)
    await server.service.image_store.prune()
    for file in server.service.image_store.folder.rglob("*.png"):
        file.unlink()
    assert "attach it to `/emoji`" in private_text(await begun(artist, message))


async def test_emoji_command_uploads_an_attached_picture(server, artist):
    result = await artist.slash(server.channel, "emoji", image=("Red apple.png", apple()))
    assert result.response.ephemeral
    (emoji,) = emojis(server)
    assert emoji.name == "red_apple" and str(emoji) in result.response.content
    assert uploaded(server)[0].getpixel((2, 2))[3] == 0
    assert len(result.response.attachments) == 2


async def test_emoji_command_makes_a_sticker_with_its_background(server, artist):
    await artist.slash(server.channel, "emoji", image=("x.png", apple()), name="My apple", sticker=True, transparent=False)
    (sticker,) = stickers(server)
    assert (sticker.name, sticker.emoji) == ("My apple", "🎨")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"image": ("a.png", apple()), "name": "red apple"}, "letters from a to z"),
        ({"image": ("a.png", b"junk"), "name": "apple"}, "as a picture"),
    ],
)
async def test_emoji_command_rejects_invalid_options_privately(server, artist, options, words):
    assert words in private_text(await artist.slash(server.channel, "emoji", **options))
    assert not emojis(server)


async def test_emoji_command_needs_create_expressions(server):
    refused = await server.alice.slash(server.channel, "emoji", image=("a.png", apple()), name="apple")
    assert "You need the permission Create Expressions" in private_text(refused)


async def test_emoji_is_confirmed_after_its_draft_was_dismissed(server, artist, monkeypatch):
    message = await draft(server, monkeypatch, artist)
    shown = await artist.click(message, label="Name and upload")
    server.env.backend.delete_message(server.channel.id, message.id)
    told = private_text(await forge_form(server, artist, shown, {"name": "apple"}))
    assert "of this server now" in told and [emoji.name for emoji in emojis(server)] == ["apple"]


@pytest.mark.parametrize(
    ("filename", "emoji", "sticker"),
    [
        ("cat.png", "cat", "cat"),
        ("SPOILER_cat.png", "cat", "cat"),
        ("SPOILER_SPOILER_Red Cat.gif", "red_cat", "Red Cat"),
        ("spoiler_cat.png", "cat", "cat"),
        ("SPOILER_.png", "darkroom", "darkroom"),
        ("my_SPOILER_cat.png", "my_spoiler_cat", "my_SPOILER_cat"),
    ],
)
def test_name_of_file_leaves_out_what_hides_it(filename, emoji, sticker):
    assert (expressions.EMOJI.name_of_file(filename), expressions.STICKER.name_of_file(filename)) == (emoji, sticker)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
async def test_emoji_of_an_animation_says_that_it_stands_still(server, artist, kind):
    file = io.BytesIO()
    frames = [Image.open(io.BytesIO(apple())), Image.open(io.BytesIO(apple("grey")))]
    frames[0].save(file, kind, save_all=True, append_images=frames[1:], duration=100)
    result = await artist.slash(server.channel, "emoji", image=(f"SPOILER_cat.{kind.lower()}", file.getvalue()))
    assert "its first frame" in private_text(result) and emojis(server)[0].name == "cat"


async def test_emoji_of_a_still_picture_does_not_speak_of_frames(server, artist):
    result = await artist.slash(server.channel, "emoji", image=("cat.png", apple()))
    assert "frame" not in private_text(result)
