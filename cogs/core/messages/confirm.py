"""Ask the member a question that they answer by a button.

Use it as ``if not (context := await confirm(context, question)): return``.
"""

import contextlib
from dataclasses import dataclass
from typing import Any, Final, Literal

import discord

from cogs.core.i18n.catalogues import ENGLISH, say
from cogs.core.messages import render
from cogs.core.messages.components import PersistentButton, view_of
from cogs.core.messages.message import MESSAGE_LIMIT, NO_MENTIONS, Answer, PictureFile, fit_text
from cogs.core.messages.replies import CONTINUED_BY
from cogs.core.policy.context import Context
from cogs.core.request.prompt import ParsedPrompt, prompt_fields
from cogs.core.types import Interaction
from diffusion.errors import DarkroomError
from diffusion.text import N_, Template, plural

ANSWER_EVENT: Final = "answer"
CONFIRM_TIMEOUT_SECONDS: Final = 840.0  # the question can be edited for 15 minutes
ANSWERED: Final = N_("This question was answered already, or the bot was restarted. Please use the command again.")
Choice = Literal["start", "other", "cancel"]
CHOICE: Final = "choice"  # the key in `Interaction.extras` of the answer
DECLINED: Final = "declined"  # the key in `Interaction.extras` of the text after a No


@dataclass(frozen=True)
class Answers:
    """The labels of the answers, and what the member reads after the last.

    ``other`` is another way to go on, if there is one.
    """

    start: str = N_("Start")
    cancel: str = N_("Cancel")
    declined: str = N_("Not started.")
    other: str = ""

    @property
    def labels(self) -> dict[Choice, str]:
        """The label of each choice."""
        other: dict[Choice, str] = {"other": self.other} if self.other else {}
        return {"start": self.start, **other, "cancel": self.cancel}


START: Final = Answers()


class AnswerButton(PersistentButton, name="question"):
    """Answers the question of the interaction ``question_id``."""

    is_public = True

    choice: Choice
    question_id: int

    def __init__(self, choice: Choice, question_id: int, language: str = ENGLISH, answers: Answers = START) -> None:
        style = discord.ButtonStyle.primary if choice == "start" else discord.ButtonStyle.secondary
        label = say(language, answers.labels.get(choice, ""))
        button: discord.ui.Button[Any] = discord.ui.Button(label=label, style=style)
        super().__init__(button, choice=choice, question_id=question_id)

    async def run(self, interaction: Interaction) -> None:
        """Pass the answer to the waiting command and remove the question."""
        asked_by = interaction.client.service.questions.pop(self.question_id, None)
        if asked_by is None:  # a restart forgets all questions
            raise DarkroomError(ANSWERED)
        is_confirmed = self.choice != "cancel"
        interaction.extras[CHOICE] = self.choice
        interaction.client.dispatch(ANSWER_EVENT, self.question_id, interaction if is_confirmed else None)
        if is_confirmed:
            with contextlib.suppress(discord.HTTPException):
                await asked_by.delete_original_response()
        else:
            sentence: Template = asked_by.extras[DECLINED]
            text = say(Context.of(interaction).language, sentence)
            await interaction.response.edit_message(content=text, view=None, attachments=[])


async def confirm(
    context: Context, question: str, answers: Answers = START, *, picture: PictureFile | None = None
) -> Context | None:
    """Ask the member, and show a ``picture`` if there is one; return None if they press the last answer, or none.

    The press is an interaction of its own, which still needs a response. Continue with its context, which this returns. Its
    extras hold the `CHOICE`.
    """
    asked_by = context.interaction
    client = asked_by.client
    buttons = view_of(*(AnswerButton(choice, asked_by.id, context.language, answers) for choice in answers.labels))
    question = fit_text(question, MESSAGE_LIMIT)
    files = Answer(question, (picture,)).files() if picture else []
    await asked_by.response.send_message(question, view=buttons, ephemeral=True, allowed_mentions=NO_MENTIONS, files=files)
    asked_by.extras[DECLINED] = answers.declined
    client.service.questions[asked_by.id] = asked_by
    try:
        _, confirmed_by = await client.wait_for(
            ANSWER_EVENT, check=lambda question_id, _: question_id == asked_by.id, timeout=CONFIRM_TIMEOUT_SECONDS
        )
    except TimeoutError:
        client.service.questions.pop(asked_by.id, None)
        with contextlib.suppress(discord.HTTPException):
            declined = say(context.language, answers.declined)
            await asked_by.edit_original_response(content=declined, view=None, attachments=[])
        return None
    if confirmed_by is None:
        return None
    asked_by.extras[CONTINUED_BY] = confirmed_by  # errors from here on are replies to the press
    return Context.of(confirmed_by)


async def confirm_variants(context: Context, prompt: ParsedPrompt, count: int | None) -> Context | None:
    """Confirm the number of pictures that the variants of ``prompt`` make.

    Returns what `confirm` returns. Raises `DarkroomError` for more pictures than the member may make.
    """
    each = prompt.flags.get("count", 1) if count is None else count
    pictures = prompt_fields(prompt.text, prompt.variants, each)["count"]
    left = await context.interaction.client.service.rules.check_allowance(context, pictures)
    language = context.language
    if each == 1:
        lines = [say(language, plural("This makes {count} picture:", "This makes {count} pictures:"), count=pictures)]
    else:
        template = plural("This makes {count} picture, {each} of each:", "This makes {count} pictures, {each} of each:")
        lines = [say(language, template, count=pictures, each=each)]
    lines += [f"{number}. {render.title(variant, 150)}" for number, variant in enumerate(prompt.variants, 1)]
    if left is not None:
        template = plural("You have {count} picture left today.", "You have {count} pictures left today.")
        lines.append(say(language, template, count=left))
    return await confirm(context, "\n".join(lines))
