"""Do something with finished pictures, as members do."""

import re

from cogs.core.messages.components import custom_ids

MORE, RESULT = "darkroom:more:", "darkroom:result:"


def has_actions(message):
    """Whether a message offers what members can do with finished pictures."""
    return any(custom_id.startswith(MORE) for custom_id in custom_ids(getattr(message, "message", message)))


def controls_of(message):
    """The buttons and lists in the rows of a message."""
    return [child for row in message.components for child in row.get("components", ()) if "custom_id" in child]


def labels_of(message):
    """What stands on the buttons and lists, row by row."""
    rows = [row.get("components", ()) for row in message.components]
    return [[_label(child) for child in row] for row in rows if row and "custom_id" in row[0]]


def _label(control):
    return control.get("label") or control.get("placeholder") or control["emoji"]["name"]


def more_of(message):
    """What the list "More" under pictures offers: labels by name."""
    lists = [child for child in controls_of(message) if child["custom_id"].startswith(MORE)]
    return {option["value"]: option["label"] for each in lists for option in each["options"]}


async def use(member, message, action, picture=0):
    """Use ``action`` for the picture of that index: by its button, or else by the list "More"."""
    wanted = re.compile(rf"{RESULT}{action}:\d+:\d+:{picture}")
    ids = [child["custom_id"] for child in controls_of(message)]
    button = next(filter(wanted.fullmatch, ids), None)
    if button:
        return await member.click(message, custom_id=button)
    (more,) = [custom_id for custom_id in ids if custom_id.startswith(MORE)]
    chosen = await member.select(message, [action], custom_id=more)
    numbers = [child["custom_id"] for child in controls_of(chosen.response)] if chosen.response else []
    number = next(filter(wanted.fullmatch, numbers), None)
    return await member.click(chosen.response, custom_id=number) if number else chosen


def form_of(shown):
    """What stands in the fields of a modal."""
    fields = [label["component"] for label in shown.modal["components"]]
    return {field["custom_id"]: field.get("value") or "" for field in fields}
