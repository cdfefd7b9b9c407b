import re
from unittest.mock import AsyncMock

import discord
import pytest

from cogs.core.generation.source import UNKNOWN_ID
from cogs.core.messages.lineage import HIDDEN
from cogs.core.request.preferences import Preferences, Scope
from diffusion.images.io import read_image, to_png
from diffusion.images.parameters import read_parameters
from tests.support.interactions import limit_upload_size
from tests.support.messages import files_of, pictures_of, png, private_message, private_text, source_of, text_of
from tests.support.server import add_moderator


async def made(server, member=None, channel=None, command="imagine", **options):
    given = {"prompt": "red apple", "steps": 3} | options
    result = await (member or server.alice).slash(channel or server.channel, command, **given)
    await server.until_finished(result.response, given.get("count", 1))
    await server.until_idle()
    return result.response


async def pressed(server, message, name, member=None):
    result = await (member or server.alice).click(message, label=name)
    await server.until_finished(result.response)
    await server.until_idle()
    return result.response


async def row_of(server, message):
    return await server.service.creation_store.get_by_message(message.id)


async def shown(server, message, member=None, channel=None, **options):
    row = await row_of(server, message)
    result = await (member or server.alice).slash(channel or server.channel, "show", id=str(row.id), **options)
    (answer,) = [answer for answer in (result.response, *result.followups) if answer is not None]
    return answer


async def tree(server, message, member=None):
    row = await row_of(server, message)
    return text_of(private_message(await (member or server.alice).slash(server.channel, "tree", id=str(row.id))))


def hidden_channel(server, member):
    return server.guild.create_text_channel("hidden", overwrites={member: discord.PermissionOverwrite(view_channel=False)})


# /show


async def test_show_posts_a_picture_again(server):
    message = await made(server, command="similar", image=("in.png", png()), count=2)
    again = await shown(server, message, server.bob)
    assert not again.ephemeral
    assert [await file.read() for file in pictures_of(again)] == [await file.read() for file in pictures_of(message)]
    assert await source_of(again).read() == await source_of(message).read()


async def test_show_private_replies_privately(server):
    assert (await shown(server, await made(server), private=True)).ephemeral


async def test_show_keeps_working_buttons(server):
    again = await shown(server, await made(server, seed=5))
    another = await pressed(server, again, "Reroll")
    assert read_parameters(await pictures_of(another)[0].read())["prompt"] == "red apple"


async def test_show_of_a_private_picture_is_for_its_owner(server):
    message = await made(server, private=True)
    row = await row_of(server, message)
    assert (await shown(server, message)).ephemeral
    refused = await server.bob.slash(server.channel, "show", id=str(row.id))
    assert private_text(refused) == UNKNOWN_ID


@pytest.mark.parametrize("id", ["", "1", "fox", "9" * 30, "-5", "1e5", "٣", "123456789012345678"])
async def test_show_and_tree_reject_an_unknown_id(server, id):
    for command in ("show", "tree"):
        assert private_text(await server.alice.slash(server.channel, command, id=id)) == UNKNOWN_ID


async def test_show_hides_other_servers_and_unreadable_channels(server):
    other = server.env.create_guild()
    elsewhere = other.create_text_channel("art")
    carol = other.add_member(server.env.create_user("carol"))
    for message in (await made(server, carol, elsewhere), await made(server, channel=hidden_channel(server, server.bob))):
        row = await row_of(server, message)
        assert private_text(await server.bob.slash(server.channel, "show", id=str(row.id))) == UNKNOWN_ID


async def test_show_reveals_a_hidden_channels_picture_to_its_readers(server):
    message = await made(server, channel=hidden_channel(server, server.bob))
    assert len(pictures_of(await shown(server, message))) == 1


async def test_show_of_own_picture_from_another_server_is_private(server):
    other = server.env.create_guild()
    elsewhere = other.create_text_channel("art")
    user = server.env.create_user("carol")
    message = await made(server, other.add_member(user), elsewhere)
    assert (await shown(server, message, server.guild.add_member(user))).ephemeral


