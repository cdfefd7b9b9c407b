"""The walls of the house: who may know whom."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize(("room", "stranger"), [("cogs", "torch"), ("cogs", "diffusers"), ("diffusion", "discord")])
def test_a_room_does_not_import_what_belongs_to_another(room, stranger):
    assert [path.name for path in (ROOT / room).rglob("*.py") if stranger in imports(path)] == []


@pytest.mark.parametrize("policy", ["batcher", "latency", "routing"])
def test_policy_knows_neither_tensors_nor_discord_nor_a_clock_nor_a_cluster(policy):
    assert not {"torch", "discord", "time", "asyncio", "ray"} & set(imports(ROOT / "diffusion" / "serving" / f"{policy}.py"))


def test_requests_and_their_rendering_load_without_torch():
    modules = "cogs.core.messages.render, cogs.core.request.options, diffusion.serving.batcher"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
