"""Press any button or use any select that the bot has, whatever it is attached to."""

import discord

from tests.support.interactions import SELECT, forge_click
from tests.support.messages import text_of


async def post_with_component(server, custom_id, select):
    """A message with nothing but a button or select of that custom_id."""
    view = discord.ui.View(timeout=None)
    if select:
        view.add_item(discord.ui.Select(custom_id=custom_id, options=[discord.SelectOption(label="x", value="offered")]))
    else:
        view.add_item(discord.ui.Button(custom_id=custom_id, label="x"))
    return await server.env.bot.get_channel(server.channel.id).send("x", view=view)


async def press(server, member, custom_id, values=None):
    """Press a button, or choose ``values`` in a select."""
    message = await post_with_component(server, custom_id, values is not None)
    chosen = {} if values is None else {"component_type": SELECT, "values": values}
    result = await forge_click(server, member, message, custom_id, **chosen)
    await server.until_idle()
    return answer_of(result, message)


def answer_of(result, message):
    """The one sentence that came of a press under ``message``, seen by the member alone; None where there is none."""
    answers = [answer for answer in (result.response, *result.followups) if answer and answer.id != message.id]
    assert len(answers) <= 1 and all(answer.ephemeral for answer in answers)
    return text_of(answers[0]) if answers else None
