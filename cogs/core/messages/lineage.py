"""The tree of related pictures as text, with the changes between them.

Nothing here talks to Discord or to the database.
"""

import difflib
import itertools
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import MISSING, dataclass, fields
from typing import Any, Final

from cogs.core.i18n.catalogues import ENGLISH, say, setting_name
from cogs.core.request.prompt import clean
from diffusion.lora.tags import format_list
from diffusion.request import SAMPLER_NAMES, ImageRequest
from diffusion.text import N_

PROMPT_LENGTH: Final = 60
CHANGES_SHOWN: Final = 120
WORDS_COMPARED: Final = 80  # from the first that differs: comparing takes quadratic time, and few are shown
HIDDEN: Final = N_("(hidden from you)")
NO_LONGER_KEPT: Final = N_("(no longer kept)")
BRANCH = "├─ "
LAST = "└─ "
BELOW: Final = {"": "", BRANCH: "│  ", LAST: "   "}
SETTING_NAMES: Final = {
    "guidance_scale": "guidance",
    "negative_prompt": "negative",
    "start_step": "start",
    "guide_label": "steer",
    "label_scale": "steering",
    "loras": "LoRAs",
}


REQUEST_DEFAULTS: Final = {field.name: field.default for field in fields(ImageRequest) if field.default is not MISSING}


@dataclass(frozen=True)
class Relative:
    """A creation in the tree; members call it ``name``, its short id.

    ``request`` is its stored request, or None if the member may not see it, or if it ``is_past``: no longer kept.
    """

    id: int
    parent_id: int | None
    request: dict[str, Any] | None
    source: str | None = None
    name: str = ""
    pictures: tuple[str, ...] = ()
    is_past: bool = False


def changes(before: Relative, after: Relative, language: str = ENGLISH) -> str:
    """Return the differences between two requests as text."""
    # A row that is older than a setting counts as its default. JSON turned tuples into lists.
    old, new = (REQUEST_DEFAULTS | (relative.request or {}) for relative in (before, after))
    parts = []
    if after.source and after.source != before.source:
        parts.append(say(language, "from its picture"))
    elif before.source and not after.source:
        parts.append(say(language, "from noise"))
    for field in dict.fromkeys([*old, *new]):
        if _as_list(old.get(field)) == _as_list(new.get(field)):
            continue
        name = setting_name(language, SETTING_NAMES.get(field, field.replace("_", " ")))
        if field in ("prompt", "negative_prompt"):
            words = _words(str(old.get(field) or ""), str(new.get(field) or "")) or say(language, "commas")
            parts.append(words if field == "prompt" else f"{name}: {words}")
        elif field == "branches":
            last = [
                say(language, "from step {step}: {prompt}", step=step, prompt=clean(prompt)) for step, prompt in new[field][-1:]
            ]
            parts += last or [say(language, "no branch")]
        elif field == "is_edit":
            parts += [say(language, "edited by words")] if new[field] else []
        elif field == "blend":
            weights = ":".join(f"{weight:g}" for weight in new[field])
            parts += [say(language, "blended {weights}", weights=weights)] if weights else []
        elif field == "by_upscaler":
            parts += [say(language, "enlarged by an upscaler")] if new[field] else []
        else:
            parts.append(f"{name} {_value_text(old.get(field), language)} → {_value_text(new.get(field), language)}")
    return _cut(", ".join(parts), CHANGES_SHOWN) if parts else say(language, "the same again")


