"""Texts about the model and the commands, for members and for the terminal."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cogs.core.i18n.catalogues import ENGLISH, command_name, say
from diffusion.families.defaults import Defaults
from diffusion.text import N_, plural

MESSAGE_LIMIT: Final = 2000  # characters, Discord's limit
MODEL_NAME_LIMIT: Final = 100  # characters
OTHER_MODELS: Final = N_(
    "For photographs, paintings and anything else, the bot's operator can set `MODEL_ID` to another model, "
    "such as SDXL or FLUX."
)


def purpose_text(defaults: Defaults, language: str = ENGLISH) -> str:
    """Return the purpose of a special model and how to use another one.

    Returns "" for a general model.
    """
    return f"{defaults.about} {say(language, OTHER_MODELS)}" if defaults.about else ""


def example_commands(defaults: Defaults, language: str = ENGLISH) -> list[str]:
    """Return the model's example prompts as commands to type."""
    imagine, prompt = (command_name(language, name) for name in ("imagine", "prompt"))
    return [f"/{imagine} {prompt}: {example}" for example in defaults.examples]


def about_text(model: str, defaults: Defaults, commands: Mapping[str, str], running: str, language: str = ENGLISH) -> str:
    """Return the text of /about: the model, examples, commands, ``running``.

    ``commands`` are descriptions by name. If the text is too long for a message, it has their names only.
    """
    name = model if len(model) <= MODEL_NAME_LIMIT else f"…{model[1 - MODEL_NAME_LIMIT :]}"
    introduction = (
        say(language, "The model here is {name}.", name=f"`{name}`"),
        purpose_text(defaults, language),
        f"{say(language, 'Try:')}\n{_quoted_examples(defaults, language)}",
    )
    described = "\n".join(f"`{name}`: {description.rstrip('.。')}" for name, description in commands.items())
    text = _paragraphs(*introduction, described, running)
    return text if len(text) <= MESSAGE_LIMIT else _paragraphs(*introduction, f"`{'` `'.join(commands)}`", running)


@dataclass(frozen=True)
class RunSummary:
    """The hardware of this run and its pictures; ``began`` is in seconds since 1970."""

    device: str
    dtype: str
    began: float
    pictures: int
    seconds_per_picture: float | None


def running_text(run: RunSummary, language: str = ENGLISH) -> str:
    """Return the device of the model, when it started and what it has made since."""
    dtype = run.dtype.removeprefix("torch.")
    when = f"<t:{run.began:.0f}:R>"
    parts = [say(language, "On {device} in {dtype}, started {when}", device=run.device, dtype=dtype, when=when)]
    if run.pictures == 0:
        parts.append(say(language, "no pictures yet"))
    else:
        parts.append(say(language, plural("{count} picture since", "{count} pictures since"), count=run.pictures))
    if run.seconds_per_picture:
        parts.append(say(language, "{seconds} s of work each", seconds=f"{run.seconds_per_picture:.2g}"))
    return f"-# {', '.join(parts)}."


def mention_text(defaults: Defaults, language: str = ENGLISH) -> str:
    """Return the answer to a member who mentions the bot instead of using a command."""
    imagine, about = (f"`/{command_name(language, name)}`" for name in ("imagine", "about"))
    template = N_("I draw when you use a command. Type {imagine} and describe the picture; {about} shows all that I can do.")
    introduction = say(language, template, imagine=imagine, about=about)
    return _paragraphs(introduction, f"{say(language, 'Try:')}\n{_quoted_examples(defaults, language)}")


def welcome_text(defaults: Defaults) -> str:
    """Return the first message in the simulator."""
    return _paragraphs(
        "Hello! I draw pictures from words. This page is a simulated Discord; the pictures are real.",
        f"Try:\n{_quoted_examples(defaults)}\n- `/similar` with a picture of yours",
        purpose_text(defaults),
        "`/about` shows this again, with all commands.",
    )


def terminal_hint(url: str, defaults: Defaults) -> str:
    """Return the text for the terminal: the simulator's address and examples."""
    tried = "\n".join(f"  {line}" for line in [*example_commands(defaults), "/similar with a picture of yours"])
    return f"Open {url} in a browser and try:\n\n{tried}\n\nPress Ctrl+C to stop."


def _quoted_examples(defaults: Defaults, language: str = ENGLISH) -> str:
    return "\n".join(f"- `{line}`" for line in example_commands(defaults, language))


def _paragraphs(*texts: str) -> str:
    return "\n\n".join(filter(None, texts))
