"""What is to be told to somebody, so that it can be told in other languages than English, too."""

import re
from collections.abc import Mapping
from typing import Any, Final

GAP: Final = re.compile(r"\{(\w+)\}")


class Sentence:
    """An English ``template`` and what fills the gaps in it by name, kept apart; as a text it is the finished English."""

    def __init__(self, template: str = "", /, **values: Any) -> None:
        self.template, self.values = template, values

    def __str__(self) -> str:
        return filled(self.template, self.values)


def filled(template: str, values: Mapping[str, Any]) -> str:
    """Put ``values`` into the gaps of ``template`` by name; braces around anything else stand for themselves."""
    return GAP.sub(lambda gap: str(values.get(gap[1], gap[0])), template)
