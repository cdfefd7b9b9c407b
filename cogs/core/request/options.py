"""The options that the drawing commands share, as Discord offers them."""

import asyncio
import contextlib
import functools
import inspect
import re
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar

from discord import app_commands
from discord.app_commands import Choice, Range

from cogs.core.i18n.catalogues import ENGLISH, LANGUAGE_BY_LOCALE, say
from cogs.core.request.flags import find_sampler
from cogs.core.request.prompt import PROMPT_LIMIT, STYLE_LIMIT, clean
from cogs.core.types import Interaction
from diffusion.errors import InvalidRequestError, Problems
from diffusion.families.defaults import QUALITIES
from diffusion.families.spec import ModelSpec
from diffusion.lora.catalogue import Lora
from diffusion.lora.tags import TAG_START, find_tags, parse_list
from diffusion.request import MAX_SEED, MAX_VARIETY, SAMPLER_NAMES, UPSCALES, Limits
from diffusion.text import N_

T = TypeVar("T")
Callback = Callable[..., Coroutine[Any, Any, None]]

MAX_COUNT: Final = 4
MAX_FRAMES: Final = 24
SAMPLER_LENGTH: Final = 50
MAX_CHOICES: Final = 25  # Discord's limit on autocomplete
CHOICE_LENGTH: Final = 100  # characters, Discord's limit
LORA_LIMIT: Final = 300  # characters
NEW_LORAS_SECONDS: Final = 2.0  # between two looks for files of unknown LoRAs
LOOK_SECONDS: Final = 1.0  # Discord waits 3 s for the first answer
TYPED: Final = "typed"  # the key in `Interaction.extras` of the command and of what was typed, by parameter
COLOURS: Final = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "grey", "white")
COLOUR: Final = N_("{label} (colour)")
KIND: Final = N_("{label} (kind)")
LANDSCAPE: Final = 3 / 2  # width / height of suggested sizes
WIDE: Final = 16 / 9
SIZE: Final = re.compile(r"(\d{1,5})(?: ?[x×*] ?(\d{1,5}))?", re.IGNORECASE | re.ASCII)
Prompt = Range[str, 1, PROMPT_LIMIT]
QUALITY_NAMES: Final = {quality: quality.capitalize() for quality in QUALITIES}
QUALITY_CHOICES: Final = [Choice(name=title, value=quality) for quality, title in QUALITY_NAMES.items()]
UPSCALE_CHOICES: Final = [Choice(name=f"{factor}x", value=factor) for factor in UPSCALES]


@dataclass(frozen=True)
class Options:
    """The choices of a member besides the prompt.

    None leaves a choice to the prompt's flags, the style, preferences and the model.
    """

    model: str | None = None
    style: str | None = None
    negative: str | None = None
    size: str | None = None
    quality: str | None = None
    steps: int | None = None
    guidance: float | None = None
    sampler: str | None = None
    steer: str | None = None
    steer_strength: float | None = None
    seed: int | None = None
    count: int | None = None
    variety: int | None = None
    upscale: int | None = None
    lora: str | None = None
    private: bool | None = None
    spoiler: bool | None = None

    def request_fields(self, problems: Problems) -> dict[str, Any]:
        """Return the choices by the fields of `ImageRequest`; note an unreadable size or LoRA in ``problems``."""
        width = height = loras = None
        with problems.collect():
            width, height = parse_size(self.size) if self.size else (None, None)
        with problems.collect():
            loras = parse_list(clean(self.lora)) if self.lora else None
        fields = {
            "loras": loras,
            "negative_prompt": None if self.negative is None else clean(self.negative),
            "width": width,
            "height": height,
            "steps": self.steps,
            "guidance_scale": self.guidance,
            "sampler": self.sampler and find_sampler(self.sampler),
            "guide_label": self.steer.strip().lower() if self.steer else None,
            "label_scale": self.steer_strength,
            "seed": self.seed,
            "count": self.count,
            "variety": self.variety,
            "upscale": self.upscale,
        }
        return {name: value for name, value in fields.items() if value is not None}


async def suggest_models(interaction: Interaction, current: str) -> list[Choice[str]]:
    """Suggest the models that the engine offers."""
    return matching_choices(interaction.client.service.engine.models, current)


async def suggest_styles(interaction: Interaction, current: str) -> list[Choice[str]]:
    """Suggest styles by name."""
    return matching_choices(_typed(interaction).styles, current)


