"""Translatable texts: English templates, kept apart from their values.

A template is a string with gaps such as ``{steps}``, or `plural` with one string for each English form. Templates are the
keys of the gettext catalogues. ``pybabel extract`` finds literals in the calls that take a template. It does not find a
template in a constant or a table, so mark that with `N_`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Plural:
    """A template with a singular and a plural, chosen by the number named ``by``."""

    one: str
    many: str
    by: str = "count"


Template = str | Plural


def N_(template: str) -> str:  # noqa: N802 - gettext's name for a marker that does nothing
    """Mark ``template`` for extraction; return it unchanged."""
    return template


def plural(one: str, many: str, by: str = "count") -> Plural:
    """Return the template whose form depends on the value named ``by``."""
    return Plural(one, many, by)


class Text:
    """A template and the values of its gaps; ``str()`` of it is the English text."""

    def __init__(self, template: Template = "", /, **values: Any) -> None:
        self.template = template
        self.values = values

    def __str__(self) -> str:
        return fill(english(self.template, self.values), self.values)


def english(template: Template, values: Mapping[str, Any]) -> str:
    """Return the English form of ``template`` for ``values``, its gaps still open."""
    if isinstance(template, str):
        return template
    return template.one if values.get(template.by) == 1 else template.many


def fill(template: str, values: Mapping[str, Any]) -> str:
    """Fill the gaps of ``template`` by name. Braces around any other text stay."""
    return PLACEHOLDER.sub(lambda gap: str(values.get(gap[1], gap[0])), template)
