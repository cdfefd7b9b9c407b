import pytest

from tests.support.programs import run


@pytest.fixture
def user(tmp_path):
    """Runs a command with an empty cache of its own."""

    def start(*arguments, **environment):
        own = {"HF_HOME": str(tmp_path / "cache"), "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": ""}
        return run(*arguments, **own | environment)

    return start
