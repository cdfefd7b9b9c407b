"""Ask the member to choose from a list, for example one of several pictures."""

import contextlib
from typing import Any, Final

import discord

from cogs.core.i18n.catalogues import ENGLISH, say
from cogs.core.messages.attachments import PostedFile
from cogs.core.messages.components import PersistentSelect, view_of
from cogs.core.messages.confirm import ANSWERED, CONFIRM_TIMEOUT_SECONDS, START
from cogs.core.messages.message import NO_MENTIONS
from cogs.core.messages.replies import CONTINUED_BY
from cogs.core.policy.context import Context
from cogs.core.types import Interaction
from diffusion.errors import DarkroomError
from diffusion.text import N_, Template, plural

CHOOSE_A_PICTURE: Final = N_("Choose a picture")
CHOICE_EVENT: Final = "picture_choice"
MAX_CHOICES: Final = 25  # Discord's limit on a select
MAX_LABEL: Final = 100  # characters, Discord's limit on a label and on a description
QUESTION: Final = plural(
    "This message shows {count} picture. Which one do you mean?",
    "This message shows {count} pictures. Which one do you mean?",
)


class ChoiceSelect(PersistentSelect, name="choice"):
    """Answers the question of the interaction ``question_id`` with the value of an option, a number."""

    question_id: int

    def __init__(
        self,
        question_id: int,
        options: list[discord.SelectOption],
        language: str = ENGLISH,
        placeholder: Template = CHOOSE_A_PICTURE,
    ) -> None:
        select: discord.ui.Select[Any] = discord.ui.Select(placeholder=say(language, placeholder), options=list(options))
        super().__init__(select, question_id=question_id)

    async def run(self, interaction: Interaction) -> None:
        """Pass the answer to who waits for it and remove the question."""
        asked_by = interaction.client.service.questions.pop(self.question_id, None)
        if asked_by is None:  # a restart forgets all questions
            raise DarkroomError(ANSWERED)
        interaction.client.dispatch(CHOICE_EVENT, self.question_id, interaction, int(self.values[0]))
        with contextlib.suppress(discord.HTTPException):
            await asked_by.delete_original_response()


async def choose_picture(context: Context, pictures: list[PostedFile]) -> tuple[Context, PostedFile] | None:
    """Return the picture that the member means; ask if there are several. Returns None without an answer.

    Continue with the context, as after `choose`.
    """
    if len(pictures) == 1:
        return context, pictures[0]
    options = [
        discord.SelectOption(
            label=f"{number}. {picture.name}"[:MAX_LABEL],
            description=picture.description[:MAX_LABEL] or None,
            value=str(number),
        )
        for number, picture in enumerate(pictures[:MAX_CHOICES], 1)
    ]
    question = say(context.language, QUESTION, count=len(pictures))
    chosen = await choose(context, question, CHOOSE_A_PICTURE, options)
    return (chosen[0], pictures[chosen[1] - 1]) if chosen else None


async def choose(
    context: Context, question: str, placeholder: Template, options: list[discord.SelectOption]
) -> tuple[Context, int] | None:
    """Return the number that is the value of the option that the member chooses, None without an answer.

    The answer is an interaction of its own, which still needs a response. Continue with its context.
    """
    asked_by = context.interaction
    client = asked_by.client
    view = view_of(ChoiceSelect(asked_by.id, options, context.language, placeholder))
    await asked_by.response.send_message(question, view=view, ephemeral=True, allowed_mentions=NO_MENTIONS)
    client.service.questions[asked_by.id] = asked_by
    try:
        _, answered_by, number = await client.wait_for(
            CHOICE_EVENT, check=lambda question_id, *_: question_id == asked_by.id, timeout=CONFIRM_TIMEOUT_SECONDS
        )
    except TimeoutError:
        client.service.questions.pop(asked_by.id, None)
        with contextlib.suppress(discord.HTTPException):
            await asked_by.edit_original_response(content=say(context.language, START.declined), view=None)
        return None
    asked_by.extras[CONTINUED_BY] = answered_by  # errors from here on are replies to the answer
    return Context.of(answered_by), number