async def test_show_of_an_unfinished_picture_is_unknown(server):
    result = await server.alice.slash(server.channel, "imagine", prompt="slow", steps=150, count=4)
    (id,) = server.service.jobs
    assert private_text(await server.alice.slash(server.channel, "show", id=str(id))) == UNKNOWN_ID
    await server.alice.click(result.response, label="Cancel")
    await server.until_idle()


@pytest.mark.parametrize("noticed", [True, False])
async def test_show_of_a_deleted_picture_is_for_its_owner(server, monkeypatch, noticed):
    message = await made(server)
    row = await row_of(server, message)
    if noticed:
        asked = await server.alice.click(message, label="Delete")
        await server.alice.click(asked.response, label="Delete")
    else:  # while the bot was away
        monkeypatch.setattr(server.service.creation_store, "forget_messages", AsyncMock())
        await add_moderator(server).delete(message)
    assert private_text(await server.bob.slash(server.channel, "show", id=str(row.id))) == UNKNOWN_ID
    mine = await server.alice.slash(server.channel, "show", id=str(row.id))
    assert len(pictures_of(private_message(mine))) == 1


async def test_show_of_a_deleted_channels_picture_is_for_its_owner(server):
    doomed = server.guild.create_text_channel("doomed")
    message = await made(server, channel=doomed)
    row = await row_of(server, message)
    server.env.backend.delete_channel(doomed.id)
    assert private_text(await server.bob.slash(server.channel, "show", id=str(row.id))) == UNKNOWN_ID
    assert len(pictures_of(private_message(await server.alice.slash(server.channel, "show", id=str(row.id))))) == 1


async def test_show_over_the_upload_limit_is_sent_smaller(server, monkeypatch):
    message = await made(server)
    limit_upload_size(monkeypatch, 1500)
    again = await shown(server, message)
    assert pictures_of(again)[0].name.endswith(".webp") and "too large here" in text_of(again)
    limit_upload_size(monkeypatch, 10)
    row = await row_of(server, message)
    result = await server.alice.slash(server.channel, "show", id=str(row.id))
    assert "larger than Discord takes" in private_text(result)


@pytest.mark.parametrize(("status", "code"), [(413, 40005), (413, 0), (400, 50045)])
async def test_show_that_discord_calls_too_large_is_sent_smaller(server, status, code):
    message = await made(server)
    server.env.inject_error("POST", "/webhooks/*", status=status, code=code, times=3)
    assert "at half the size" in text_of(await shown(server, message))


async def test_id_choices_list_own_pictures_by_prompt(server):
    await made(server, prompt="red apple")
    await made(server, prompt="blue pear")
    await made(server, server.bob, prompt="green apple")
    offered = await server.alice.autocomplete(server.channel, "show", "id", "")
    assert [choice["name"].split(" ·")[0] for choice in offered] == ["blue pear", "red apple"]
    (one,) = await server.alice.autocomplete(server.channel, "tree", "id", "APPL")
    assert (
        len(pictures_of(private_message(await server.alice.slash(server.channel, "show", id=one["value"], private=True)))) == 1
    )


async def test_id_choices_find_own_pictures_by_the_beginning_of_the_id_and_any_visible_one_by_the_whole(server):
    row = await row_of(server, await made(server))
    secret = await row_of(server, await made(server, private=True))
    typed = row.short_id.upper().replace("0", "O").replace("1", "l")
    for member, beginning in ((server.alice, typed[:4]), (server.alice, f"#{typed}"), (server.bob, typed)):
        (one,) = await member.autocomplete(server.channel, "show", "id", beginning)
        assert one["value"] == row.short_id and row.short_id in one["name"]
    assert await server.bob.autocomplete(server.channel, "show", "id", typed[:5]) == []
    assert await server.bob.autocomplete(server.channel, "show", "id", secret.short_id) == []


