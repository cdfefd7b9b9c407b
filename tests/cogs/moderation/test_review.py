"""What becomes of flagged pictures, for each rule and kind of channel; how moderators decide, also after a restart."""

import asyncio
from datetime import timedelta
from unittest.mock import AsyncMock, Mock

import discord
import pytest
from sqlalchemy import delete

import cogs.core.storage.reviews
from cogs.core.generation.maintenance import Maintenance
from cogs.core.generation.safety_gate import AWAITING_REVIEW, NOT_SHOWN
from cogs.core.request.preferences import FlaggedAction
from cogs.core.storage.creations import State
from cogs.core.storage.database import DatabaseUnavailableError
from cogs.core.storage.reviews import Decision, ReviewRow
from diffusion.safety import load_safety_check
from tests.support.jobs import never_ends, row_of, slow_down
from tests.support.messages import files_of, pictures_of, png, private_text, text_of
from tests.support.review import SPOILERS, ask, ask_and_hold, decide, is_spoiler, outcome_of, review_message, set_rules
from tests.support.safety import build_checker
from tests.support.server import open_server

NEW = ("POST", "/channels/*/messages")


@pytest.fixture
def server(flagging_server):
    return flagging_server


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr("cogs.core.tasks.FIRST_WAIT_SECONDS", 0.01)


@pytest.mark.parametrize(
    ("rules", "normal", "restricted"),
    [
        ({}, "refused", SPOILERS),
        ({"flagged": FlaggedAction.ALLOW, "flagged_restricted": FlaggedAction.REFUSE}, "pictures", "refused"),
        ({"flagged": FlaggedAction.SPOILER, "flagged_restricted": FlaggedAction.ALLOW}, SPOILERS, "pictures"),
        ({"flagged": FlaggedAction.REFUSE, "flagged_restricted": FlaggedAction.REVIEW}, "refused", "refused"),
        ({"flagged_restricted": FlaggedAction.REVIEW, "moderators": 0}, "held", "held"),
    ],
)
async def test_flagged_picture_follows_the_rule_of_its_channel(server, rules, normal, restricted):
    await set_rules(server, **rules | ({"moderators": server.moderators.id} if "moderators" in rules else {}))
    assert outcome_of(await ask(server)) == normal
    nights = server.guild.create_text_channel("nights")
    known = server.env.bot.get_channel(nights.id)
    known.nsfw = True  # simcord knows no such channels
    assert outcome_of(await ask(server, channel=nights)) == restricted
    await known.create_thread(name="late", type=discord.ChannelType.public_thread)
    assert outcome_of(await ask(server, channel=nights.threads[0])) == restricted


async def test_refused_picture_is_not_stored_but_charged(server):
    message = await ask(server)
    row = await row_of(server, message)
    assert (row.state, row.error, row.flags, row.pictures) == (State.FAILED, NOT_SHOWN, {"nsfw": 0.93}, None)
    assert not any(server.service.image_store.folder.rglob("*.png"))
    assert (await server.service.quota_store.used_today(server.alice.id)).get(server.guild.id) == 1


async def test_flagged_picture_is_refused_in_direct_messages(server):
    result = await server.env.create_user("carol").slash("imagine", prompt="red apple", steps=2)
    await server.until_idle()
    assert outcome_of(result.response) == "refused"


async def test_unflagged_picture_is_posted(tiny_model):
    async with open_server(tiny_model, check=lambda images: [{}] * len(images)) as server:
        message = await ask(server)
        assert outcome_of(message) == "pictures" and (await row_of(server, message)).flags is None


async def test_source_picture_is_checked(tiny_model):
    def only_blue(images):
        return [{"blue": 1.0} if image.resize((1, 1)).getpixel((0, 0)) == (0, 0, 255) else {} for image in images]

    async with open_server(tiny_model, check=only_blue) as server:
        assert outcome_of(await ask(server)) == "pictures"
        assert outcome_of(await ask(server, command="similar", image=("in.png", png(colour="blue")), steps=3)) == "refused"
        assert len([*server.service.image_store.folder.rglob("*.png")]) == 2  # that of the first and its timelapse


