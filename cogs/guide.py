"""What members are told about the model and the commands: text, nothing that talks to Discord."""

from collections.abc import Mapping
from typing import Final

from diffusion.defaults import Defaults

MESSAGE_LIMIT: Final = 2000  # Discord's
MODEL_SHOWN: Final = 100
SWITCH = "For photographs, paintings and anything else, whoever runs this bot can set `MODEL_ID` to a Stable Diffusion model."


def purpose(defaults: Defaults) -> str:
    """Say what a model that is not for everything is for, and how to get another; nothing for one that is."""
    return f"{defaults.about} {SWITCH}" if defaults.about else ""


def prompts(defaults: Defaults) -> list[str]:
    """Give the model's example prompts as they are typed."""
    return [f"/imagine prompt: {example}" for example in defaults.examples]


def about_text(model: str, defaults: Defaults, commands: Mapping[str, str], running: str) -> str:
    """Say which model runs, what it is good at, what to try, which ``commands`` (name: description) there are, how it runs.

    Where that is longer than a message may be, the commands are named alone.
    """
    named = model if len(model) <= MODEL_SHOWN else f"…{model[1 - MODEL_SHOWN :]}"
    introduction = (f"The model here is `{named}`.", purpose(defaults), f"Try:\n{_quoted(defaults)}")
    described = "\n".join(f"`{name}`: {description.removesuffix('.')}" for name, description in commands.items())
    text = _paragraphs(*introduction, described, running)
    return text if len(text) <= MESSAGE_LIMIT else _paragraphs(*introduction, f"`{'` `'.join(commands)}`", running)


def running_text(device: str, dtype: str, began: float, pictures: int, seconds_each: float | None) -> str:
    """Say on what the model runs, since when (seconds since 1970), and what it has made since then."""
    made = f"{pictures} picture{'' if pictures == 1 else 's'} since" if pictures else "no pictures yet"
    pace = f", {seconds_each:.2g} s of work each" if seconds_each else ""
    return f"-# On {device} in {dtype.removeprefix('torch.')}, started <t:{began:.0f}:R>, {made}{pace}."


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


def _quoted(defaults: Defaults) -> str:
    return "\n".join(f"- `{line}`" for line in prompts(defaults))


def _paragraphs(*texts: str) -> str:
    return "\n\n".join(filter(None, texts))
