"""Texts about the model and the commands, for members and for the terminal."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cogs.core.i18n.catalogues import ENGLISH, command_name, say
from diffusion.families.defaults import Defaults
from diffusion.text import N_, plural

OTHER_MODELS: Final = (
    "For photographs, paintings and anything else, set `MODEL_ID` to another model, such as SDXL or FLUX."  # for operators
)
GROUPS: Final = {
    N_("Draw"): ("imagine", "similar", "edit", "inpaint", "outpaint", "upscale", "morph", "blend", "describe"),
    N_("Find again"): ("history", "favourites", "gallery", "show", "tree", "queue"),
    N_("Play together"): ("jam", "story"),
    N_("Yours"): ("settings", "presets", "usage", "privacy", "help", "about", "models"),
}
OTHERS: Final = N_("For the server")
WAYS: Final = N_(
    "Under each picture are buttons to enlarge it, vary it or draw it again. Right-click any picture: Apps, More like this."
)


def example_commands(defaults: Defaults, language: str = ENGLISH) -> list[str]:
    """Return the model's example prompts as commands to type."""
    imagine, prompt = (command_name(language, name) for name in ("imagine", "prompt"))
    return [f"/{imagine} {prompt}: {example}" for example in defaults.examples]


def about_text(defaults: Defaults, commands: Iterable[str], language: str = ENGLISH) -> str:
    """Return the text of /about in a few lines: what the bot does, how to begin, and the ``commands`` by purpose."""
    left = list(commands)
    lines = [introduction(defaults, language), ""]
    for heading, names in [*GROUPS.items(), (OTHERS, tuple(left))]:
        shown = [name for name in names if name in left]
        left = [name for name in left if name not in shown]
        if shown:
            listed = " ".join(f"`/{command_name(language, name)}`" for name in shown)
            lines.append(f"**{say(language, heading)}** {listed}")
    return "\n".join([*lines, say(language, WAYS)])


def introduction(defaults: Defaults, language: str = ENGLISH) -> str:
    """Return what the bot does, and how to begin."""
    imagine = f"`/{command_name(language, 'imagine')}`"
    draws = f"**{say(language, 'I draw pictures from words.')}**"
    begin = say(language, "Type {imagine} and say what you want to see, or press an example.", imagine=imagine)
    return f"{' '.join(filter(None, (draws, defaults.about)))}\n{begin}"


@dataclass(frozen=True)
class RunSummary:
    """The model and the hardware of this run and its pictures; ``began`` is in seconds since 1970."""

    model: str
    device: str
    dtype: str
    began: float
    pictures: int
    seconds_per_picture: float | None


def running_text(run: RunSummary, language: str = ENGLISH) -> str:
    """Return, for the operator, what draws and where, when it started and what it has made since."""
    dtype = run.dtype.removeprefix("torch.")
    when = f"<t:{run.began:.0f}:R>"
    place = say(language, "On {device} in {dtype}, started {when}", device=run.device, dtype=dtype, when=when)
    parts = [f"`{run.model}`", place]
    if run.pictures == 0:
        parts.append(say(language, "no pictures yet"))
    else:
        parts.append(say(language, plural("{count} picture since", "{count} pictures since"), count=run.pictures))
    if run.seconds_per_picture:
        parts.append(say(language, "{seconds} s of work each", seconds=f"{run.seconds_per_picture:.2g}"))
    return f"-# {', '.join(parts)}."


def welcome_text(defaults: Defaults) -> str:
    """Return the first message in the simulator."""
    about = "This page is a simulated Discord; the pictures are real. `/about` shows what else there is."
    return f"{introduction(defaults)}\n-# {about}"


def terminal_hint(url: str, defaults: Defaults) -> str:
    """Return the text for the terminal: the simulator's address and examples."""
    tried = "\n".join(f"  {line}" for line in [*example_commands(defaults), "/similar with a picture of yours"])
    purpose = f"{defaults.about} {OTHER_MODELS}\n\n" if defaults.about else ""
    return f"Open {url} in a browser and try:\n\n{tried}\n\n{purpose}Press Ctrl+C to stop."
