"""Links to files of the simulated Discord."""

import re

from cogs.core.request import links


def allow_simulated_links(monkeypatch):
    """Let links to the host of the simulated Discord count as those to Discord's."""
    pattern = links.PICTURE_LINK.pattern.replace(r"https://(?:", r"https://(?:cdn\.simcord\.invalid|")
    monkeypatch.setattr(links, "PICTURE_LINK", re.compile(pattern, re.ASCII))