async def test_checker_of_the_model_refuses_pictures(tiny_model, tmp_path):
    async with open_server(tiny_model, check=load_safety_check(str(build_checker(tmp_path, flagging=True)))) as server:
        message = await ask(server)
        assert outcome_of(message) == "refused" and (await row_of(server, message)).flags == {"unsafe": 1.0}


async def test_animation_is_held_as_a_whole(server):
    await set_rules(server, moderators=server.moderators.id)
    options = {"from": "red apple", "to": "blue pear", "frames": 2, "steps": 2}
    result = await server.alice.slash(server.channel, "morph", **options)
    await server.until_idle()
    assert outcome_of(result.response) == "held"
    await decide(server, review_message(server), "Approve")
    assert outcome_of(result.response) == "pictures"


@pytest.mark.parametrize("allowed", [True, False])
async def test_previews_are_hidden_unless_flagged_pictures_are_allowed(server, monkeypatch, allowed):
    await set_rules(server, flagged=FlaggedAction.ALLOW if allowed else FlaggedAction.SPOILER)
    slow_down(server, monkeypatch)
    await ask(server, steps=80)
    previews = [request for request in server.env.http_requests if "preview.webp" in str(request.json)]
    assert bool(previews) == allowed


async def test_held_picture_is_shown_to_moderators_only(server):
    message, question = await ask_and_hold(server)
    assert outcome_of(message) == "held" and not pictures_of(message)
    assert len(pictures_of(question)) == 1 and is_spoiler(question)
    text = text_of(question)
    assert "**red apple**" in text and "nsfw 93%" in text
    assert f"<@{server.alice.id}>" in text and f"<#{server.channel.id}>" in text
    row = await row_of(server, message)
    assert row.state == State.IN_REVIEW and row.token


@pytest.mark.parametrize(
    ("label", "seen", "told"),
    [("Approve", "pictures", "Approved"), ("Spoiler", SPOILERS, "Shown as spoilers"), ("Delete", "deleted", "Deleted")],
)
async def test_moderator_decides_on_a_held_picture(server, label, seen, told):
    message, question = await ask_and_hold(server)
    await decide(server, question, label)
    assert outcome_of(message) == seen and len(server.channel.history()) == 1
    row = await row_of(server, message)
    assert (row.state, row.token) == (State.FAILED if label == "Delete" else State.DELIVERED, "")
    assert any(server.service.image_store.folder.rglob("*.png")) == (label != "Delete")
    answer = review_message(server)
    assert not files_of(answer) and told in text_of(answer) and f"<@{server.mia.id}>" in text_of(answer)
    assert "darkroom:review" not in str(answer.components)


async def test_deleted_picture_stays_for_another_message(server):
    await set_rules(server, flagged=FlaggedAction.ALLOW)
    before = await ask(server)
    message, question = await ask_and_hold(server)
    await decide(server, question, "Delete")
    assert outcome_of(message) == "deleted"
    assert await server.service.image_store.read((await row_of(server, before)).pictures[0])


async def test_first_decision_counts_and_the_second_is_refused(server, monkeypatch):
    message, question = await ask_and_hold(server)
    with monkeypatch.context() as late:
        late.setattr(server.service, "resume_reviewed", AsyncMock())
        await server.mia.click(question, label="Approve")
        second = await server.max.click(question, label="Delete")
    assert second.followups[0].content == f"<@{server.mia.id}> has decided already."
    await server.service.resume_reviewed((await row_of(server, message)).id)
    await server.until_idle()
    assert outcome_of(message) == "pictures"


