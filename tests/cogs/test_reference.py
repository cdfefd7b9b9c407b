"""The table of commands in README.md says what the bot has: every command and menu, who may use it, every button."""

import itertools
import re
from pathlib import Path
from types import SimpleNamespace

import discord
import pytest
from discord import app_commands

from cogs.core.policy.permissions import NOT_YOURS
from tests.cogs.conftest import sentence

README = Path(__file__).parents[2] / "README.md"
HEADING = "| command | who may use it | what it does |"
OPERATOR = "whoever runs the bot"
NEEDED = {  # by what members need before Discord offers them a command
    discord.Permissions(manage_guild=True): "who manages the server",
    discord.Permissions(administrator=True): OPERATOR,
}
MENUS = {discord.AppCommandType.message: "menu of a message", discord.AppCommandType.user: "menu of a member"}


def rows():
    """The three cells of each row of the table."""
    lines = README.read_text("utf-8").splitlines()
    table = itertools.takewhile(lambda line: line.startswith("|"), lines[lines.index(HEADING) + 2 :])
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table]


def is_command(cell):
    return cell.startswith(("`/", *MENUS.values()))


def leaves(command):
    if isinstance(command, app_commands.Group):
        return [leaf.qualified_name for leaf in command.walk_commands() if isinstance(leaf, app_commands.Command)]
    return [command.name]


def name_of(command):
    """What the first cell says of a command: `/settings mine`, `channel`, or of a menu."""
    if isinstance(command, app_commands.ContextMenu):
        return f"{MENUS[command.type]}: `{command.name}`"
    first, *others = leaves(command)
    return ", ".join([f"`/{first}`", *(f"`{other.removeprefix(f'{command.name} ')}`" for other in others)])


def user_of(command, tree):
    """What the second cell says first; behind a semicolon may be more."""
    if command.default_permissions is not None:
        return NEEDED[command.default_permissions]
    return "everyone, in servers" if command.to_dict(tree)["contexts"] == [0] else "everyone"


def commands(tree):
    kinds = (discord.AppCommandType.chat_input, *MENUS)
    return [command for kind in kinds for command in tree.get_commands(type=kind)]


async def labels(bot):
    """What stands on the buttons and selects that the bot answers whenever they are pressed."""
    found = set()
    for pattern, item in bot._connection._view_store._dynamic_items.items():
        for custom_id in examples(pattern.pattern):
            interaction = SimpleNamespace(message=None)
            control = (await item.from_custom_id(interaction, None, pattern.fullmatch(custom_id))).item
            text = control.label if isinstance(control, discord.ui.Button) else control.placeholder
            found.add(text.partition(":")[0].rstrip("…"))
    return found


def examples(template):
    """Custom_ids of all kinds that a template knows, with 1 for each number in it and nothing for a text."""
    template = re.sub(r"\[0-9\]\+|\\d\+|\[01\]", "1", re.sub(r"(\[\^:\]|\.)\*", "", template))
    template = re.sub(r"\(\?P<\w+>(\w*)\)", r"\1", template)
    template = re.sub(r"\(([^|()]*)\)\?", r"\1", template)
    parts = re.split(r"\(\?P<\w+>([^()]*)\)", template)
    return map("".join, itertools.product(*(part.split("|") for part in parts)))


async def test_every_command_and_who_may_use_it_stands_in_the_readme(server):
    tree = server.env.bot.tree
    there = {name_of(command): user_of(command, tree) for command in commands(tree)}
    told = {cell: user.partition(";")[0] for cell, user, _ in rows() if is_command(cell)}
    missing = [f"| {cell} | {user} | … |" for cell, user in there.items() if told.get(cell) != user]
    gone = [f"| {cell} | {user} | … |" for cell, user in told.items() if there.get(cell) != user]
    assert not missing, "\n".join(["README.md's table of commands needs", *missing, "instead of", *gone])
    assert not gone, "\n".join(["README.md's table tells commands that are gone:", *gone])


async def test_every_button_stands_in_the_readme(server):
    there = await labels(server.env.bot)
    told = {label for cell, _, _ in rows() if not is_command(cell) for label in re.findall(r"`([^`]+)`", cell)}
    assert told == there, f"README.md's table lacks the buttons {there - told} and has {told - there}, which are gone"


def test_every_row_says_who_and_what():
    assert all(len(row) == 3 and all(row) for row in rows())


async def test_what_is_for_whoever_runs_the_bot_is_refused_to_administrators(server):
    role = server.guild.create_role("administrators", permissions=discord.Permissions(administrator=True))
    administrator = server.guild.add_member(server.env.create_user("otto"), roles=[role])
    tree = server.env.bot.tree
    theirs = [leaf for command in commands(tree) if user_of(command, tree) == OPERATOR for leaf in leaves(command)]
    assert theirs
    for name in theirs:
        assert sentence(await administrator.slash(server.channel, name)) == NOT_YOURS


@pytest.mark.parametrize(
    ("template", "custom_ids"),
    [
        ("queue:refresh", ["queue:refresh"]),
        (r"a:(?P<x>one|two):(?P<id>[0-9]+)(:(?P<index>[0-9]+))?", ["a:one:1:1", "a:two:1:1"]),
        (r"a:(?P<id>\d+):(?P<tag>[^:]*):(?P<name>.*)", ["a:1::"]),
    ],
)
def test_the_examples_of_a_template_match_it(template, custom_ids):
    assert list(examples(template)) == custom_ids
    assert all(re.fullmatch(template, custom_id) for custom_id in custom_ids)
