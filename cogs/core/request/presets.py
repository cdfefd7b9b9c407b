"""What members add to each of their prompts: a suffix, and a preset of words and flags that they have named and saved."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from cogs.core.request.preferences import Preferences
from cogs.core.request.prompt import SPECIAL, ParsedPrompt, clean, parse_prompt
from diffusion.errors import InvalidRequestError
from diffusion.text import N_

MAX_PRESETS: Final = 10  # of a member
NAME_LIMIT: Final = 30  # characters
TEXT_LIMIT: Final = 300
JOINER: Final = ", "  # between a prompt and what is added to it
UNKNOWN_PRESET: Final = N_("You have no preset called {name}. `/presets list` shows yours.")
NO_CHOICES: Final = N_("A preset cannot have alternatives in braces. Please write them into the prompt.")
NO_SEED: Final = N_("A preset with a seed would draw the same picture each time. Please leave `--seed` out.")
NOTHING: Final = N_("Please write the words or flags that should be added, such as `oil painting --ar 3:2`.")
WORDS_ONLY: Final = N_("A suffix consists of words. Please save flags as a preset: `/presets save`.")


def read_preset(text: str) -> ParsedPrompt:
    """Parse the text of a preset; raises `InvalidRequestError` for what does not suit one."""
    parsed = parse_prompt(text)
    if parsed.errors:
        raise parsed.errors[0]
    if SPECIAL.search(parsed.text):
        raise InvalidRequestError("preset", NO_CHOICES)
    if "seed" in parsed.flags:
        raise InvalidRequestError("preset", NO_SEED)
    if not (parsed.text or parsed.flags or parsed.loras):
        raise InvalidRequestError("preset", NOTHING)
    return parsed


def read_suffix(text: str) -> str:
    """Return the words of a suffix; raises `InvalidRequestError` for flags, LoRAs and alternatives."""
    parsed = read_preset(text)
    if parsed.flags or parsed.loras:
        raise InvalidRequestError("preset", WORDS_ONLY)
    return parsed.text


def find_preset(presets: Mapping[str, str] | None, name: str) -> str:
    """Return the name of a preset as the member saved it; raises `InvalidRequestError`."""
    wanted = clean(name).lower()
    found = next((known for known in presets or {} if known.lower() == wanted), None)
    if found is None:
        raise InvalidRequestError("preset", UNKNOWN_PRESET, name=f"“{clean(name)}”")
    return found


def preset_of(prompt: ParsedPrompt, preferences: Preferences) -> ParsedPrompt:
    """Return the preset that ``prompt`` names, or else the one in use; raises `InvalidRequestError` for an unknown one."""
    presets = preferences.presets or {}
    asked = prompt.flags.get("preset")
    name = find_preset(presets, asked) if asked else preferences.preset
    return parse_prompt(presets[name]) if name in presets else ParsedPrompt("", (), {})


def added_to(prompt: ParsedPrompt, preferences: Preferences) -> ParsedPrompt:
    """Return what the member adds to ``prompt``: a preset and the suffix; raises as `preset_of`."""
    preset = preset_of(prompt, preferences)
    return replace(preset, text=JOINER.join(filter(None, (preset.text, preferences.suffix))))


def with_added(prompt: ParsedPrompt, added: ParsedPrompt) -> ParsedPrompt:
    """Return ``prompt`` with the words and LoRAs that are added to it; one without words stays as it is."""
    loras = (*added.loras, *prompt.loras)
    if not prompt.text or not added.text:
        return replace(prompt, loras=loras)
    text, *variants = (f"{each}{JOINER}{added.text}" for each in (prompt.text, *prompt.variants))
    return replace(prompt, text=text, variants=tuple(variants), loras=loras)
