"""What members meet: each extension is a cog or a package of one. Everything else is in `cogs.core`."""

from typing import Final

EXTENSIONS: Final = (
    "cogs.imagine",
    "cogs.similar",
    "cogs.inpaint",
    "cogs.outpaint",
    "cogs.morph",
    "cogs.context_menus",
    "cogs.queue",
    "cogs.history",
    "cogs.lineage",
    "cogs.replay",
    "cogs.settings.cog",
    "cogs.moderation",
    "cogs.privacy",
    "cogs.usage",
    "cogs.about",
    "cogs.models",
    "cogs.results.buttons",
    "cogs.results.timelapse",
    "cogs.emoji",
    "cogs.core.messages.confirm",
    "cogs.admin",
)
