import re

import pytest
from simcord.components import walk_components

from cogs.core.messages.message import MESSAGE_LIMIT
from cogs.help import LINES, Topic, help_text
from tests.support.messages import private_message


async def test_help_names_commands_that_exist_and_can_be_clicked(server):
    tree = server.env.bot.tree
    for topic in Topic:
        message = private_message(await server.alice.slash(server.channel, "help", topic=str(topic)))
        for name, id in re.findall(r"</([^:]+):(\d+)>", message.content):
            assert int(id) and name in [command.qualified_name for command in tree.walk_commands()]
        named = [name for name, _ in LINES[topic] if name]
        assert re.findall(r"</([^:]+):", message.content) == named


async def test_help_turns_to_another_topic_after_a_restart(server):
    message = private_message(await server.alice.slash(server.channel, "help"))
    assert "Draw from words" in message.content
    await server.restart()
    shown = (await server.alice.select(message, ["yours"])).response
    assert shown.id == message.id and "Find and set what is yours" in shown.content
    assert len([each for each in walk_components(shown.components) if each["type"] == 3]) == 1


@pytest.mark.parametrize("topic", list(Topic))
def test_help_fits_into_a_message_and_is_text_until_ids_are_known(topic):
    assert len(help_text(topic, lambda name: f"</{name}:{10**18}>")) < MESSAGE_LIMIT
    assert "</" not in help_text(topic, lambda name: f"`/{name}`")
