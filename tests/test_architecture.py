"""What the import contracts in pyproject.toml cannot say."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def imported_modules(path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("folder", ["tests", "benchmarks"])
def test_test_modules_are_not_imported(folder):
    for path in (ROOT / folder).rglob("*.py"):
        for module in imported_modules(path):
            name = module.rpartition(".")[2]
            assert not name.startswith("test_"), f"{path} imports {module}"
            assert name != "conftest", f"{path} imports {module}"


@pytest.mark.parametrize("module", ["cogs.imagine", "cogs.core.messages.render", "diffusion.serving.batcher"])
def test_module_loads_without_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
