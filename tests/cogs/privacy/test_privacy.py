"""/privacy: a member's data to take along, to be forgotten, and not to be remixed."""

import io
import json
import sys
import zipfile
from datetime import timedelta

from sqlalchemy import select

from cogs.core.generation import runner
from cogs.core.request.preferences import Preferences, Scope
from cogs.core.storage.creations import Creation
from cogs.core.storage.reviews import ReviewRow
from cogs.privacy import export
from cogs.privacy.export import Export
from tests.support.interactions import forge_click
from tests.support.jobs import row_of, slow_down
from tests.support.messages import pictures_of, png, private_text
from tests.support.review import ask_and_hold, decide, review_message


async def made(server, actor=None, command="imagine", **options):
    actor = actor or server.alice
    result = await actor.slash(server.channel, command, **{"prompt": "red apple", "steps": 2, "seed": 5} | options)
    await server.until_finished(result.response)
    await server.until_idle()
    return result.response


async def exported(server, actor=None):
    result = await (actor or server.alice).slash(server.channel, "privacy export")
    files = {}
    for answer in [result.response, *result.followups]:
        assert answer is None or answer.ephemeral
        for attachment in answer.attachments if answer else ():
            with zipfile.ZipFile(io.BytesIO(await attachment.read())) as archive:
                files |= {name: archive.read(name) for name in archive.namelist()}
    return {name: json.loads(data) if name.endswith(".json") else data for name, data in files.items()}


async def forget(server, actor=None):
    asked = await (actor or server.alice).slash(server.channel, "privacy forget")
    assert asked.response.ephemeral and "cannot be undone" in asked.response.content
    await (actor or server.alice).click(asked.response, label="Forget me")
    await server.until_idle()
    return asked.response.content


async def rows(server, table=Creation):
    async with server.service.database.sessions() as session:
        return (await session.scalars(select(table))).all()


def kept_files(server):
    return {path.stem for path in server.service.image_store.folder.rglob("*.png")}


async def test_export_has_everything_of_the_member_and_no_secrets(server):
    await made(server)
    await made(server, command="similar", image=("in.png", png()), steps=3)
    await made(server, server.bob, prompt="a secret of bob")
    await server.service.preference_store.set(Scope.MEMBER, server.alice.id, Preferences(steps=7))
    files = await exported(server)
    similar, plain = files["requests.json"]
    assert plain["request"]["prompt"] == "red apple" and plain["state"] == "delivered"
    assert files["settings.json"] == {"steps": 7}
    assert files["usage.json"][0]["pictures"] == 2
    pictures = {*plain["pictures"], *similar["pictures"], similar["source"], plain["timelapse"], similar["timelapse"]}
    assert {name for name in files if name.startswith("pictures/")} == {f"pictures/{name}.png" for name in pictures}
    for name in pictures:
        assert files[f"pictures/{name}.png"] == await server.service.image_store.read(name)
    assert "token" not in plain and not any(b"a secret of bob" in bytes(str(data), "utf-8") for data in files.values())


async def test_export_without_requests_has_empty_documents(server):
    files = await exported(server)
    empty = ("requests", "usage", "decisions", "favourites", "jams", "jam_entries", "jam_votes", "crowns")
    assert files == {"settings.json": {}} | {f"{name}.json": [] for name in empty}


async def test_export_over_the_limit_is_split_and_says_what_is_missing(server, monkeypatch):
    monkeypatch.setattr(runner, "encode_timelapse", lambda result: b"a timelapse")  # one for all, hardly a byte long
    for seed in range(4):  # one beside the documents, two in the other file
        await made(server, seed=seed)
    (size, *_) = sorted(path.stat().st_size for path in server.service.image_store.folder.rglob("*.png"))
    monkeypatch.setattr(sys.modules["cogs.privacy.cog"], "Export", lambda *data, limit=size + 4000: Export(*data[:2], limit))
    monkeypatch.setattr(export, "MAX_ZIP_PARTS", 2)
    result = await server.alice.slash(server.channel, "privacy export")
    *parts, note = [answer for answer in (result.response, *result.followups) if answer]
    assert [part.attachments[0].filename for part in parts] == ["darkroom-1.zip", "darkroom-2.zip"]
    assert "1 picture, the oldest" in note.content


async def test_export_leaves_out_held_pictures(flagging_server):
    await ask_and_hold(flagging_server)
    files = await exported(flagging_server)
    assert files["requests.json"][0]["state"] == "in_review"
    assert not any(name.startswith("pictures/") for name in files)


async def test_forget_deletes_everything_but_todays_usage(server):
    message = await made(server, count=1)
    await made(server, command="similar", image=("in.png", png()), steps=3)
    await server.service.preference_store.set(Scope.MEMBER, server.alice.id, Preferences(steps=7))
    others = await made(server, server.bob, prompt="blue pear")
    told = await forget(server)
    assert "2 requests, 3 pictures and your settings" in told and "from 2 messages" in told
    assert [row.owner for row in await rows(server)] == [server.bob.id]
    assert kept_files(server) == (await row_of(server, others)).files
    assert server.service.preference_store.get(Scope.MEMBER, server.alice.id) == Preferences()
    assert [shown.id for shown in server.channel.history()] == [others.id]
    assert message.id != others.id
    assert (await exported(server))["usage.json"][0]["pictures"] == 2


