"""/help: what members can do, by topic, with commands to click."""

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from discord import app_commands, ui
from discord.app_commands import Choice
from discord.ext import commands

from cogs.core.i18n.catalogues import ENGLISH, say
from cogs.core.messages.components import PersistentSelect, view_of
from cogs.core.messages.message import MESSAGE_LIMIT, fit_text
from cogs.core.policy.context import Context
from cogs.core.types import Interaction
from diffusion.text import N_

if TYPE_CHECKING:
    from bot import Darkroom

Mention = Callable[[str], str]


class Topic(StrEnum):
    """What members may want to know."""

    DRAW = "draw"
    PICTURES = "pictures"
    BUTTONS = "buttons"
    YOURS = "yours"
    SERVER = "server"


TITLES: Final = {
    Topic.DRAW: N_("Draw from words"),
    Topic.PICTURES: N_("Start from a picture"),
    Topic.BUTTONS: N_("Go on with the buttons"),
    Topic.YOURS: N_("Find and set what is yours"),
    Topic.SERVER: N_("Set me up in a server"),
}
# For each topic, the commands and what they are good for; an empty name is a line of its own.
LINES: Final[dict[Topic, tuple[tuple[str, str], ...]]] = {
    Topic.DRAW: (
        ("imagine", N_("describe a picture; options set its size, style, model and more")),
        ("", N_("Flags work in a prompt: `--ar 3:2 --seed 7 --no text`. `{red|blue} fox` draws one of each.")),
        ("models", N_("which models you can choose")),
        ("morph", N_("an animation of one picture turning into another")),
        ("story", N_("a game: each member changes the last picture by a few words")),
        ("jam start", N_("a game for a channel: a prompt of each on a theme, then a vote")),
        ("queue", N_("whose turn is next, and when yours will be done")),
    ),
    Topic.PICTURES: (
        ("similar", N_("pictures like one of yours")),
        ("blend", N_("mix two to five pictures")),
        ("describe", N_("find prompts for a picture")),
        ("inpaint", N_("redraw a part of a picture")),
        ("outpaint", N_("show more around a picture")),
        ("edit", N_("change a picture by words, with models that can")),
        ("upscale", N_("enlarge a picture, where the operator offers it")),
        ("", N_("The menu of any message has “More like this” under Apps, also for pictures of others.")),
    ),
    Topic.BUTTONS: (
        ("", N_("Reroll draws other pictures from the same words; Edit changes the words and keeps the seed.")),
        ("", N_("⭐ keeps a picture among your favourites; Info shows how it was made.")),
        ("", N_("How it formed shows each step, and branches off from any of them.")),
        ("", N_("Buttons work for ever, also under old pictures.")),
    ),
    Topic.YOURS: (
        ("history", N_("all that you have made, with a search")),
        ("favourites", N_("what you have starred")),
        ("show", N_("one picture again, by its short id")),
        ("tree", N_("what came from a picture")),
        ("presets save", N_("words and flags that you often write")),
        ("settings mine", N_("your defaults")),
        ("usage", N_("what is left for today")),
        ("privacy export", N_("all that I keep about you; `/privacy forget` deletes it")),
    ),
    Topic.SERVER: (
        ("setup server", N_("defaults, limits, and where I may be used")),
        ("setup starboard", N_("a channel for pictures with many stars")),
        ("moderation rule", N_("what happens to flagged pictures")),
        ("moderation words add", N_("block words in prompts")),
        ("gallery", N_("the pictures of the server with the most stars")),
        ("", N_("Managers need the permission Manage Server for the first four.")),
    ),
}
TOPIC_CHOICES: Final = [Choice(name=title, value=str(topic)) for topic, title in TITLES.items()]


class TopicSelect(PersistentSelect, name="help"):
    """Offers the topics."""

    edits_message = True

    def __init__(self, language: str = ENGLISH) -> None:
        select: ui.Select[Any] = ui.Select(placeholder=say(language, "Another topic…"))
        for topic, title in TITLES.items():
            select.add_option(label=say(language, title), value=str(topic))
        super().__init__(select)

    async def run(self, interaction: Interaction) -> None:
        """Show the chosen topic in the same message."""
        language = Context.of(interaction).language
        text = help_text(Topic(self.values[0]), interaction.client.mention_command, language)
        await interaction.response.edit_message(content=text, view=view_of(TopicSelect(language)))


class HelpCog(commands.Cog):
    """Explains what members can do."""

    @app_commands.command()
    @app_commands.describe(topic="What you want to know")
    @app_commands.choices(topic=TOPIC_CHOICES)
    async def help(self, interaction: Interaction, topic: str = Topic.DRAW) -> None:
        """See what you can do, by topic, with commands to click."""
        language = Context.of(interaction).language
        text = help_text(Topic(topic), interaction.client.mention_command, language)
        await interaction.response.send_message(text, view=view_of(TopicSelect(language)), ephemeral=True)


def help_text(topic: Topic, mention: Mention, language: str = ENGLISH) -> str:
    """Return what there is to know about ``topic``; ``mention`` returns a command as members can click it."""
    lines = [f"**{say(language, TITLES[topic])}**"]
    for name, line in LINES[topic]:
        text = say(language, line)
        lines.append(f"- {mention(name)}: {text}" if name else f"- {text}")
    return fit_text("\n".join(lines), MESSAGE_LIMIT)


async def setup(bot: "Darkroom") -> None:
    """Add the cog."""
    await bot.add_cog(HelpCog())
