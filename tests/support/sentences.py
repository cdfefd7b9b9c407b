"""Finds every English template that the bot may say, in its source: what errors and `say` are given."""

import ast
import importlib
from dataclasses import dataclass, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cogs.core.i18n.catalogues import say
from diffusion.errors import InvalidRequestError, ModelLoadError
from diffusion.text import Plural, Text

ROOT = Path(__file__).parents[2]
# What only whoever runs the bot reads, in a terminal or a log, stays English.
OPERATORS = {
    *(
        "cogs.core.storage.object_store",
        "cogs.core.storage.database",
        "cogs.core.storage.lease",
        "cogs.core.metrics",
        "cogs.core.config",
        "cogs.core.simulator.browser",
        "cogs.core.sharding",
    ),
    *("cogs.core.request.styles", "diffusion.__main__"),
}
SKIPPED = ("cogs.core.storage.migrations", "diffusion.training", "diffusion.cluster", "cogs.core.messages.decode_sandbox")
UNHEARD = {
    "Deleted messages could not be noted.",
    "The counts of past days could not be deleted.",
    "The settings cannot be read.",
}


@dataclass(frozen=True)
class Said:
    """A template, where it stands and what is put into its gaps; None where the source does not tell."""

    template: str
    where: str
    values: frozenset[str] | None


@cache
def all_said() -> list[Said]:
    """Read all modules of cogs and diffusion."""
    found = []
    for path in sorted([*ROOT.glob("cogs/**/*.py"), *ROOT.glob("diffusion/**/*.py")]):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if not name.startswith(SKIPPED) and name not in {*OPERATORS, "cogs.core.i18n.catalogues"}:
            found += _said_in(ast.parse(path.read_text("utf-8")), vars(importlib.import_module(name)), name)
    return [said for said in found if said.template and said.template not in UNHEARD]


def _said_in(tree: ast.Module, known: dict[str, Any], name: str) -> list[Said]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (template := _template(node, known)) is not None:
            where = f"{name}:{node.lineno}"
            values = {keyword.arg for keyword in node.keywords}
            named = None if None in values else frozenset(filter(None, values))
            found += [Said(text, where, named) for text in _texts(template, known, where)]
    return found


def _template(call: ast.Call, known: dict[str, Any]) -> ast.expr | None:
    """Give the argument of ``call`` that is a template, if any."""
    called = known.get(call.func.id) if isinstance(call.func, ast.Name) else None
    if called is say:
        return call.args[1]
    if isinstance(called, type) and issubclass(called, Text) and called is not ModelLoadError and call.args:
        return call.args[issubclass(called, InvalidRequestError)]
    if isinstance(call.func, ast.Attribute) and call.func.attr == "transaction":
        return None if isinstance(call.args[0], ast.JoinedStr) else call.args[0]  # those are for the log alone
    if (
        ast.unparse(call.func) == "super().__init__"
        and call.args
        and not call.keywords
        and isinstance(call.args[0], ast.Constant)
    ):
        return call.args[0] if "DarkroomError" in known and not call.keywords else None
    return None


def _texts(node: ast.expr, known: dict[str, Any], where: str) -> list[str]:
    return [text for value in _values(node, known, where) for text in _strings(value)]


def _values(node: ast.expr, known: dict[str, Any], where: str) -> list[Any]:
    """Give all that ``node`` may be: a literal, one of two, a constant of its module, or something of a table there.

    An attribute of anything else is that of the module's constants that have one of this name.
    """
    if isinstance(node, ast.Constant):
        return [node.value]
    if isinstance(node, ast.Call) and ast.unparse(node.func) in ("plural", "N_"):
        return [argument.value for argument in node.args[:2] if isinstance(argument, ast.Constant)]
    if isinstance(node, ast.IfExp):
        return [*_values(node.body, known, where), *_values(node.orelse, known, where)]
    if isinstance(node, ast.Name) and node.id in known:
        return [known[node.id]]
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id not in known:
        kinds = [value for value in known.values() if is_dataclass(value) and not isinstance(value, type)]
        if found := [getattr(kind, node.attr) for kind in kinds if hasattr(kind, node.attr)]:
            return found
    elif isinstance(node, ast.Attribute):
        return [getattr(value, node.attr) for value in _values(node.value, known, where)]
    if isinstance(node, ast.Subscript):
        tables = _values(node.value, known, where)
        if isinstance(node.slice, ast.Constant):
            return [table[node.slice.value] for table in tables]
        return [value for table in tables for value in (table.values() if isinstance(table, dict) else table)]
    raise AssertionError(f"{where}: {ast.unparse(node)} is no literal and no constant, so nobody can translate it")


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Plural):
        return [value.one, value.many]
    return [text for each in (value.values() if isinstance(value, dict) else value) for text in _strings(each)]
