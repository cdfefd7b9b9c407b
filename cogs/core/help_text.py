"""What members are told about the model and the commands: text, nothing that talks to Discord."""

from collections.abc import Mapping
from typing import Final

from cogs.core.i18n.catalogues import ENGLISH, command_name, say
from diffusion.families.defaults import Defaults
from diffusion.text import N_, plural

MESSAGE_LIMIT: Final = 2000  # Discord's
MODEL_SHOWN: Final = 100
SWITCH = N_(
    "For photographs, paintings and anything else, whoever runs this bot can set `MODEL_ID` to a Stable Diffusion model."
)


def purpose(defaults: Defaults, language: str = ENGLISH) -> str:
    """Say what a model that is not for everything is for, and how to get another; nothing for one that is."""
    return f"{defaults.about} {say(language, SWITCH)}" if defaults.about else ""


def prompts(defaults: Defaults, language: str = ENGLISH) -> list[str]:
    """Give the model's example prompts as they are typed."""
    imagine, prompt = (command_name(language, name) for name in ("imagine", "prompt"))
    return [f"/{imagine} {prompt}: {example}" for example in defaults.examples]


def about_text(model: str, defaults: Defaults, commands: Mapping[str, str], running: str, language: str = ENGLISH) -> str:
    """Say which model runs, what it is good at, what to try, which ``commands`` (name: description) there are, how it runs.

    Where that is longer than a message may be, the commands are named alone.
    """
    named = model if len(model) <= MODEL_SHOWN else f"…{model[1 - MODEL_SHOWN :]}"
    introduction = (
        say(language, "The model here is {name}.", name=f"`{named}`"),
        purpose(defaults, language),
        f"{say(language, 'Try:')}\n{_quoted(defaults, language)}",
    )
    described = "\n".join(f"`{name}`: {description.rstrip('.。')}" for name, description in commands.items())
    text = _paragraphs(*introduction, described, running)
    return text if len(text) <= MESSAGE_LIMIT else _paragraphs(*introduction, f"`{'` `'.join(commands)}`", running)


def running_text(
    device: str, dtype: str, began: float, pictures: int, seconds_each: float | None, language: str = ENGLISH
) -> str:
    """Say on what the model runs, since when (seconds since 1970), and what it has made since then."""
    when, kind = f"<t:{began:.0f}:R>", dtype.removeprefix("torch.")
    parts = [say(language, "On {device} in {dtype}, started {when}", device=device, dtype=kind, when=when)]
    if pictures == 0:
        parts.append(say(language, "no pictures yet"))
    else:
        parts.append(say(language, plural("{count} picture since", "{count} pictures since"), count=pictures))
    if seconds_each:
        parts.append(say(language, "{seconds} s of work each", seconds=f"{seconds_each:.2g}"))
    return f"-# {', '.join(parts)}."


def welcome_text(defaults: Defaults) -> str:
    """Greet those who open the preview."""
    return _paragraphs(
        "Hello! I develop pictures from words. This page is a simulated Discord; the pictures are real.",
        f"Try:\n{_quoted(defaults)}\n- `/similar` with a picture of yours",
        purpose(defaults),
        "`/about` tells this again, with all commands.",
    )


def hint(url: str, defaults: Defaults) -> str:
    """Tell in the terminal where the preview is and what to type there."""
    tried = "\n".join(f"  {line}" for line in [*prompts(defaults), "/similar with a picture of yours"])
    return f"Open {url} in a browser and try:\n\n{tried}\n\nPress Ctrl+C to stop."


def _quoted(defaults: Defaults, language: str = ENGLISH) -> str:
    return "\n".join(f"- `{line}`" for line in prompts(defaults, language))


def _paragraphs(*texts: str) -> str:
    return "\n\n".join(filter(None, texts))