async def suggest_sizes(interaction: Interaction, current: str) -> list[Choice[str]]:
    """Suggest sizes that suit the model."""
    engine = interaction.client.service.engine
    return size_choices(
        _typed(interaction).model, engine.config.limits, current, LANGUAGE_BY_LOCALE.get(interaction.locale, ENGLISH)
    )


async def suggest_samplers(interaction: Interaction, current: str) -> list[Choice[str]]:
    """Suggest the samplers of the model."""
    typed = current.lower().strip()
    titles = {name: SAMPLER_NAMES[name] for name in _typed(interaction).model.samplers}
    return [Choice(name=title, value=name) for name, title in titles.items() if typed in title.lower()][:MAX_CHOICES]


async def suggest_labels(interaction: Interaction, current: str) -> list[Choice[str]]:
    """Suggest what to steer towards: first kinds of things, then colours."""
    language = LANGUAGE_BY_LOCALE.get(interaction.locale, ENGLISH)
    labels = sorted(_typed(interaction).model.guide_labels, key=COLOURS.__contains__)
    templates = {label: COLOUR if label in COLOURS else KIND for label in labels}
    names = {label: say(language, template, label=label) for label, template in templates.items()}
    typed = current.lower().strip()
    return [Choice(name=name, value=label) for label, name in names.items() if typed in name.lower()][:MAX_CHOICES]


async def suggest_loras(interaction: Interaction, current: str) -> list[Choice[str]]:
    """Suggest the LoRAs that the model can use, with their trigger words.

    They complete the last of the list that the member types.
    """
    model = _typed(interaction).model
    await asyncio.to_thread(model.refresh_loras)
    return lora_choices(model.loras.values(), current)


async def look_for_loras(interaction: Interaction, *texts: str | None) -> None:
    """Look for new files of LoRAs, for a moment at most, if ``texts`` of the options or prompts name an unknown one."""
    named = [name for text in filter(None, texts) for name, _ in find_tags(text)[1]]
    with contextlib.suppress(InvalidRequestError):
        named += [name for name, _ in parse_list(texts[0] or "")]
    if not named:
        return
    model = _typed(interaction).model
    known = {name.lower() for name in model.loras}
    if not known.issuperset(map(str.lower, named)):
        looking = asyncio.create_task(asyncio.to_thread(model.refresh_loras, NEW_LORAS_SECONDS))
        await asyncio.wait([looking], timeout=LOOK_SECONDS)


def _typed(interaction: Interaction) -> Any:
    """Return the `RequestBuilder` for the model that the member has chosen so far."""
    return interaction.client.service.builder.while_typing(interaction)


class SharedOption(NamedTuple):
    """How Discord offers one field of `Options`."""

    kind: Any
    description: str
    choices: list[Choice[Any]] | None = None
    suggest: Any = None


SHARED: Final = {
    "model": SharedOption(Range[str, 1, CHOICE_LENGTH], "The model that draws", suggest=suggest_models),
    "style": SharedOption(Range[str, 1, STYLE_LIMIT], "The look, added to the prompt; none: no style", suggest=suggest_styles),
    "negative": SharedOption(Prompt, "What the picture should not show"),
    "size": SharedOption(Range[str, 1, 11], "Width x height in pixels, such as 512x768", suggest=suggest_sizes),
    "quality": SharedOption(str, "Steps and sampler that suit each other and the model", QUALITY_CHOICES),
    "steps": SharedOption(Range[int, 1, 150], "The number of steps: more is finer and slower"),
    "guidance": SharedOption(Range[float, 0, 30], "How closely to follow the prompt"),
    "sampler": SharedOption(Range[str, 1, SAMPLER_LENGTH], "The sampling method", suggest=suggest_samplers),
    "steer": SharedOption(
        Range[str, 1, 50], "A kind of thing or a colour to steer the picture towards", suggest=suggest_labels
    ),
    "steer_strength": SharedOption(Range[float, 0, 50], "How strongly to steer: more is clearer and less natural"),
    "seed": SharedOption(Range[int, 0, MAX_SEED], "The same seed and settings make the same picture"),
    "count": SharedOption(Range[int, 1, MAX_COUNT], "The number of pictures"),
    "variety": SharedOption(Range[int, 0, MAX_VARIETY], "How much pictures of one prompt differ: 0 to 100"),
    "upscale": SharedOption(int, "How many times to enlarge the picture before it is posted", UPSCALE_CHOICES),
    "lora": SharedOption(
        Range[str, 1, LORA_LIMIT], "LoRAs that change the model, with weights: name:0.8, other", suggest=suggest_loras
    ),
    "private": SharedOption(bool, "Show the pictures to you only"),
    "spoiler": SharedOption(bool, "Hide the pictures until they are clicked"),
}


