"""Find the texts that need a translation: the extraction method of babel.cfg.

Babel's own method for Python finds texts by the names of functions only. This one also reads the names and descriptions of
commands, which discord.py takes from decorators, docstrings and parameters.
"""

import ast
import builtins
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

from discord.app_commands import Command, Group
from discord.ext.commands import Cog

from cogs.core.i18n.catalogues import COMMAND, SETTING, SETTINGS

ROOT: Final = Path(__file__).parents[3]
TEMPLATE_ARGUMENT: Final = {"N_": 0, "Text": 0, "say": 1, "transaction": 0, "InvalidRequestError": 1}  # other errors: 0
INTERNAL_ERRORS: Final = {
    *dir(builtins), "BrokenFrameError", "DatabaseUnavailableError", "DisconnectionError", "IngressError",
    "MessageUnreadableError", "ModelLoadError", "StoppedError", "UndeliverableError", "UnreadableError",
}  # fmt: skip
Message = tuple[int, str, str | tuple[str, ...], list[str]]  # line, gettext's function, its arguments, comments


def extract(source: BinaryIO, keywords: Any, comment_tags: Any, options: Any) -> Iterator[Message]:
    """Yield the messages of a Python file, in the form that Babel expects."""
    yield from sorted(_templates(ast.parse(source.read())))
    module = ".".join(Path(source.name).resolve().relative_to(ROOT).with_suffix("").parts)
    if module == "cogs.core.i18n.catalogues":
        yield from (_message(SETTING, name) for name in SETTINGS)
    if module.startswith("cogs."):
        for cog in _cogs(module):
            yield from _cog_messages(cog)


def template_argument(call: ast.Call) -> ast.expr | None:
    """Return the argument of ``call`` that is a template, None where it takes none."""
    name = _function_name(call)
    position = TEMPLATE_ARGUMENT.get(name)
    if position is None and name.endswith("Error") and name not in INTERNAL_ERRORS:
        position = 0
    return call.args[position] if position is not None and position < len(call.args) else None


def _function_name(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")


def _templates(tree: ast.AST) -> Iterator[Message]:
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if _function_name(call) == "plural":
            yield call.lineno, "ngettext", tuple(ast.literal_eval(form) for form in call.args[:2]), []
        elif _function_name(call) == "ContextMenu":
            yield from (_message(COMMAND, ast.literal_eval(each.value)) for each in call.keywords if each.arg == "name")
        elif isinstance(template := template_argument(call), ast.Constant):
            yield template.lineno, "gettext", str(template.value), []


def _cogs(module: str) -> list[type[Cog]]:
    members = vars(importlib.import_module(module)).values()
    return [each for each in members if isinstance(each, type) and issubclass(each, Cog) and each.__module__ == module]


def _cog_messages(cog: type[Cog]) -> Iterator[Message]:
    if cog.__cog_is_app_commands_group__:
        yield _message(COMMAND, str(cog.__cog_group_name__))
        yield _message(None, str(cog.__cog_group_description__))
    for command in cog.__cog_app_commands__:
        yield from _command_messages(command)


def _command_messages(command: Command[Any, ..., Any] | Group) -> Iterator[Message]:
    yield _message(COMMAND, command.name)
    yield _message(None, command.description)
    if isinstance(command, Group):
        for child in command.commands:
            yield from _command_messages(child)
        return
    for parameter in command.parameters:
        yield _message(COMMAND, parameter.display_name)
        yield _message(None, str(parameter.description))
        yield from (_message(None, choice.name) for choice in parameter.choices if isinstance(choice.value, str))


def _message(context: str | None, text: str) -> Message:
    if context is None:
        return 0, "gettext", text, []
    return 0, "pgettext", (context, text), []