async def test_review_needs_manage_messages(server):
    message, question = await ask_and_hold(server)
    assert "Manage Messages" in private_text(await server.bob.click(question, label="Approve"))
    assert outcome_of(message) == "held"


async def test_held_picture_stays_held_after_a_restart(server):
    message, question = await ask_and_hold(server)
    await server.restart()
    await server.until_idle()
    assert outcome_of(message) == "held" and len(server.moderators.history()) == 1
    await decide(server, question, "Approve")
    assert outcome_of(message) == "pictures"


async def test_decision_is_carried_out_after_a_crash_in_delivery(server, monkeypatch):
    message, question = await ask_and_hold(server)
    deliver = Mock(side_effect=never_ends)
    monkeypatch.setattr(server.service.runner.delivery, "deliver", deliver)
    await server.mia.click(question, label="Spoiler")
    await server.until(lambda: deliver.called)
    await server.restart()
    await server.until_finished(message)
    assert outcome_of(message) == SPOILERS


async def test_decision_is_carried_out_after_a_crash_before_delivery(server, monkeypatch):
    message, question = await ask_and_hold(server)
    monkeypatch.setattr(server.service, "resume_reviewed", AsyncMock())
    await server.mia.click(question, label="Approve")
    await server.restart()
    await server.until_finished(message)
    await server.until_idle()
    assert "Approved" in text_of(review_message(server))


@pytest.mark.parametrize("moment", ["create", "_send", "set_message"])
async def test_crash_while_asking_posts_one_review(server, monkeypatch, moment):
    await set_rules(server, moderators=server.moderators.id)
    where = server.service.runner.safety_gate if moment == "_send" else server.service.review_store
    reached = asyncio.Event()

    async def stuck(*_):
        reached.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as crash:
        crash.setattr(where, moment, stuck)
        message = (await server.alice.slash(server.channel, "imagine", prompt="red apple", steps=2)).response
        await server.until(reached.is_set)
        assert (await row_of(server, message)).state == State.IN_REVIEW
        await server.service.close()
    assert len(server.moderators.history()) == (moment == "set_message")
    await server.restart()
    await server.until_idle()
    assert outcome_of(message) == "held"
    await decide(server, review_message(server), "Approve")
    assert outcome_of(message) == "pictures"


async def test_held_picture_without_files_is_drawn_and_held_again(server):
    message, _ = await ask_and_hold(server)
    for path in server.service.image_store.folder.rglob("*.png"):
        path.unlink()
    await server.restart()
    await server.until_idle()
    await decide(server, review_message(server), "Approve")
    assert outcome_of(message) == "pictures"


@pytest.mark.parametrize("fault", [(403, 50013), (404, 10003), (400, 50035)])
async def test_refused_review_message_refuses_the_picture(server, fault, caplog):
    await set_rules(server, moderators=server.moderators.id)
    status, code = fault
    server.env.inject_error(*NEW, status=status, code=code, times=None)
    message = await ask(server)
    assert outcome_of(message) == "refused"
    assert f"channel {server.moderators.id}" in caplog.text
    assert await server.service.review_store.undecided() == []


async def test_review_pictures_fit_the_upload_limit(server):
    await set_rules(server, moderators=server.moderators.id)
    server.env.inject_error(*NEW, status=413, code=40005, times=1)
    await ask(server)
    assert pictures_of(review_message(server))[0].name.endswith(".webp")


async def test_review_message_is_retried_while_discord_fails(server):
    await set_rules(server, moderators=server.moderators.id)
    server.env.inject_error(*NEW, status=503, times=3)
    assert outcome_of(await ask(server)) == "held" and len(server.moderators.history()) == 1


@pytest.mark.parametrize("gone", ["channel", "message"])
async def test_deleted_review_or_channel_refuses_the_picture(server, gone):
    message, question = await ask_and_hold(server)
    if gone == "channel":
        server.env.backend.delete_channel(server.moderators.id)
    else:
        server.env.backend.delete_message(server.moderators.id, question.id)
    await server.until(lambda: NOT_SHOWN in text_of(message))
    await server.until_idle()
    assert (await row_of(server, message)).state == State.FAILED


