"""Patience with the database of a busy machine."""

import pytest

from cogs.core.dashboard import board, opening
from tests.support.waiting import WAIT_SECONDS


@pytest.fixture(autouse=True)
def patient_with_the_database(monkeypatch):
    monkeypatch.setattr(board, "PATIENCE_SECONDS", WAIT_SECONDS)
    monkeypatch.setattr(opening, "WITHDRAW_SECONDS", WAIT_SECONDS)
