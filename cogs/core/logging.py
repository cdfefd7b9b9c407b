"""What the bot writes down for its operator: one line an event, as text or as JSON, without secrets and without prompts."""

import logging
import re
from typing import Any, Final, Literal

import discord
from pythonjsonlogger.json import JsonFormatter

from cogs.core.storage.creations import Creation

log = logging.getLogger(__name__)
TOKENS: Final = re.compile(r"""(/(?:webhooks|interactions)/\d+/|["']token["']: ?["'])[^"'/?\s]+""")
TEXT: Final = "%(asctime)s %(levelname)-8s %(name)s %(message)s"
JSON_FIELDS: Final = {"asctime": "time", "levelname": "level", "name": "logger", "message": "message"}


class Discreet(logging.StreamHandler[Any]):
    """Logs to the terminal, without the tokens that addresses and gateway events hold, nor ``secret``."""

    def __init__(self, secret: str) -> None:
        super().__init__()
        self.secret = secret

    def format(self, record: logging.LogRecord) -> str:
        """Word ``record`` with its secrets blanked."""
        text = TOKENS.sub(r"\1[secret]", super().format(record))
        return text.replace(self.secret, "[secret]") if self.secret else text


def set_up(level: str, form: Literal["text", "json"], secret: str) -> None:
    """Let everything of at least ``level`` be logged in that form; the name of a level as `logging` has it."""
    handler = Discreet(secret)
    formatter: logging.Formatter
    if form == "json":
        formatter = JsonFormatter([*JSON_FIELDS], rename_fields={name: to for name, to in JSON_FIELDS.items() if name != to})
    else:
        formatter = logging.Formatter(TEXT)
    discord.utils.setup_logging(handler=handler, formatter=formatter, level=logging.getLevelNamesMapping()[level])
    logging.getLogger("alembic").setLevel(logging.WARNING)


def log_creation(creation: Creation) -> None:
    """Write down what became of a request, by its id; a watcher of the `CreationStore`."""
    log.info("%r", creation, extra=_facts(creation))


def log_creation_with_prompt(creation: Creation) -> None:
    """Like `log_creation`, with the words that were typed and the sentence that was answered."""
    prompt = (creation.request or {}).get("prompt")
    words = {"prompt": prompt, "error": creation.error}
    log.info("%r %r", creation, prompt, extra=_facts(creation) | {name: value for name, value in words.items() if value})


def _facts(creation: Creation) -> dict[str, Any]:
    return {"creation": creation.id, "state": str(creation.state), "owner": creation.owner, "guild": creation.guild_id}
