"""How the buttons and commands of a jam reach its host."""

from typing import TYPE_CHECKING, Any

from cogs.core.types import Interaction

if TYPE_CHECKING:
    from cogs.jam.host import JamHost


def host_of(interaction: Interaction) -> "JamHost":
    """Return the host of all jams of this process."""
    cog: Any = interaction.client.get_cog("JamCog")
    host: JamHost = cog.host
    return host
