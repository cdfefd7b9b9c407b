"""No secret is in a log or in a sentence."""

import json
import logging

import pytest

from bot import Config
from cogs.core.i18n.catalogues import translate
from cogs.core.logging import RedactingHandler
from diffusion import redaction
from diffusion.errors import DarkroomError, ModelLoadError
from diffusion.redaction import add_secrets, redact, secrets_of

HF_TOKEN = "hf_" + "a1B2" * 8
DISCORD_TOKEN = "MTIzNDU2Nzg5MDEyMzQ1Njc4.GabcdE.abcdefghijklmnopqrstuvwxyz0123456789AB"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("connect to postgresql+asyncpg://bot:hunter2@db/darkroom failed", "hunter2"),
        ("connect to postgresql://bot:p@ss:w0rd@db/darkroom failed", "w0rd"),
        ("GET https://b.s3.amazonaws.com/1.png?X-Amz-Credential=AKIA9/x&X-Amz-Signature=0123abcd failed", "0123abcd"),
        ("GET https://b.s3.amazonaws.com/1.png?X-Amz-Security-Token=IQoJb3J%2F&x=1", "IQoJb3J"),
        ("https://b.storage.googleapis.com/1.png?X-Goog-Signature=99aa", "99aa"),
        ("https://b.blob.core.windows.net/c/1?sv=1&sig=Zm9v%3D&se=2", "Zm9v"),
        ("https://cdn.discordapp.com/attachments/1/2/a.png?ex=1&is=2&hm=feed", "feed"),
        ("https://civitai.com/api/download/models/1?token=0a1b2c", "0a1b2c"),
        ("headers {'Authorization': 'Bearer abcdefghijkl'}", "abcdefghijkl"),
        ("Authorization: Basic Zm9vOmJhcg==", "Zm9vOmJhcg"),
        ("X-Darkroom-Secret: opensesame", "opensesame"),
        (f"401 for {HF_TOKEN}", HF_TOKEN),
        (f"token {DISCORD_TOKEN} refused", DISCORD_TOKEN),
        ("DefaultEndpointsProtocol=https;AccountKey=Zm9vYmFy==", "Zm9vYmFy"),
    ],
)
def test_what_looks_like_a_secret_is_blanked(text, secret):
    assert secret not in redact(text) and redaction.BLANK in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "a red fox, key light: soft; tokens of love",
        "http://127.0.0.1:8000/tiny answers",
        "see https://example.com/a?x=1&page=2, or mail@example.com",
        "The prompt has 80 tokens and this model reads 75: the rest would be ignored.",
    ],
)
def test_ordinary_text_stays(text):
    assert redact(text) == text


@pytest.mark.parametrize("written", ["p/w w%ä'\"x", "p%2Fw%20w%25%C3%A4%27%22x", r"p/w w%ä'\"x", r"p/w w%\u00e4'\"x"])
def test_configured_secret_is_blanked_however_it_is_written(written):
    add_secrets(["p/w w%ä'\"x"])
    assert redact(f"with {written} here") == "with [secret] here"


def test_passwords_of_addresses_are_blanked_outside_them():
    add_secrets(["postgresql+asyncpg://bot:correct%20horse@db/darkroom", "s3://key9:battery9@bucket?token=staple9"])
    assert redact("correct horse, correct%20horse, battery9, staple9") == ", ".join([redaction.BLANK] * 4)
    assert redact("bot and darkroom and bucket") == "bot and darkroom and bucket"


def test_password_that_is_an_ordinary_name_is_blanked_in_addresses_alone():
    add_secrets(["postgresql+asyncpg://darkroom:darkroom@database/darkroom"])
    assert (
        redact("darkroom: postgresql://darkroom:darkroom@database/x") == "darkroom: postgresql://darkroom:[secret]@database/x"
    )


def test_environment_holds_secrets_by_name():
    variables = {
        "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI",
        "HUGGING_FACE_HUB_TOKEN": "0123456789",
        "AZURE_STORAGE_CONNECTION_STRING": "AccountName=x",
        "REDIS": "redis://:abc123456@host",
        "KEYBOARD": "us-english",
        "HOME": "/root/home",
    }
    assert set(secrets_of(variables)) == {"wJalrXUtnFEMI", "0123456789", "AccountName=x", "redis://:abc123456@host"}


def test_config_names_its_secrets(monkeypatch):
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session-token-1")
    config = Config(
        _env_file=None, discord_token="discord-1", hf_token="hugging-1", database_url="postgresql://u:data-1@h/d",
        pictures_url="s3://a:picture-1@b", engine="http://e:engine-1@h",
    )  # fmt: skip
    add_secrets(config.secrets)
    for secret in ("discord-1", "hugging-1", "data-1", "picture-1", "engine-1", "session-token-1"):
        assert redact(f"<{secret}>") == "<[secret]>"


def test_sentences_hold_no_secret():
    add_secrets(["opensesame"])
    error = ModelLoadError("https://u:opensesame@h/m", "opensesame was refused")
    assert "opensesame" not in str(error) and "opensesame" not in translate("de", error)
    assert str(DarkroomError("Nothing secret here.")) == "Nothing secret here."


@pytest.mark.parametrize("form", ["%(message)s", None])
def test_log_holds_no_secret_and_stays_json(form, capsys):
    from pythonjsonlogger.json import JsonFormatter

    add_secrets(['open"sesame'])
    handler = RedactingHandler()
    handler.setFormatter(logging.Formatter(form) if form else JsonFormatter())
    try:
        raise ValueError('open"sesame in Authorization: Bot abcdefgh"x')
    except ValueError:
        record = logging.getLogger("x").makeRecord("x", 40, "", 0, 'open"sesame', (), __import__("sys").exc_info())
    handler.emit(record)
    logged = capsys.readouterr().err
    assert "sesame" not in logged and "abcdefgh" not in logged
    if form is None:
        assert json.loads(logged)["message"] == redaction.BLANK
