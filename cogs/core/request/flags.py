"""Flags such as ``--ar 3:2 --seed 7 --no text`` in a prompt, as in Midjourney, however they are typed."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from diffusion.errors import InvalidRequestError, Problems
from diffusion.request import SAMPLER_NAMES, random_seed
from diffusion.text import Text, plural

STYLE_LIMIT: Final = 100
HYPHENS: Final = "-\u2010\u2011\u2012\u2212\ufe63\uff0d"  # the minus sign and other look-alikes
DASHES: Final = "–—―"  # phones write two hyphens as one
# Two hyphens begin a flag unless a word or another hyphen stands before them; a dash needs a space. A name ends at a space, at
# its value or at a comma. The value may follow at once: --ar16:9.
FLAG: Final = re.compile(
    rf"((?<![{HYPHENS}{DASHES}\w])[{HYPHENS}{DASHES}]{{2}}|(?<!\S)[{DASHES}])([a-z][a-z_]*(?:-[a-z]+)*)"
    rf"(?=[\s=:,;.]|[{HYPHENS}.]?\d|$)",
    re.IGNORECASE,
)
FLAG_SETTINGS: Final = {
    "ar": "aspect",
    "aspect": "aspect",
    "aspect-ratio": "aspect",
    "seed": "seed",
    "no": "negative_prompt",
    "negative": "negative_prompt",
    "steps": "steps",
    "cfg": "guidance_scale",
    "guidance": "guidance_scale",
    "sampler": "sampler",
    "style": "style",
    "model": "model",
    "preset": "preset",
    "clip-skip": "clip_skip",
    "variety": "variety",
    "chaos": "variety",
    "c": "variety",
    "repeat": "count",
    "r": "count",
}
TEXT_SETTINGS: Final = ("negative_prompt", "style")  # take all words up to the next flag, or what stands in quotes
MIDJOURNEY_SWITCHES: Final = ("tile", "raw", "fast", "relax", "turbo", "draft", "video", "hd", "sd")
MIDJOURNEY_VALUES: Final = "s stylize q quality w weird v version niji iw sref cref oref sw cw ow stop p profile exp"
MIDJOURNEY_FLAGS: Final = {*MIDJOURNEY_SWITCHES, *MIDJOURNEY_VALUES.split()}
FLAG_EXAMPLES: Final = (
    *("--ar 3:2", "--seed 7", "--no text", "--steps 30", "--cfg 5", "--sampler euler"),
    *("--style ink", "--repeat 2", "--variety 50", "--clip-skip 2"),
)
IN_BACKTICKS: Final = re.compile(rf"`([{HYPHENS}{DASHES}][^`]*)`[,;]?")  # as some apps copy a flag out of a note
FLAG_START: Final = re.compile(rf"[{HYPHENS}{DASHES}]{{2}}|[{DASHES}]|`[{HYPHENS}]")  # a text without any has no flags
WORD_JOINER: Final = "\u2060"
NO_BREAK_SPACE: Final = "\u00a0"
MAX_RATIO: Final = 4
RATIO: Final = re.compile(r"(\d{1,4}(?:[.,]\d{1,4})?) ?[:x×*/∶] ?(\d{1,4}(?:[.,]\d{1,4})?)", re.IGNORECASE)
RATIO_WORDS: Final = 3  # at most: "3 : 2"
RANDOM_SEEDS: Final = ("-1", "random")  # what other tools take for "any seed"
SAMPLER_WORDS: Final = 4  # at most: "DPM++ 2M SDE Karras"
# Samplers by the letters, digits and plus signs of their names, as the bot or other tools write them.
SAMPLERS: Final = {
    **{re.sub(r"[^a-z0-9+]", "", title.lower()): name for name, title in SAMPLER_NAMES.items()},
    **{re.sub(r"[^a-z0-9+]", "", name): name for name in SAMPLER_NAMES},
    "eulerancestral": "euler_a",
    "dpm++2m": "dpm++",
    "dpmpp2m": "dpm++",
    "dpmpp2mkarras": "dpm++",
    "dpmpp2msde": "dpm++_2m_sde",
    "dpmpp2msdekarras": "dpm++_2m_sde_karras",
    "dpmppsde": "dpm++_sde",
    "dpmppsdekarras": "dpm++_sde_karras",
    "plms": "pndm",
    "eulersgmuniform": "euler_trailing",
    "eulerasgmuniform": "euler_a_trailing",
    "ddimsgmuniform": "ddim_trailing",
}
QUOTES: Final = "\"'“”„‟«»‘’‚‹›「」『』"
CLOSING: Final = {"“": "”“", "„": "“”", "«": "»", "»": "«", "‘": "’", "‚": "‘’", "‹": "›", "「": "」", "『": "』"}
ENDS: Final = ",;."  # of a sentence, behind the value of a flag


@dataclass(frozen=True)
class ParsedFlags:
    """A text without its flags, their settings, and the unknown flags.

    ``errors`` are about the flags whose values cannot be read.
    """

    text: str
    settings: dict[str, Any] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    errors: tuple[InvalidRequestError, ...] = ()


def parse_flags(text: str) -> ParsedFlags:
    """Take the flags out of ``text``."""
    text = IN_BACKTICKS.sub(r" \1 ", text)
    matches = list(_flags(text))
    if not matches:
        return ParsedFlags(text)
    kept = [text[: matches[0].start()]]
    settings: dict[str, Any] = {}
    unknown: list[str] = []
    problems = Problems()
    ends = [flag.start() for flag in matches[1:]] + [len(text)]
    for flag, end in zip(matches, ends, strict=True):
        name = flag[2].lower()
        setting = FLAG_SETTINGS.get(name)
        value, rest = _take_value(name, setting, text[flag.end() : end].lstrip(" =:" + ENDS))
        kept.append(rest)
        if setting is None or (name, value.lower()) == ("style", "raw"):
            unknown.append(f"--{name} {value}".strip())
        else:
            with problems.collect():
                settings[setting] = _parse_value(name, setting, value)
    return ParsedFlags(" ".join(" ".join(kept).split()), settings, tuple(unknown), tuple(problems.errors))


def _flags(text: str) -> Iterator[re.Match[str]]:
    """Yield the flags of ``text``. After a dash only those with a known name count."""
    for flag in FLAG.finditer(text):
        has_hyphens = len(flag[1]) == 2 and all(character in HYPHENS for character in flag[1])
        if has_hyphens or flag[2].lower() in FLAG_SETTINGS.keys() | MIDJOURNEY_FLAGS:
            yield flag


def _take_value(name: str, setting: str | None, text: str) -> tuple[str, str]:
    """Split what follows a flag into its value and the rest, which belongs to the prompt."""
    quoted = _take_quoted(text)
    if quoted is not None:
        return quoted
    words = text.split()
    count = 1
    if setting in TEXT_SETTINGS:
        count = len(words)
    elif name in MIDJOURNEY_SWITCHES:
        count = 0
    elif setting == "sampler":
        count = _count_words(words, SAMPLER_WORDS, lambda value: _fold_sampler(value) in SAMPLERS)
    elif setting == "aspect":
        count = _count_words(words, RATIO_WORDS, lambda value: RATIO.fullmatch(_plain(value)) is not None)
    value = " ".join(words[:count])
    return value.rstrip(",;" if setting in TEXT_SETTINGS else ENDS), " ".join(words[count:])


def _take_quoted(text: str) -> tuple[str, str] | None:
    """Take a value in quotes. Returns None if there are no quotes around all of it."""
    if not text or text[0] not in QUOTES:
        return None
    end = next((place for place, character in enumerate(text[1:], 1) if character in CLOSING.get(text[0], text[0])), 0)
    if not end:
        return None
    rest = text[end + 1 :].lstrip()
    if any(character in QUOTES for character in rest):  # several words in quotes, such as “a”, “b”
        return "".join(character for character in text if character not in QUOTES).strip(" " + ENDS), ""
    return text[1:end].strip(" " + ENDS), rest.lstrip(ENDS)


def _count_words(words: list[str], most: int, is_value: Any) -> int:
    """Return how many of the first ``words`` make the longest value, else 1."""
    return next((count for count in range(min(most, len(words)), 0, -1) if is_value(" ".join(words[:count]))), 1)


def _plain(value: str) -> str:
    """Return ``value`` without full-width forms, look-alikes of the hyphen, and what ends a sentence."""
    value = unicodedata.normalize("NFKC", value).rstrip(ENDS)
    return "".join("-" if character in HYPHENS else character for character in value)


def find_sampler(value: str) -> str:
    """Return the sampler that ``value`` names as the bot or other tools do, or ``value`` if there is none."""
    return SAMPLERS.get(_fold_sampler(value), value)


def _fold_sampler(value: str) -> str:
    return re.sub(r"[^a-z0-9+]", "", _plain(value).lower())


def _parse_value(name: str, setting: str, value: str) -> Any:
    if setting == "aspect":
        return _parse_aspect(name, value)
    if setting == "sampler":
        if value:
            return find_sampler(value)
        raise InvalidRequestError("sampler", "`--{name}` needs one of {known}.", name=name, known=", ".join(SAMPLER_NAMES))
    if setting == "preset":
        if value:
            return value
        raise InvalidRequestError(setting, "`--{name}` needs the name of one of your presets.", name=name)
    if setting == "model":
        if not 1 <= len(value) <= STYLE_LIMIT:
            raise InvalidRequestError(setting, "`--{name}` needs the name of a model.", name=name)
        return value
    if setting in TEXT_SETTINGS:
        if not value or (setting == "style" and len(value) > STYLE_LIMIT):
            raise InvalidRequestError(
                setting,
                plural(
                    "`--{name}` needs words after it, and no more than {most} character of a style.",
                    "`--{name}` needs words after it, and no more than {most} characters of a style.",
                    by="most",
                ),
                name=name,
                most=STYLE_LIMIT,
            )
        return value
    return _parse_number(name, setting, _plain(value))


def _parse_number(name: str, setting: str, value: str) -> int | float:
    if setting == "seed" and value.lower() in RANDOM_SEEDS:
        return random_seed()
    try:
        return float(value.replace(",", ".")) if setting == "guidance_scale" else int(value)
    except ValueError:
        raise InvalidRequestError(setting, "`--{name}` needs a number, such as `--{name} 7`.", name=name) from None


def _parse_aspect(name: str, value: str) -> tuple[float, float]:
    match = RATIO.fullmatch(_plain(value))
    width, height = (_side(match[1]), _side(match[2])) if match else (0, 0)
    if not min(width, height) or max(width, height) > MAX_RATIO * min(width, height):
        raise InvalidRequestError(
            "size",
            "`--{name}` needs width:height, such as `--{name} 3:2`, up to {most}:1 or 1:{most}.",
            name=name,
            most=MAX_RATIO,
        )
    return width, height


def _side(text: str) -> float:
    return int(text) if text.isdecimal() else float(text.replace(",", "."))


def unknown_flags_note(unknown: tuple[str, ...]) -> Text:
    """Return a note about ignored flags and the flags that work."""
    flags = f"`{'`, `'.join(unknown)}`"
    known = ", ".join(f"`{_unbreakable(example)}`" for example in FLAG_EXAMPLES)
    return Text("I ignored unknown flags: {flags}. These flags work: {known}.", flags=flags, known=known)


def _unbreakable(flag: str) -> str:
    """Return ``flag`` so that no line ends within it; parsing ignores what this adds."""
    return flag.replace("-", f"-{WORD_JOINER}").replace(" ", NO_BREAK_SPACE)
