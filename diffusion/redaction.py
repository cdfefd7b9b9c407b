"""Blank secrets in logs and sentences: those that were configured, and what looks like one."""

import json
import os
import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

BLANK: Final = "[secret]"
MIN_LENGTH: Final = 4  # of a configured secret: anything shorter would blank parts of common words
MIN_LENGTH_IN_ENVIRONMENT: Final = 8  # where only the name of a variable says that it is secret
SECRET_NAME: Final = re.compile(
    r"TOKEN|SECRET|PASSW|PASSPHRASE|CREDENTIAL|API_?KEY|ACCESS_KEY|ACCOUNT_KEY|PRIVATE_KEY|CONNECTION_STRING|SAS$|_AUTH$",
    re.IGNORECASE,
)
PATTERNS: Final = [  # each keeps its first group
    re.compile(r"(://[^\s/:@'\"\\]{0,200}:)[^\s/'\"\\]{1,500}(?=@)"),  # a password in an address
    re.compile(
        r"([?&;](?:X-(?:Amz|Goog)-(?:Signature|Credential|Security-Token)|Signature|sig|secret|[\w-]{0,40}token|[\w-]{0,40}key"
        r"|password|passwd|pwd|Policy|Key-Pair-Id|GoogleAccessId|AWSAccessKeyId|hm)=)[^&;\s'\"<>\\]+",
        re.IGNORECASE,
    ),
    re.compile(
        r"((?:Authorization|X-[\w-]{0,40}(?:Token|Secret|Key))['\"]?\s?[:=]\s?['\"]?(?:(?:Bearer|Basic|Bot|Token)\s)?)"
        r"[^\s'\",\\]+",
        re.IGNORECASE,
    ),
    re.compile(r"(\bBearer\s)[\w.~+/=-]{8,}"),
    re.compile(r"()\b(?:hf_\w{16,}|(?:AKIA|ASIA)[0-9A-Z]{16}|gh[pousr]_\w{30,})\b"),  # of Hugging Face, AWS and GitHub
    re.compile(r"()\b[\w-]{23,28}\.[\w-]{6,7}\.[\w-]{27,45}\b"),  # of bots on Discord
    re.compile(r"(AccountKey=)[\w+/=]+"),  # of Azure
]
QUERY_NAMES: Final = ("sig", "signature", "key", "secret", "pwd", "hm")
USER_AND_PASSWORD: Final = re.compile(r"://([^:/@]*):([^@]*)@")  # as SQLAlchemy reads them: a password may contain a slash
_configured: set[str] = set()
_pattern: re.Pattern[str] | None = None


def add_secrets(secrets: Iterable[str]) -> None:
    """Blank each of ``secrets`` from now on, in each way in which it may be written.

    Of an address, only the password and the values of its query are secret.
    """
    global _pattern
    for secret in secrets:
        for part in _secret_parts(secret.strip()):
            if len(part) >= MIN_LENGTH:
                written = {part, quote(part), quote(part, safe=""), quote_plus(part), unquote(part)}
                for escape in (json.dumps, partial(json.dumps, ensure_ascii=False), repr):
                    written |= {escape(text)[1:-1] for text in written}
                _configured.update(written)
    longest_first = sorted(_configured, key=len, reverse=True)
    _pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None


def secrets_of(variables: Mapping[str, str | None] = os.environ) -> list[str]:
    """Return the values of those environment ``variables`` that hold secrets by their name or as an address."""
    named = [value for name, value in variables.items() if value and SECRET_NAME.search(name) and _is_long(value)]
    return named + [value for value in variables.values() if value and "://" in value and "@" in value]


def redact(text: str) -> str:
    """Return ``text`` with its secrets replaced by ``[secret]``."""
    if _pattern:
        text = _pattern.sub(BLANK, text)
    for pattern in PATTERNS:
        text = pattern.sub(rf"\1{BLANK}", text)
    return text


def _is_long(value: str) -> bool:
    return len(value) >= MIN_LENGTH_IN_ENVIRONMENT and not os.path.exists(value)


def _secret_parts(secret: str) -> set[str]:
    if "://" not in secret:
        return {secret, *secret.splitlines()}
    try:
        parts = urlsplit(secret)
        queried = {value for name, value in parse_qsl(parts.query) if SECRET_NAME.search(name) or name.lower() in QUERY_NAMES}
    except ValueError:  # no address after all
        return {secret}
    found = USER_AND_PASSWORD.search(secret)
    user, *passwords = found.groups() if found else [""]
    # A password such as that of compose.yaml, which is also the name of the user, is blanked in addresses alone.
    return {password for password in passwords if password not in ("", user, unquote(user), parts.path.strip("/"))} | queried
