"""Whatever text comes in: an answer that Discord takes, or one of our own errors. ``--fuzz 10000`` for the long form."""

import contextlib
import functools
import re
import unicodedata

import discord
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cogs.core.messages import render, views
from cogs.core.messages.message import PictureFile, Result
from cogs.core.request import prompt as prompt_module
from cogs.core.request.flags import parse_flags
from cogs.core.request.options import parse_size
from cogs.core.request.prompt import expand, prompt_fields, prompt_source
from cogs.core.storage.creations import Creation, request_from_json, request_to_json
from diffusion.errors import DarkroomError, InvalidRequestError
from diffusion.images.io import to_png
from diffusion.images.parameters import read_parameters
from diffusion.request import MAX_SEED, SAMPLER_NAMES, ImageRequest

anything = st.text(st.characters(), max_size=1200)  # lone surrogates, too
requests = st.builds(
    ImageRequest,
    prompt=st.text(min_size=1, max_size=1000).filter(str.strip),
    negative_prompt=st.text(max_size=1000),
    width=st.integers(1, 4096),
    height=st.integers(1, 4096),
    steps=st.integers(50, 150),
    guidance_scale=st.floats(0, 50),
    sampler=st.sampled_from(sorted(SAMPLER_NAMES)),
    seed=st.integers(0, MAX_SEED),
    count=st.integers(1, 4),
    start_step=st.integers(0, 49),
)


@given(anything)
def test_prompt_fields_hold_or_reject_any_clean_text(prompt):
    cleaned = prompt_module.clean(prompt)
    try:
        text = prompt_fields(cleaned, (cleaned,), 1)["prompt"]
    except InvalidRequestError:
        return
    text.encode()
    assert text == prompt_module.clean(text) and len(text) <= prompt_module.PROMPT_LIMIT
    joiners = prompt_module.JOINERS
    tags = map(chr, prompt_module.FLAG_LETTERS)
    shown = {*joiners, *tags}
    assert all(character.isprintable() or unicodedata.category(character) == "Cn" or character in shown for character in text)


def again(text):
    return ImageRequest(**prompt_fields(text, expand(text), 1))


@given(st.text("ab {|}\\", max_size=60))
def test_prompt_source_restores_any_braces(prompt):
    try:
        request = again(prompt)
    except InvalidRequestError:
        return
    assert again(prompt_source(request)) == request


TYPED = "fox 7 3:2 --seed --no —ar –cfg -- - --zz --tile --style raw --ar=1:1 --v “a” 'b'--seed , a--ar −−ar --no-x Euler a"


@given(st.lists(st.sampled_from(TYPED.split())).map(" ".join))
def test_parse_flags_removes_or_rejects_any_flags(prompt):
    parsed = parse_flags(prompt)
    assert parsed.errors or parse_flags(parsed.text).settings == {}


MANY_ACTIONS = sorted(
    (
        views.ResultAction(
            f"act{rank}", None, "Act", "🎩", rank=rank, of_picture=rank % 20 == 0, letter="U" if rank < 30 else ""
        )
        for rank in range(10, 200, 10)
    ),
    key=lambda action: action.rank,
)


def rows_of(actions, creation, pictures):
    result_actions = views.ResultActions()
    result_actions.add(*actions)
    return result_actions.rows(creation, pictures)


@given(requests)
def test_result_of_any_request_fits_discord_without_mentions(request):
    pictures = render.result_pictures(request, [b""] * request.count)
    texts = render.title(request.prompt), render.settings_line(request, request.seeds)
    rows = functools.partial(rows_of, MANY_ACTIONS, Creation(id=2**64 - 1, owner=2**64 - 1), len(pictures))
    layout = Result(texts[0], pictures, footer=texts[1], rows=rows).layout()
    assert layout.content_length() <= 4000 and layout.total_children_count <= 40
    assert not re.search(r"@everyone|@here|<@[!&]?\d{15,}>|https?://", " ".join(texts))
    assert len({picture.description for picture in pictures}) == request.count
    assert all(1 <= len(picture.description) <= 1024 for picture in pictures)


@given(requests)
def test_request_from_json_inverts_request_to_json(request):
    assert request_from_json(request_to_json(request), None) == request


@given(anything)
def test_parse_size_reads_or_rejects_any_text(text):
    try:
        width, height = parse_size(text)
    except InvalidRequestError:
        return
    assert 0 <= width < 10**5 and 0 <= height < 10**5


@given(anything)
def test_read_parameters_reads_or_rejects_any_text(text):
    png = to_png(Image.new("RGB", (9, 7)), text.encode(errors="ignore").decode())
    with contextlib.suppress(DarkroomError):
        ImageRequest(**read_parameters(png))


identifiers = st.integers(0, 2**64 - 1)


@given(st.sampled_from(["reroll", "edit_again"]), identifiers, identifiers, st.integers(0, 9))
async def test_action_button_is_restored_from_its_custom_id(action, owner, creation, index):
    button = views.ActionButton(action, owner, creation, index)
    assert len(button.custom_id) <= 100
    restored = await views.ActionButton.from_custom_id(None, button.item, button.template.fullmatch(button.custom_id))
    assert (restored.action, restored.owner, restored.creation_id, restored.index) == (action, owner, creation, index)


@given(identifiers, identifiers, st.integers(1, 10), st.integers(0, len(MANY_ACTIONS)))
def test_result_rows_offer_every_action_within_limits(owner, creation, pictures, actions):
    offered = MANY_ACTIONS[:actions]
    rows = [row.children for row in rows_of(offered, Creation(id=creation, owner=owner), pictures)]
    buttons = [control for row in rows for control in row if isinstance(control, views.ActionButton)]
    (options,) = [control.item.options for row in rows for control in row if isinstance(control, views.MoreSelect)] or [[]]
    assert all(len(control.custom_id) <= 100 for row in rows for control in row)
    assert all(1 <= len(row) <= 5 for row in rows) and len(buttons) <= 10 and len(options) <= 25
    assert len({button.custom_id for button in buttons}) == len(buttons)
    names = [option.value for option in options]
    assert len(names) == len(set(names))
    assert {action.name for action in offered} == {button.action for button in buttons} | set(names)


@given(st.integers(1, 300), st.integers(1, 300))
def test_smaller_ends_after_four_attempts(width, height):
    answer = Result("", (PictureFile("a.png", to_png(Image.new("RGB", (width, height))), "a"),))
    seen = 0
    while answer := answer.smaller():
        seen += 1
        assert all(isinstance(file, discord.File) for file in answer.files())
    assert seen == 4
