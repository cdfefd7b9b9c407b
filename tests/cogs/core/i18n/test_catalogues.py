"""Every text of the bot has a current, complete translation in each language."""

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.pofile import read_po
from babel.util import pathmatch

from cogs.core.i18n import catalogues
from cogs.core.i18n.catalogues import LANGUAGE_BY_LOCALE, catalogue_path, command_name, translations
from cogs.core.i18n.extract import template_argument
from cogs.core.request.preferences import LANGUAGE_NAMES
from diffusion.text import PLACEHOLDER

ROOT = Path(__file__).parents[4]
FOLDER = Path(catalogues.__file__).parent
TRANSLATED = sorted(set(LANGUAGE_BY_LOCALE.values()))
UPDATE = "cogs/core/i18n/README.md says how to update the catalogues."


@cache
def mapping():
    with (FOLDER / "babel.cfg").open() as file:
        return parse_mapping_cfg(file)


@cache
def sources():
    """Return the files that pybabel reads, with their syntax trees."""
    patterns, _ = mapping()
    found = {}
    for path in sorted([*ROOT.glob("cogs/**/*.py"), *ROOT.glob("diffusion/**/*.py")]):
        name = path.relative_to(ROOT).as_posix()
        method = next((method for pattern, method in patterns if pathmatch(pattern, name)), "ignore")
        if method != "ignore":
            found[path] = ast.parse(path.read_text("utf-8"))
    return found


@cache
def extracted():
    """Return the messages in the source, by context and text, as pybabel extracts them."""
    found = extract_from_dir(ROOT, *mapping())
    return {(context, message) for _, _, message, _, context in found}


@cache
def catalogue(language):
    with catalogue_path(language).open("rb") as file:
        return read_po(file)


def messages(language):
    return [message for message in catalogue(language) if message.id]


def plurals():
    return sorted(message for _, message in extracted() if isinstance(message, tuple))


def forms(text):
    return [text] if isinstance(text, str) else list(text)


def gaps(template):
    return Counter(PLACEHOLDER.findall(template))


def counted_words(template):
    """Return the words that follow a gap, without verbs and French “de”."""
    return set(re.findall(r"(?<!x)\{\w+\}\W* (\w+)", template)) - {"is", "are", "de"}


def commands(template):
    return re.findall(r"`/([^`]+)`", template)


def calls():
    """Yield each call in the source that takes a template as a literal, with that template's forms."""
    for path, tree in sources().items():
        for node in ast.walk(tree):
            template = template_argument(node) if isinstance(node, ast.Call) else None
            if isinstance(template, ast.Call) and ast.unparse(template.func) == "plural":
                yield f"{path.name}:{node.lineno}", node, [ast.literal_eval(form) for form in template.args[:2]]
            elif isinstance(template, ast.Constant) and ast.unparse(node.func) != "N_":
                yield f"{path.name}:{node.lineno}", node, [template.value]


@cache
def constants(path):
    """Return the values of the constants of a module by name, imported ones among them."""
    found = {}
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {ast.unparse(target): node.value for target in targets}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(("cogs.", "diffusion.")):
            module = ROOT / f"{node.module.replace('.', '/')}.py"
            known = constants(module) if module.exists() else {}
            found |= {alias.name: known[alias.name] for alias in node.names if alias.name in known}
    return found


def constants_used_as_templates():
    """Yield where a call takes a template from a constant, and the value of that constant."""
    for path, tree in sources().items():
        for node in ast.walk(tree):
            template = template_argument(node) if isinstance(node, ast.Call) else None
            for name in ast.walk(template) if template else ():
                if isinstance(name, ast.Name) and name.id in constants(path):
                    yield f"{path.name}:{node.lineno}", constants(path)[name.id]


def test_catalogues_exist_for_every_language_choice():
    assert {"en", *TRANSLATED} == set(LANGUAGE_NAMES)


def test_template_is_what_pybabel_extracts():
    with (FOLDER / "darkroom.pot").open("rb") as file:
        template = {(message.context, message.id) for message in read_po(file) if message.id}
    assert template == extracted(), UPDATE


@pytest.mark.parametrize("language", TRANSLATED)
def test_catalogue_is_current_and_complete(language):
    assert {(message.context, message.id) for message in messages(language)} == extracted(), UPDATE
    assert not catalogue(language).obsolete, UPDATE
    assert not [message.id for message in messages(language) if message.fuzzy or not all(forms(message.string))], UPDATE


@pytest.mark.parametrize("language", TRANSLATED)
def test_translation_has_the_gaps_of_the_english_text(language):
    for message in messages(language):
        for form in forms(message.string):
            assert gaps(form) == gaps(forms(message.id)[-1]), form


@pytest.mark.parametrize("language", TRANSLATED)
def test_translation_names_commands_as_members_see_them(language):
    for message in messages(language):
        for form in forms(message.string):
            names = [
                " ".join(command_name(language, word) for word in name.split()) for name in commands(forms(message.id)[-1])
            ]
            assert commands(form) == names, form


@pytest.mark.parametrize("count", [0, 1, 2, 5])
@pytest.mark.parametrize("language", ["en", *TRANSLATED])
def test_plural_has_a_form_for_every_number(language, count):
    for one, many in plurals():
        form = translations(language).ngettext(one, many, count)
        assert form and gaps(form) == gaps(many), form


@pytest.mark.parametrize("language", ["en", *TRANSLATED])
def test_text_never_counts_one_thing_with_a_plural_noun(language):
    texts = translations(language)
    forms_of = [(texts.ngettext(one, many, 1), texts.ngettext(one, many, 2)) for one, many in plurals()]
    plural_nouns = set().union(*(counted_words(many) - counted_words(one) for one, many in forms_of))
    others = [texts.gettext(message) for context, message in extracted() if isinstance(message, str) and context is None]
    for text in [*(one for one, _ in forms_of), *others]:
        assert not counted_words(text) & plural_nouns, text


def test_text_that_counts_things_is_a_plural():
    verbs = "is|as|has|does|this|draws|takes|shows|was|needs|explains|lists|contains|wins|begins"
    counted = re.compile(rf"(?<!x)\{{\w+\}} (?!({verbs})\b)[a-z]+s\b")
    assert [message for _, message in extracted() if isinstance(message, str) and counted.search(message)] == []


def test_call_gives_a_value_for_every_gap():
    for place, call, templates in calls():
        names = {keyword.arg for keyword in call.keywords}
        if None not in names:  # no **values
            missing = {gap for template in templates for gap in gaps(template)} - names - {"field"}
            assert not missing, f"{place}: {missing}"


def test_template_in_a_constant_is_marked():
    known = {text for _, message in extracted() for text in forms(message)}
    for place, value in constants_used_as_templates():
        texts = {node.value for node in ast.walk(value) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
        assert not texts or texts & known, f"{place}: mark the template with N_"
