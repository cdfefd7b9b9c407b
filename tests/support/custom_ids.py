"""Custom_ids that match a template."""

import itertools
import re


def example_custom_ids(template):
    """Yield a custom_id of each kind that ``template`` matches, with 1 for numbers and nothing for texts."""
    template = re.sub(r"\[0-9\]\+|\\d\+|\[01\]", "1", re.sub(r"(\[\^:\]|\.)\*", "", template))
    template = re.sub(r"\(\?P<\w+>(\w*)\)", r"\1", template)
    template = re.sub(r"\(([^|()]*)\)\?", r"\1", template)
    parts = re.split(r"\(\?P<\w+>([^()]*)\)", template)
    return map("".join, itertools.product(*(part.split("|") for part in parts)))
