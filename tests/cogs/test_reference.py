"""The table of commands in cogs/COMMANDS.md matches the bot: commands, menus, who may use them, and buttons."""

import itertools
import re
from dataclasses import replace
from pathlib import Path

import discord
import pytest
from discord import app_commands

from cogs.core.i18n.catalogues import LANGUAGE_BY_LOCALE, say
from cogs.core.messages.views import ActionButton, PictureSelect, ResultActions
from cogs.core.policy.permissions import OPERATORS_ONLY
from cogs.core.storage.creations import Creation
from tests.support.components import component_of
from tests.support.custom_ids import example_custom_ids
from tests.support.messages import private_text

COMMANDS = Path(__file__).parents[2] / "cogs" / "COMMANDS.md"
MAX_ID = 2**64 - 1
HEADING = "| command | who may use it | what it does |"
OPERATOR = "the operator"
USERS_BY_PERMISSIONS = {
    discord.Permissions(manage_guild=True): "members with Manage Server",
    discord.Permissions(administrator=True): OPERATOR,
}
MENUS = {discord.AppCommandType.message: "menu of a message", discord.AppCommandType.user: "menu of a member"}


def rows():
    """Return the three cells of each row of the table."""
    lines = COMMANDS.read_text("utf-8").splitlines()
    table = itertools.takewhile(lambda line: line.startswith("|"), lines[lines.index(HEADING) + 2 :])
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table]


def is_command(cell):
    return cell.startswith(("`/", *MENUS.values()))


def leaf_names(command):
    if isinstance(command, app_commands.Group):
        return [leaf.qualified_name for leaf in command.walk_commands() if isinstance(leaf, app_commands.Command)]
    return [command.name]


def cell_of(command):
    """Return the first cell of a command, such as `/settings mine`, `channel`, or of a menu."""
    if isinstance(command, app_commands.ContextMenu):
        return f"{MENUS[command.type]}: `{command.name}`"
    first, *others = leaf_names(command)
    return ", ".join([f"`/{first}`", *(f"`{other.removeprefix(f'{command.name} ')}`" for other in others)])


def users_of(command, tree):
    """Return the second cell of a command; the table may add a condition after a semicolon."""
    if command.default_permissions is not None:
        return USERS_BY_PERMISSIONS[command.default_permissions]
    return "everyone, in servers" if command.to_dict(tree)["contexts"] == [0] else "everyone"


def commands(tree):
    kinds = (discord.AppCommandType.chat_input, *MENUS)
    return [command for kind in kinds for command in tree.get_commands(type=kind)]


async def labels_of(bot):
    """Return the labels of all buttons and selects that work after a restart."""
    found = {action.label for name in bot.service.result_actions.names if (action := bot.service.result_actions[name]).label}
    found |= {"Cancel", "Edit again", "Draw", "Words and numbers"}
    for pattern, item in bot._connection._view_store._dynamic_items.items():
        for custom_id in [] if item in (ActionButton, PictureSelect) else example_custom_ids(pattern.pattern):
            control = await component_of(item, custom_id)
            text = control.label if isinstance(control, discord.ui.Button) else control.placeholder
            found.add(text.partition(":")[0].rstrip("…"))
    return found - {""}  # the labels of examples are their prompts


async def test_commands_table_matches_commands_and_users(server):
    tree = server.env.bot.tree
    in_bot = {cell_of(command): users_of(command, tree) for command in commands(tree)}
    listed = {cell: user.partition(";")[0] for cell, user, _ in rows() if is_command(cell)}
    missing = [f"| {cell} | {user} | … |" for cell, user in in_bot.items() if listed.get(cell) != user]
    gone = [f"| {cell} | {user} | … |" for cell, user in listed.items() if in_bot.get(cell) != user]
    assert not missing, "\n".join(["COMMANDS.md needs the rows", *missing, "instead of", *gone])
    assert not gone, "\n".join(["COMMANDS.md lists commands that do not exist:", *gone])


async def test_commands_table_matches_buttons(server):
    in_bot = await labels_of(server.env.bot)
    listed = {label for cell, _, _ in rows() if not is_command(cell) for label in re.findall(r"`([^`]+)`", cell)}
    assert listed == in_bot, f"COMMANDS.md lacks the buttons {in_bot - listed}, and lists {listed - in_bot}, which do not exist"


@pytest.mark.parametrize("language", ["en", *sorted(set(LANGUAGE_BY_LOCALE.values()))])
async def test_what_stands_below_pictures_fits_in_every_language(server, language):
    known = server.service.result_actions
    actions = ResultActions()
    actions.add(*(replace(known[name], is_offered=lambda _: True) for name in known.names if known[name].label))
    for action in map(known.__getitem__, actions.names):
        assert len(say(language, action.label)) <= 80 and len(say(language, action.hint)) <= 100
    controls = [control for row in actions.rows(Creation(id=MAX_ID, owner=MAX_ID), 10, language) for control in row.children]
    assert all(len(control.custom_id) <= 100 for control in controls)


def test_commands_table_has_no_empty_cells():
    assert all(len(row) == 3 and all(row) for row in rows())


async def test_operator_commands_are_refused_to_administrators(server):
    role = server.guild.create_role("administrators", permissions=discord.Permissions(administrator=True))
    administrator = server.guild.add_member(server.env.create_user("otto"), roles=[role])
    tree = server.env.bot.tree
    theirs = [leaf for command in commands(tree) if users_of(command, tree) == OPERATOR for leaf in leaf_names(command)]
    assert theirs
    for name in theirs:
        options = {"text": "hello"} if name == "admin announce" else {}
        assert private_text(await administrator.slash(server.channel, name, **options)) == OPERATORS_ONLY


@pytest.mark.parametrize(
    ("template", "custom_ids"),
    [
        ("queue:refresh", ["queue:refresh"]),
        (r"a:(?P<x>one|two):(?P<id>[0-9]+)(:(?P<index>[0-9]+))?", ["a:one:1:1", "a:two:1:1"]),
        (r"a:(?P<id>\d+):(?P<tag>[^:]*):(?P<name>.*)", ["a:1::"]),
    ],
)
def test_examples_match_their_template(template, custom_ids):
    assert list(example_custom_ids(template)) == custom_ids
    assert all(re.fullmatch(template, custom_id) for custom_id in custom_ids)
