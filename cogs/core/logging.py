"""The log: one line for each event, as text or JSON, without secrets.

It has no prompts unless the operator asks for them.
"""

import logging
import re
from typing import Any, Final, Literal

import discord
from pythonjsonlogger.json import JsonFormatter

from cogs.core.messages.http_errors import NETWORK_ERRORS
from diffusion.redaction import BLANK, redact

TOKEN_PATTERN: Final = re.compile(r"""(/(?:webhooks|interactions)/\d+/|["']token["']: ?["'])[^"'/?\s]+""")
TEXT: Final = "%(asctime)s %(levelname)-8s %(name)s %(message)s"
JSON_FIELDS: Final = {"asctime": "time", "levelname": "level", "name": "logger", "message": "message"}


def shorten_network_errors(record: logging.LogRecord) -> bool:
    """Put an error of the connection to Discord into one line. A filter of the log."""
    error = record.exc_info[1] if record.exc_info else None
    if record.name.startswith("discord.") and isinstance(error, (discord.DiscordException, *NETWORK_ERRORS)):
        lines = str(error).splitlines() or [""]
        record.msg = f"{record.getMessage()} ({type(error).__name__}: {lines[0][:200]})"
        record.args = ()
        record.exc_info = None
    return True


class RedactingHandler(logging.StreamHandler[Any]):
    """Logs to the terminal without secrets.

    They are those of `diffusion.redaction`, and the tokens in Discord's addresses and gateway events.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Format ``record`` with its secrets replaced."""
        return redact(TOKEN_PATTERN.sub(rf"\1{BLANK}", super().format(record)))


def configure_logging(level: str, form: Literal["text", "json"]) -> None:
    """Log everything from ``level`` on, such as ``INFO``."""
    handler = RedactingHandler()
    handler.addFilter(shorten_network_errors)
    formatter: logging.Formatter
    if form == "json":
        formatter = JsonFormatter([*JSON_FIELDS], rename_fields={name: to for name, to in JSON_FIELDS.items() if name != to})
    else:
        formatter = logging.Formatter(TEXT)
    discord.utils.setup_logging(handler=handler, formatter=formatter, level=logging.getLevelNamesMapping()[level])
    logging.getLogger("alembic").setLevel(logging.WARNING)
