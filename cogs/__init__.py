"""The features that members meet: each extension is a cog or a package.

Everything else is in `cogs.core`.
"""

from typing import Final

EXTENSIONS: Final = (
    "cogs.imagine",
    "cogs.similar",
    "cogs.blend",
    "cogs.inpaint",
    "cogs.outpaint",
    "cogs.edit",
    "cogs.upscale",
    "cogs.morph",
    "cogs.context_menus",
    "cogs.image_info",
    "cogs.describe",
    "cogs.queue",
    "cogs.history",
    "cogs.lineage",
    "cogs.favourites",
    "cogs.jam",
    "cogs.story",
    "cogs.replay",
    "cogs.settings",
    "cogs.presets",
    "cogs.moderation",
    "cogs.privacy",
    "cogs.usage",
    "cogs.about",
    "cogs.help",
    "cogs.welcome",
    "cogs.models",
    "cogs.results.buttons",
    "cogs.results.edit",
    "cogs.results.extend",
    "cogs.results.region",
    "cogs.results.alone",
    "cogs.results.timelapse",
    "cogs.results.branching",
    "cogs.fix",
    "cogs.reactions",
    "cogs.emoji",
    "cogs.admin",
)