async def test_short_id_is_accepted_as_people_type_it(server):
    message = await made(server)
    row = await row_of(server, message)
    for typed in (row.short_id, f" #{row.short_id.upper()} "):
        result = await server.bob.slash(server.channel, "show", id=typed, private=True)
        assert len(pictures_of(private_message(result))) == 1
    secret = await row_of(server, await made(server, private=True))
    assert private_text(await server.bob.slash(server.channel, "tree", id=secret.short_id)) == UNKNOWN_ID


# pictures that have been deleted


async def test_show_of_pruned_pictures_offers_a_replay(server):
    message = await made(server, seed=5)
    for file in server.service.image_store.folder.rglob("*.png"):
        file.unlink()
    again = await shown(server, message)
    assert "have been deleted" in again.content and "seed 5" in again.content
    replayed = await pressed(server, again, "Replay")
    assert "identical to the byte" in text_of(replayed)  # its name is its hash, so that is known still
    assert await pictures_of(replayed)[0].read() == await pictures_of(message)[0].read()


async def test_show_of_a_pruned_source_says_so(server):
    message = await made(server, command="similar", image=("in.png", png()))
    for file in server.service.image_store.folder.rglob("*.png"):
        file.unlink()
    assert "have been deleted" in (await shown(server, message)).content


# Replay


@pytest.mark.parametrize("command", ["imagine", "similar"])
async def test_replay_reports_an_identical_picture(server, command):
    message = await made(server, command=command, **({"image": ("in.png", png())} if command == "similar" else {}))
    replayed = await pressed(server, await shown(server, message), "Replay", server.bob)
    original, row = await row_of(server, message), await row_of(server, replayed)
    assert f"Replay of `{original.short_id}`: identical to the byte" in text_of(replayed)
    assert (row.parent_id, row.pictures, row.model) == (original.id, original.pictures, "tiny") and row.seconds > 0


async def test_replay_reports_the_difference(server):
    message = await made(server)
    row = await row_of(server, message)
    picture = read_image(await pictures_of(message)[0].read())
    picture.putpixel((0, 0), tuple((channel + 40) % 256 for channel in picture.getpixel((0, 0))))
    await changed(server, row, pictures=[await server.service.image_store.save(to_png(picture))])
    replayed = await pressed(server, await shown(server, message), "Replay")
    assert "not identical, apart by at most" in text_of(replayed) and "of 255 levels (PSNR" in text_of(replayed)


async def test_replay_compares_pixels_when_files_differ(server):
    message = await made(server)
    picture = read_image(await pictures_of(message)[0].read())
    await changed(server, await row_of(server, message), pictures=[await server.service.image_store.save(to_png(picture))])
    assert "identical in every pixel" in text_of(await pressed(server, await shown(server, message), "Replay"))


async def test_replay_reports_another_model(server):
    message = await made(server)
    await changed(server, await row_of(server, message), model="an older one")
    assert "the model was an older one then" in text_of(await pressed(server, await shown(server, message), "Replay"))


async def test_replay_without_the_original_says_so(server):
    message = await made(server)
    again = await shown(server, message)
    await changed(server, await row_of(server, message), pictures=["f" * 64])
    assert "cannot compare further" in text_of(await pressed(server, again, "Replay"))


async def test_replay_of_a_private_picture_is_private(server):
    again = await shown(server, await made(server, private=True))
    assert (await pressed(server, again, "Replay")).ephemeral


async def test_replay_respects_the_remix_setting(server):
    again = await shown(server, await made(server, command="similar", image=("in.png", png())))
    await server.service.preference_store.set(Scope.MEMBER, server.alice.id, Preferences(remix=False))
    assert "does not allow" in private_text(await server.bob.click(again, label="Replay"))
    assert "Replay of" in text_of(await pressed(server, again, "Replay"))


async def test_reroll_is_no_replay(server):
    assert "Replay of" not in text_of(await pressed(server, await made(server), "Reroll"))


async def changed(server, row, **values):
    """Change what the journal says, as if it had been so."""
    from sqlalchemy import update

    from cogs.core.storage.creations import Creation

    async with server.service.database.transaction("") as session:
        await session.execute(update(Creation).where(Creation.id == row.id).values(**values))