async def test_forget_keeps_a_picture_that_others_have(server):
    await made(server)
    theirs = await made(server, server.bob)  # the same seed and settings: the same file
    told = await forget(server)
    assert "1 request, 0 pictures" in told and "1 picture stays" in told
    assert await server.service.image_store.read((await row_of(server, theirs)).pictures[0])


async def test_forget_cancels_running_jobs_first(server, monkeypatch):
    slow_down(server, monkeypatch)
    await server.alice.slash(server.channel, "imagine", prompt="red apple", steps=100)
    await server.bob.slash(server.channel, "imagine", prompt="blue pear", steps=100)
    assert "1 request," in await forget_while_running(server)
    assert [job.owner for job in server.service.jobs.values()] == [server.bob.id]
    assert not kept_files(server)


async def forget_while_running(server):
    asked = await server.alice.slash(server.channel, "privacy forget")
    await server.alice.click(asked.response, label="Forget me")
    await server.until(lambda: "Deleted:" in asked.response.content)
    return asked.response.content


async def test_forget_withdraws_held_pictures_from_review(flagging_server):
    await ask_and_hold(flagging_server)
    await forget(flagging_server)
    assert flagging_server.moderators.history() == [] and flagging_server.channel.history() == []
    assert await rows(flagging_server) == [] and await rows(flagging_server, ReviewRow) == []
    assert not kept_files(flagging_server)


async def test_forget_of_a_moderator_keeps_the_decision(flagging_server):
    message, question = await ask_and_hold(flagging_server)
    await decide(flagging_server, question, "Approve")
    await forget(flagging_server, flagging_server.mia)
    (review,) = await rows(flagging_server, ReviewRow)
    assert (review.decision, review.moderator) == ("approve", None)
    assert pictures_of(message) and review_message(flagging_server)


async def test_forget_deletes_pictures_sent_directly(flagging_server):
    _, question = await ask_and_hold(flagging_server, private=True)
    creation = next(iter(await flagging_server.service.creation_store.unfinished()))
    await flagging_server.service.creation_store.update(creation, expires=creation.expires - timedelta(minutes=15))
    await decide(flagging_server, question, "Approve")
    direct = flagging_server.env.backend.get_dm_channel(flagging_server.alice.id)
    assert flagging_server.env.backend.messages[direct.id]
    await forget(flagging_server)
    assert not flagging_server.env.backend.messages[direct.id]


async def test_forget_continues_after_a_message_it_may_not_delete(server):
    await made(server)
    server.env.inject_error("DELETE", "/channels/*", status=403, code=50001, times=None)
    assert "1 request," in await forget(server)
    assert await rows(server) == []


async def test_forgotten_messages_are_deleted_after_a_restart(server):
    await made(server)
    others = await made(server, server.bob)
    server.env.inject_error("DELETE", "/channels/*", status=503, times=None)
    await forget(server)
    assert len(server.channel.history()) == 2 and len(await rows(server)) == 1
    server.env.backend.faults.clear()
    await server.restart()
    await server.until(lambda: [shown.id for shown in server.channel.history()] == [others.id])
    assert await server.service.personal_data.erasure.messages() == []


async def test_forget_works_after_a_restart_for_its_member_only(server):
    message = await made(server)
    asked = await server.alice.slash(server.channel, "privacy forget")
    await server.restart()
    forged = await forge_click(server, server.bob, message, f"darkroom:forget:{server.alice.id}")
    assert not forged.followups and len(await rows(server)) == 1
    await server.alice.click(asked.response, label="Forget me")
    await server.until_idle()
    assert await rows(server) == []


async def test_forget_deletes_nothing_when_the_database_fails(server):
    await made(server)
    asked = await server.alice.slash(server.channel, "privacy forget")
    async with server.service.database.sessions.begin() as session:
        await session.execute(ReviewRow.__table__.delete())
        await (await session.connection()).run_sync(ReviewRow.__table__.drop)
    result = await server.alice.click(asked.response, label="Forget me")
    assert "try again later" in result.followups[0].content
    assert len(await rows(server)) == 1 and kept_files(server)


async def test_remix_setting_stops_others_but_not_the_member(server):
    message = await made(server)
    assert "Nobody else may start" in private_text(await server.alice.slash(server.channel, "privacy remix", allowed=False))
    pressed = await server.bob.click(message, label="Vary (subtle)")
    assert "does not allow others to start" in private_text(pressed)
    remixed = await server.bob.context_menu(server.channel, "Remix avatar", server.alice)
    assert "does not allow others to start" in private_text(remixed)
    own = await server.alice.click(message, label="Vary (subtle)")
    await server.until_finished(own.response)
    await server.until_idle()
    again = await server.bob.click(own.response, label="Reroll")  # it starts from her picture, too
    assert "does not allow others to start" in private_text(again)
    assert "Others may start" in private_text(await server.alice.slash(server.channel, "privacy remix", allowed=True))
    await server.until_finished((await server.bob.click(message, label="Vary (subtle)")).response)


async def test_export_works_in_a_direct_message(server):
    carol = server.env.create_user("carol")
    result = await carol.slash("privacy export")
    assert [answer for answer in (result.response, *result.followups) if answer and answer.attachments]
