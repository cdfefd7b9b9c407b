import pytest

from tests.support.programs import user_with


@pytest.fixture
def user(tmp_path):
    """Runs a command with an empty cache of its own."""
    return user_with(tmp_path / "cache")