# /tree


async def test_tree_shows_changes_from_parent_to_child(server):
    message = await made(server, seed=5)
    child = await pressed(server, message, "Reroll", server.bob)
    more = await pressed(server, child, "Vary (strong)")
    await pressed(server, await shown(server, message), "Replay")
    first, second, third = [await row_of(server, each) for each in (message, child, more)]
    lines = (await tree(server, child)).splitlines()
    assert f"red apple, seed 5 · {first.short_id}" in lines
    assert f"├─ ▶ seed 5 → {second.request['seed']} · {second.short_id}" in lines
    assert any(line.startswith("│  └─ from its picture") and line.endswith(f" · {third.short_id}") for line in lines)
    assert any("─ the same again · " in line for line in lines)


async def test_tree_hides_pictures_that_a_member_may_not_see(server):
    message = await made(server, prompt="my secret", private=True)
    child = await pressed(server, message, "Reroll")
    public = await made(server, prompt="for all")
    await changed(server, await row_of(server, public), parent_id=(await row_of(server, child)).id)
    assert "my secret" in await tree(server, public)
    text = await tree(server, public, server.bob)
    assert "my secret" not in text and text.count(HIDDEN) == 2 and "for all" in text


async def test_tree_select_shows_a_picture(server):
    message = await made(server)
    short_id = (await row_of(server, message)).short_id
    result = await server.alice.slash(server.channel, "tree", id=short_id)
    one = await server.alice.select(private_message(result), [short_id])
    assert len(pictures_of(private_message(one))) == 1


async def test_tree_button_opens_the_tree(server):
    again = await shown(server, await made(server))
    assert "red apple" in text_of(private_message(await server.bob.click(again, label="Tree")))


async def test_tree_accepts_a_missing_parent(server):
    child = await pressed(server, await made(server), "Reroll")
    row = await row_of(server, child)
    async with server.service.database.engine.begin() as connection:
        await connection.exec_driver_sql(f"DELETE FROM creations WHERE id = {row.parent_id}")
    assert re.search(rf"red apple, seed \d+ · {row.short_id}", await tree(server, child))


# what was made in other ways


async def branched(server, message):
    timelapse = (await server.alice.click(message, label="How it formed")).response
    await server.until(lambda: files_of(timelapse))
    form = await server.alice.select(timelapse, ["2"])
    result = await server.alice.submit_modal(form, {"prompt": "green pear"})
    await server.until_finished(result.response)
    await server.until_idle()
    return result.response


KINDS = {
    "branch": ({"steps": 4}, ("**red apple** → **green pear**", "branched at step 2"), "from step 2: green pear"),
    "morph": (
        {"from": "red apple", "to": "pear", "frames": 3, "prompt": None},
        ("**red apple** → **pear**", "3 frames"),
        "red apple → pear, seed",
    ),
    "inpaint": ({"image": ("in.png", png((32, 32))), "region": "left"}, ("a part redrawn",), "red apple"),
    "outpaint": ({"image": ("in.png", png((32, 32))), "direction": "left"}, ("a part redrawn",), "red apple"),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_of_picture_can_be_shown_and_replayed(server, kind):
    options, words, in_tree = KINDS[kind]
    command = "imagine" if kind == "branch" else kind
    given = {name: value for name, value in ({"prompt": "red apple", "steps": 3} | options).items() if value is not None}
    result = await server.alice.slash(server.channel, command, **given)
    await server.until_finished(result.response)
    await server.until_idle()
    message = await branched(server, result.response) if kind == "branch" else result.response
    again = await shown(server, message, server.bob)
    assert [await file.read() for file in pictures_of(again)] == [await file.read() for file in pictures_of(message)]
    info = text_of((await server.bob.click(again, label="Info")).response)
    assert all(word in text_of(again) for word in words[:-1]) and words[-1] in info
    assert in_tree in await tree(server, message, server.bob)
    replayed = await pressed(server, again, "Replay", server.bob)
    assert "identical to the byte" in text_of(replayed)
