"""/story: a chain of pictures, in which each member changes the last one by a few words.

The pictures of a story are creations with this action, each made from the one before, so a restart forgets nothing.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

import discord
from discord import app_commands, ui
from discord.ext import commands
from PIL import Image

from cogs.core.generation.service import GenerationService
from cogs.core.generation.source import UNKNOWN_RESULT, ResultSource
from cogs.core.i18n.catalogues import say
from cogs.core.messages import render
from cogs.core.messages.components import Form
from cogs.core.messages.drafts import Drafts
from cogs.core.messages.message import NO_MENTIONS, Answer, PictureFile, fit_text
from cogs.core.messages.replies import send_notes
from cogs.core.messages.views import ResultAction, ResultTarget, text_view
from cogs.core.policy.context import Context
from cogs.core.policy.origins import Origin
from cogs.core.policy.permissions import fits_channel, may_see
from cogs.core.request.options import Options, Prompt, shared_options
from cogs.core.request.prompt import ParsedPrompt, parse_prompt
from cogs.core.storage.creations import Creation
from cogs.core.types import Interaction
from cogs.lineage import TreeButton
from diffusion.errors import DarkroomError, InvalidImageError, InvalidRequestError
from diffusion.images.animation import encode_animation
from diffusion.images.io import read_image
from diffusion.request import ImageRequest, random_seed, start_step_for
from diffusion.text import N_, plural

if TYPE_CHECKING:
    from bot import Darkroom

STORY: Final = "story"  # the action of all pictures of a story
MAX_PICTURES: Final = 20
MAX_WORDS: Final = 200  # characters
KEPT: Final = 0.4  # of the picture before
FRAME_SIDE: Final = 512  # pixels
FRAME_MILLISECONDS: Final = 1200
LINE_LENGTH: Final = 120  # characters
ONE_PICTURE: Final = N_("A story has one picture at a time. Leave out the braces, or write one of the alternatives.")
NO_WORDS: Final = N_("Write a few words that say what changes.")
GONE_ON: Final = N_(
    "{member} has continued the story from this picture. Press Continue under the newest one: your words are kept."
)
NOT_TWICE: Final = N_("You made this picture. Let somebody else go on first.")
COMPLETE = plural(
    "This story is complete: it has {count} picture, the most. `/story` begins another one.",
    "This story is complete: it has {count} pictures, the most. `/story` begins another one.",
)
HEADING = plural("A story in {count} picture", "A story in {count} pictures")


class StoryCog(commands.Cog):
    """Begins stories; the buttons under their pictures go on with them."""

    def __init__(self, service: GenerationService) -> None:
        self.service = service
        self.drafts: Drafts[str] = Drafts()  # words that came too late, by member and first picture
        self.locks: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()  # by the picture that is continued
        service.forgetters.append(self.drafts.forget)

    @app_commands.command()
    @app_commands.describe(prompt="What the first picture should show")
    @shared_options("model", "style", "size", "quality")
    async def story(self, interaction: Interaction, prompt: Prompt, options: Options) -> None:
        """Begin a story: each member changes the last picture by a few words."""
        context = Context.of(interaction)
        parsed = _one_prompt(prompt)
        builder = self.service.builder.of(context, parsed, options)
        request = builder.build(context, parsed, options, count=1)
        await self.service.accept(context, request, private=False, origin=Origin(action=STORY))
        if notes := builder.notes(parsed):
            await send_notes(context, notes)


async def ask_for_words(interaction: Interaction, target: ResultTarget) -> None:
    """Open the form for the words that change the picture."""
    context = Context.of(interaction)
    last = await _picture_of(interaction, target)
    story = await _story_until(interaction, last)
    cog = _cog_of(interaction)
    await _check_turn(context, story)
    typed = cog.drafts.get(context.member_id, story[0].id) or ""
    await interaction.response.send_modal(StoryForm(target, typed, context.language))


class StoryForm(Form):
    """Asks what changes in the picture."""

    is_public = True

    def __init__(self, target: ResultTarget, typed: str, language: str) -> None:
        super().__init__(say(language, "Continue the story"))
        self._target = target
        self.words: ui.TextInput[Any] = ui.TextInput(default=typed, max_length=MAX_WORDS, custom_id="words")
        self.ask(say(language, "What changes, in a few words"), self.words)

    async def run(self, interaction: Interaction) -> None:
        """Draw the next picture, unless somebody was faster."""
        service = interaction.client.service
        context = Context.of(interaction)
        cog = _cog_of(interaction)
        last = await _picture_of(interaction, self._target)
        story = await _story_until(interaction, last)
        cog.drafts.keep(context.member_id, story[0].id, self.words.value)
        async with cog.locks.setdefault(last.id, asyncio.Lock()):  # of two at once, the second sees the first
            await _check_turn(context, story)
            source = await ResultSource.of(service, interaction.message, last.id)
            opening = (story[0].request or {}).get("prompt", "")
            parsed = _one_prompt(self.words.value, opening=opening)
            edited = service.builder.edit(context, await source.request(), parsed, count=1)

            async def prepare() -> ImageRequest:
                model = service.engine.model_of(edited.model)
                plain = edited.replace(seed=random_seed(), sampler=model.even_sampler)
                return plain.img2img(await source.picture(0), start_step_for(KEPT, plain.steps))

            origin = Origin(last, uses_picture=True, action=STORY)
            await service.accept(context, prepare, private=False, origin=origin)
        cog.drafts.drop(context.member_id, story[0].id)


async def show_story(interaction: Interaction, target: ResultTarget) -> None:
    """Show the story up to this picture as an animation, and a button for its tree."""
    context = Context.of(interaction)
    language = context.channel_language
    story = await _story_until(interaction, await _picture_of(interaction, target))
    await interaction.response.defer(thinking=True)
    shown = [one for one in story if may_see(context, one) and fits_channel(context, one)]
    service = interaction.client.service
    files = [await service.image_store.read(one.pictures[0]) for one in shown if one.pictures]
    if not files:
        raise InvalidImageError(UNKNOWN_RESULT)
    film = await asyncio.to_thread(_film, files)
    spoiler = any(one.spoiler for one in shown)
    name = f"{render.SPOILER_PREFIX if spoiler else ''}story.webp"
    lines = [f"**{say(language, HEADING, count=len(shown))}**"]
    for number, one in enumerate(shown, 1):
        lines.append(f"{number}. <@{one.owner}>: {fit_text(one.prompt, LINE_LENGTH, render.escape)}")
    view = text_view("\n".join(lines))
    view.add_item(ui.MediaGallery(discord.MediaGalleryItem(f"attachment://{name}", spoiler=spoiler)))
    view.add_item(ui.ActionRow(TreeButton(story[-1].id, language)))
    answer = Answer("", (PictureFile(name, film, say(language, "The pictures of the story, one after the other")),))
    await interaction.followup.send(view=view, files=answer.files(), allowed_mentions=NO_MENTIONS)


def _film(files: Sequence[bytes]) -> bytes:
    """Return the pictures one after the other, in the size of the first. Encodes: call it in a thread."""
    frames: list[Image.Image] = []
    for data in files:
        frame = read_image(data)
        frame.thumbnail((FRAME_SIDE, FRAME_SIDE))
        frames.append(frame if not frames else frame.resize(frames[0].size))
    return encode_animation(frames, [FRAME_MILLISECONDS] * len(frames))


def _one_prompt(typed: str, *, opening: str = "") -> ParsedPrompt:
    """Parse the words of a member after the prompt of the first picture; raises `InvalidRequestError`."""
    words = parse_prompt(typed)
    if not words.text:
        raise InvalidRequestError("prompt", NO_WORDS)
    if len(words.variants) > 1:
        raise InvalidRequestError("prompt", ONE_PICTURE)
    return parse_prompt(f"{opening}, {typed}") if opening else words


def _cog_of(interaction: Interaction) -> StoryCog:
    cog: Any = interaction.client.get_cog(StoryCog.__name__)
    story_cog: StoryCog = cog
    return story_cog


async def _picture_of(interaction: Interaction, target: ResultTarget) -> Creation:
    creation = await interaction.client.service.creation_store.get(target.creation_id)
    if creation is None or creation.action != STORY:
        raise DarkroomError(UNKNOWN_RESULT)
    return creation


async def _story_until(interaction: Interaction, last: Creation) -> list[Creation]:
    """Return the pictures of a story from the first one to ``last``, without those that are forgotten."""
    story = [last]
    while (parent_id := story[0].parent_id) and len(story) < MAX_PICTURES:
        parent = await interaction.client.service.creation_store.get(parent_id)
        if parent is None or parent.action != STORY:
            break
        story.insert(0, parent)
    return story


async def _check_turn(context: Context, story: Sequence[Creation]) -> None:
    """Raise `DarkroomError` unless the member may continue ``story`` from its last picture."""
    last = story[-1]
    following = await context.interaction.client.service.stores.gallery.follower(last.id, STORY)
    if following:
        raise DarkroomError(GONE_ON, member=f"<@{following.owner}>")
    if len(story) >= MAX_PICTURES:
        raise DarkroomError(COMPLETE, count=MAX_PICTURES)
    if last.owner == context.member_id and any(one.owner != context.member_id for one in story):
        raise DarkroomError(NOT_TWICE)


async def setup(bot: "Darkroom") -> None:
    """Add the cog and register the actions."""
    await bot.add_cog(StoryCog(bot.service))
    bot.service.result_actions.other_actions[STORY] = (N_("Story"), "📖")
    bot.service.result_actions.add(
        ResultAction(
            "continue",
            ask_for_words,
            N_("Continue story"),
            "📖",
            N_("Changes it by a few words"),
            rank=1,
            is_offered=lambda creation: creation.action == STORY,
        ),
        ResultAction(
            "show_story",
            show_story,
            N_("Show story"),
            "🎞️",
            N_("Animates the pictures so far"),
            rank=2,
            is_offered=lambda creation: creation.action == STORY,
        ),
    )