async def test_undecided_review_expires_with_old_pictures(server):
    message, _ = await ask_and_hold(server)
    server.service.image_store.max_days = 0
    await Maintenance(server.service.stores, server.service.message_eraser, server.service.resume_reviewed).give_up_reviews()
    await server.until_idle()
    assert outcome_of(message) == "refused" and not any(server.service.image_store.folder.rglob("*.png"))


async def test_review_deleted_during_downtime_is_posted_again(server, monkeypatch):
    message, question = await ask_and_hold(server)
    with monkeypatch.context() as away:
        away.setattr(server.service.review_store, "undecided", AsyncMock(return_value=[]))
        server.env.backend.delete_message(server.moderators.id, question.id)
        await server.env.settle()
    await server.restart()
    await server.until_idle()
    await decide(server, review_message(server), "Approve")
    assert outcome_of(message) == "pictures"


async def test_approved_private_picture_with_expired_token_is_sent_directly(server):
    message, question = await ask_and_hold(server, private=True)
    assert AWAITING_REVIEW in message.content
    creation = next(iter(await server.service.creation_store.unfinished()))
    await server.service.creation_store.update(creation, expires=creation.expires - timedelta(minutes=15))
    await decide(server, question, "Approve")
    direct = server.env.backend.get_dm_channel(server.alice.id)
    (sent,) = server.env.backend.messages[direct.id].values()
    assert sent.attachments


async def test_review_of_deleted_pictures_says_so(server):
    _, question = await ask_and_hold(server)
    async with server.service.database.sessions.begin() as session:
        await session.execute(delete(ReviewRow))
    assert "have been deleted" in (await server.mia.click(question, label="Approve")).followups[0].content


async def test_failing_check_posts_no_picture(tiny_model):
    def broken(images):
        raise RuntimeError("no kernel")

    async with open_server(tiny_model, check=broken) as server:
        message = await ask(server)
        assert "could not be checked" in text_of(message) and not pictures_of(message)


async def test_picture_flagged_in_an_age_restricted_channel_stays_there(server):
    nights, days = server.guild.create_text_channel("nights"), server.channel
    server.env.bot.get_channel(nights.id).nsfw = True
    creation = await row_of(server, await ask(server, channel=nights))

    async def shown(actor, channel):
        return (await actor.slash(channel, "show", id=str(creation.id))).response

    assert is_spoiler(await shown(server.bob, nights)) and "a picture with this id" in (await shown(server.bob, days)).content
    own = await shown(server.alice, days)
    assert own.ephemeral and is_spoiler(own)


async def test_held_picture_survives_database_errors(server, monkeypatch):
    reviews, failed = server.service.review_store, []

    def failing_once(call):
        async def fail_first(*arguments):
            if call not in failed:
                failed.append(call)
                raise DatabaseUnavailableError("away")
            return await call(*arguments)

        return fail_first

    for name in ("get", "create", "set_message"):
        monkeypatch.setattr(reviews, name, failing_once(getattr(reviews, name)))
    message, question = await ask_and_hold(server)
    assert len(failed) == 3 and outcome_of(message) == "held" and pictures_of(question)


async def test_maintenance_carries_out_old_decisions(server, monkeypatch):
    message, _ = await ask_and_hold(server)
    row = await server.service.creation_store.get_by_message(message.id)
    await server.service.review_store.decide(row.id, Decision.APPROVE, server.mia.id)  # and then the bot ended
    monkeypatch.setattr(cogs.core.storage.reviews, "DECISION_GRACE", timedelta(0))
    service = server.service
    await Maintenance(service.stores, service.message_eraser, service.resume_reviewed).finish_reviews()
    await server.until_idle()
    assert outcome_of(message) == "pictures"