def shared_options(*names: str) -> Callable[[Callback], Any]:
    """Add the shared options ``names`` to a command.

    The command receives them as one `Options` named ``options``.
    """

    def decorate(command: Callback) -> Any:
        @functools.wraps(command)
        async def callback(cog: Any, interaction: Interaction, **given: Any) -> None:
            interaction.extras[TYPED] = functools.partial(callback, cog), dict(given)
            options = Options(**{name: given.pop(name) for name in names})
            if "lora" in names:
                tagged = [text for text in given.values() if isinstance(text, str) and TAG_START.search(text)]
                if options.lora or tagged:
                    await look_for_loras(interaction, options.lora, *tagged)
            await command(cog, interaction, options=options, **given)

        signature = inspect.signature(command)
        own = [parameter for name, parameter in signature.parameters.items() if name != "options"]
        added = [_parameter(name) for name in names]
        callback.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]
        shared = {name: SHARED[name] for name in names}
        choices = {name: option.choices for name, option in shared.items() if option.choices}
        suggestions = {name: option.suggest for name, option in shared.items() if option.suggest}
        described = app_commands.describe(**{name: option.description for name, option in shared.items()})(callback)
        return app_commands.choices(**choices)(app_commands.autocomplete(**suggestions)(described))

    return decorate


def _parameter(name: str) -> inspect.Parameter:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Parameter(name, kind, default=None, annotation=SHARED[name].kind | None)


def server_only(command: T) -> T:
    """Offer ``command`` only in servers to which the bot was added.

    Other commands are offered everywhere.
    """
    in_servers = app_commands.allowed_contexts(guilds=True, dms=False, private_channels=False)
    return app_commands.allowed_installs(guilds=True, users=False)(in_servers(command))


def parse_size(text: str | None) -> tuple[int, int] | tuple[None, None]:
    """Parse "512x768" or "512"; return (None, None) for None.

    Raises `InvalidRequestError` for anything else.
    """
    if text is None:
        return None, None
    match = SIZE.fullmatch(" ".join(text.split()))  # so that any number of spaces takes linear time
    width, height = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not width or not height:
        raise InvalidRequestError("size", "The size must be width x height in pixels, such as 512x768.")
    return width, height


def matching_choices(words: Iterable[str], current: str) -> list[Choice[str]]:
    """Return the choices among ``words`` that contain ``current``.

    ``current`` is what the member has typed so far.
    """
    typed = current.lower().strip()
    return [Choice(name=word, value=word) for word in words if typed in word.lower()][:MAX_CHOICES]


def lora_choices(loras: Iterable[Lora], current: str) -> list[Choice[str]]:
    """Return lists that complete ``current``, which the member has typed so far."""
    before, comma, typed = current.rpartition(",")
    name, colon, weight = typed.strip().partition(":")
    head = f"{before.strip()}{comma} " if comma else ""
    choices = []
    for lora in loras:
        value = f"{head}{lora.name}{colon}{weight}"
        if lora.problem is None and name.strip().lower() in lora.name.lower() and len(value) <= CHOICE_LENGTH:
            words = f" · {', '.join(lora.triggers)}" if lora.triggers else ""
            choices.append(Choice(name=f"{value}{words}"[:CHOICE_LENGTH], value=value))
    return choices[:MAX_CHOICES]


def size_choices(model: ModelSpec, limits: Limits, current: str, language: str = ENGLISH) -> list[Choice[str]]:
    """Return the model's own square and sizes near it, as far as ``limits`` allow them.

    They contain ``current``, which the member has typed so far.
    """
    side = model.sample_side
    if model.shape_grid:
        long, short = map(int, model.size_of(LANDSCAPE))
        longer, shorter = map(int, model.size_of(WIDE))
    else:
        long, short = side * 3 // 2, side
        longer, shorter = side * 2, side
    shapes = [
        (say(language, "square"), side, side),
        (say(language, "portrait"), short, long),
        (say(language, "landscape"), long, short),
        (say(language, "tall"), shorter, longer),
        (say(language, "wide"), longer, shorter),
    ]
    allowed = [shape for shape in shapes if limits.allow_size(*shape[1:])]
    choices = [Choice(name=f"{width}x{height} ({name})", value=f"{width}x{height}") for name, width, height in allowed]
    return [choice for choice in choices if current.lower().strip() in choice.name.lower()]
