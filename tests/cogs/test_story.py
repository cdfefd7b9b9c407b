"""/story: members change the last picture in turn."""

from diffusion.images.animation import decode_animation
from tests.support.actions import use
from tests.support.jobs import row_of
from tests.support.messages import files_of, private_text, text_of
from tests.support.results import finished


def answer_of(result):
    """The one message that came of a press."""
    (answer,) = [each for each in (result.response, *result.followups) if each is not None]
    return answer


async def test_story_goes_from_member_to_member_across_a_restart(server, monkeypatch):
    async def go_on(member, message, words):
        return await member.submit_modal(await use(member, message, "continue"), {"words": words})

    assert "one picture at a time" in private_text(await server.alice.slash(server.channel, "story", prompt="{a|b} fox"))
    first = await finished(server, await server.alice.slash(server.channel, "story", prompt="a fox --steps 4"))
    second = await finished(server, await go_on(server.alice, first, "in the snow"))  # alone so far
    assert "Story" in text_of(second) and f"<@{server.alice.id}>" in text_of(second)
    await server.restart()
    form = await use(server.alice, second, "continue")  # opened before bob goes on
    for typed, sentence in (("{a|b}", "one picture at a time"), ("   ", "a few words")):
        assert sentence in private_text(await go_on(server.bob, second, typed))
    third = await finished(server, await go_on(server.bob, second, "at night"))
    assert "has continued the story" in private_text(await server.alice.submit_modal(form, {"words": "with a hat"}))
    assert "has continued the story" in private_text(await use(server.alice, second, "continue"))
    assert "Let somebody else" in private_text(await use(server.bob, third, "continue"))
    kept = await use(server.alice, third, "continue")
    assert kept.modal["components"][0]["component"]["value"] == "with a hat"
    row = await row_of(server, third)
    assert row.request["prompt"] == "a fox, at night" and row.source and row.request["start_step"] == 2
    film = answer_of(await use(server.bob, third, "show_story"))
    frames, _ = decode_animation(await files_of(film)[0].read())
    assert len(frames) == 3 and "A story in 3 pictures" in text_of(film)
    assert "at night" in text_of(answer_of(await server.bob.click(film, label="Tree")))
    monkeypatch.setattr("cogs.story.MAX_PICTURES", 3)
    assert "is complete" in private_text(await use(server.alice, third, "continue"))