def description_text(relative: Relative, language: str = ENGLISH) -> str:
    """Return the prompt and seed of a picture without a visible parent."""
    if relative.request is None:
        return say(language, NO_LONGER_KEPT if relative.is_past else HIDDEN)
    request = relative.request
    first = clean(str(request.get("prompt") or "")) or say(language, "Similar picture")
    later = filter(None, (request.get("morph_to"), *(prompt for _, prompt in request.get("branches") or ())))
    prompts = [first, *map(clean, [*later][-2:])]
    shown = " → ".join(_cut(prompt, PROMPT_LENGTH // len(prompts)) for prompt in prompts)
    return f"{shown}, {say(language, 'seed {seeds}', seeds=request.get('seed'))}"


@dataclass(frozen=True)
class TreeRow:
    """A relative in the order in which a tree is drawn, and what is written beside it.

    ``parent`` is the relative that its line comes from. The ``branch`` draws that line in text.
    """

    relative: Relative
    text: str
    parent: int | None = None
    depth: int = 0
    branch: str = ""


def tree_rows(relatives: Iterable[Relative], marked: int, language: str = ENGLISH) -> list[TreeRow]:
    """Return the rows of the tree of ``relatives``, the ancestors of the creation ``marked`` first.

    A relative without a parent among the others begins a tree of its own; so does the oldest one of a cycle.
    """
    known = {relative.id: relative for relative in sorted(relatives, key=lambda relative: relative.id)}
    line = {marked: known.get(marked)}
    while (youngest := list(line.values())[-1]) and youngest.parent_id in known and youngest.parent_id not in line:
        line[youngest.parent_id] = known[youngest.parent_id]
    children: defaultdict[int | None, list[Relative]] = defaultdict(list)
    for relative in sorted(known.values(), key=lambda relative: (relative.id not in line, relative.id)):
        children[relative.parent_id if relative.parent_id in known else None].append(relative)
    rows: list[TreeRow] = []
    drawn: set[int] = set()

    def add(relative: Relative, before: str = "", branch: str = "", depth: int = 0) -> None:
        drawn.add(relative.id)
        parent = known[relative.parent_id] if branch and relative.parent_id else None
        compared = parent and parent.request is not None and relative.request is not None
        text = changes(parent, relative, language) if parent and compared else description_text(relative, language)
        rows.append(TreeRow(relative, text, parent.id if parent else None, depth, before + branch))
        below = before + BELOW[branch]
        undrawn = [child for child in children[relative.id] if child.id not in drawn]
        for child in undrawn:
            add(child, below, LAST if child is undrawn[-1] else BRANCH, depth + 1)

    for relative in [*children[None], *known.values()]:
        if relative.id not in drawn:
            add(relative)
    return rows


def tree_text(rows: Iterable[TreeRow], marked: int, most: int, language: str = ENGLISH) -> str:
    """Write a tree in at most ``most`` characters, with a mark before the creation ``marked``."""
    lines = []
    for row in rows:
        named = " · ".join(filter(None, (row.text, row.relative.name)))
        lines.append(f"{row.branch}{'▶ ' * (row.relative.id == marked)}{named}")
    return _fit_lines([line.replace("`", "'") for line in lines], most, language)


def _fit_lines(lines: list[str], most: int, language: str) -> str:
    kept: list[str] = []
    room = most - 30
    for line in lines:
        room -= len(line) + 1
        if room < 0:
            return "\n".join([*kept, say(language, "… and {count} more", count=len(lines) - len(kept))])
        kept.append(line)
    return "\n".join(kept)


def _words(before: str, after: str) -> str:
    """Return the words that were added and removed."""
    old, new = (re.findall(r"[^\s,]+", clean(text)) for text in (before, after))
    same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(old, new, strict=False)))
    old, new = (words[same : same + WORDS_COMPARED] for words in (old, new))
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    parts = []
    for kind, old_from, old_to, new_from, new_to in matcher.get_opcodes():
        if kind != "equal":
            removed = old[old_from:old_to]
            added = new[new_from:new_to]
            if removed:
                parts.append(f"− {' '.join(removed)}")
            if added:
                parts.append(f"+ {' '.join(added)}")
    return " ".join(parts)


def _as_list(value: Any) -> Any:
    return [_as_list(each) for each in value] if isinstance(value, (list, tuple)) else value


def _value_text(value: Any, language: str) -> str:
    if value and isinstance(value, (list, tuple)) and isinstance(value[0], (list, tuple)):
        return clean(format_list(value))  # LoRAs and their weights
    if isinstance(value, float):
        return f"{value:g}"
    return say(language, "none") if value in (None, "", [], ()) else SAMPLER_NAMES.get(str(value), str(value))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
