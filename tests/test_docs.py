"""The documentation names only what exists: links, anchors, settings and permissions."""

import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import discord
import pytest
from babel.messages.pofile import read_po

from cogs.core.config import Config

ROOT = Path(__file__).parents[1]
SKIPPED = {"runs", "data", "build", "node_modules"}
DOCUMENTS = [
    path
    for path in sorted(ROOT.rglob("*.md"))
    if not any(part.startswith(".") or part in SKIPPED for part in path.relative_to(ROOT).parts)
]
LINK = re.compile(r"\]\(([^)\s]+)\)")


def text_of(document):
    """Return the text of ``document`` without its code blocks."""
    return re.sub(r"^ *```.*?^ *```$", "", document.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(document):
    """Return the anchors that GitHub gives the headings of ``document``."""
    headings = re.findall(r"^#+ (.+)$", text_of(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_exist(document):
    broken = []
    for link in LINK.findall(text_of(document)):
        target = urlsplit(link)
        if target.scheme:
            continue
        path = (document.parent / target.path).resolve() if target.path else document
        if not path.exists() or (target.fragment and target.fragment not in anchors(path)):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_named_test_files_and_modules_exist(document):
    text = document.read_text("utf-8")
    files = re.findall(r"\btests/[\w/]+\.py\b", text)
    modules = re.findall(r"python -m ((?:benchmarks|diffusion|tests)[.\w]*)", text)
    files += [f"{module.replace('.', '/')}" for module in modules]
    named = [name for name in files if "NAME" not in name]  # NAME stands for a new one
    assert not [name for name in named if not (ROOT / name).exists() and not (ROOT / f"{name}.py").exists()]


def test_benchmarks_table_matches_the_commands():
    text = (ROOT / "benchmarks" / "README.md").read_text("utf-8")
    listed = set(re.findall(r"^\| `([\w.]+)", text.partition("## ")[0], re.MULTILINE)) - {"python"}
    commands = {path for path in (ROOT / "benchmarks").rglob("*.py") if '__name__ == "__main__"' in path.read_text("utf-8")}
    names = {".".join(path.relative_to(ROOT / "benchmarks").with_suffix("").parts) for path in commands}
    not_listed = {"__main__", "soak.observed_bot"}  # the one for all, and one that soak starts
    assert {name.removesuffix(".__main__") for name in names} - not_listed == listed


def test_readme_has_at_most_900_words():
    assert len((ROOT / "README.md").read_text("utf-8").split()) <= 900


def test_invite_link_asks_for_the_permissions_that_the_readme_names():
    readme = (ROOT / "README.md").read_text("utf-8")
    (link,) = re.findall(r"https://discord\.com/oauth2/authorize\S+", readme)
    (sentence,) = re.findall(r"The permissions are ([^.]+)\.", readme)
    asked = discord.Permissions(int(parse_qs(urlsplit(link).query)["permissions"][0]))
    named = {name.strip().lower().replace(" ", "_") for name in re.split(", | and ", sentence)}
    in_client = {"read_messages": "view_channels"}  # discord.py's name for what Discord's client calls View Channels
    assert {in_client.get(name, name) for name, value in asked if value} == named


def test_env_example_explains_every_setting():
    example = (ROOT / ".env.example").read_text("utf-8")
    named = set(re.findall(r"^([A-Z_]+)=", example, re.MULTILINE))
    assert named == {name.upper() for name in Config.model_fields}


def test_env_example_holds_the_defaults(tmp_path, monkeypatch):
    for name in Config.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    assert Config(_env_file=ROOT / ".env.example") == Config(_env_file=tmp_path / "none")


def test_engine_example_runs(tmp_path):
    examples = re.findall(r"```python\n(.*?)```", (ROOT / "diffusion" / "README.md").read_text("utf-8"), re.DOTALL)
    (code,) = [example for example in examples if "Engine(" in example]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "apple.png").exists()


def test_tour_waits_for_texts_that_the_bot_shows():
    tour = (ROOT / "benchmarks" / "tour.py").read_text("utf-8")
    awaited = re.findall(r'(?:find_message\(|name=|choose\(\w+, )"([^"]*[a-z][^"]*)"', tour)
    with (ROOT / "cogs" / "core" / "i18n" / "darkroom.pot").open("rb") as file:
        texts = [text for message in read_po(file) for text in _forms(message.id)]
    shapes = [re.compile(re.sub(r"\\\{\w+\\\}", ".+", re.escape(text))) for text in texts if text]

    def is_shown(words):
        return any(words in text for text in texts) or any(shape.fullmatch(words) for shape in shapes)

    own_words = {"Submit", "imagine"}  # of the page
    assert len(awaited) > 5
    assert [words for words in awaited if words not in own_words and not is_shown(words)] == []


def _forms(text):
    return text if isinstance(text, tuple) else (text,)
