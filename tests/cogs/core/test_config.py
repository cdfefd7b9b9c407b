"""Settings that the environment or .env writes as texts."""

import pytest
from pydantic import ValidationError

from cogs.core.config import Config, format_validation_error


@pytest.mark.parametrize(
    ("text", "value"),
    [("", "auto"), ("auto", "auto"), ("AUTO", "auto"), ("true", True), ("1", True), ("false", False), ("no", False)],
)
def test_compile_is_auto_true_or_false(monkeypatch, text, value):
    monkeypatch.setenv("COMPILE", text)
    assert Config(_env_file=None).compile == value


def test_compile_is_auto_unless_set(monkeypatch):
    monkeypatch.delenv("COMPILE", raising=False)
    assert Config(_env_file=None).compile == "auto"


def test_compile_refuses_other_words_by_name(monkeypatch):
    monkeypatch.setenv("COMPILE", "fast")
    with pytest.raises(ValidationError) as caught:
        Config(_env_file=None)
    assert format_validation_error(caught.value) == "The setting COMPILE is wrong: write auto, true or false"


@pytest.mark.parametrize("name", ["METRICS_HOST", "DASHBOARD_HOST"])
def test_empty_address_is_this_machine(monkeypatch, name):
    monkeypatch.setenv(name, "")
    assert getattr(Config(_env_file=None), name.lower()) == "127.0.0.1"
