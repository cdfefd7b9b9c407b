import pytest

from cogs.core.messages.lineage import HIDDEN, Relative, changes, tree_rows, tree_text
from cogs.core.storage.creations import request_to_json
from diffusion.request import ImageRequest


def relative(id, parent=None, hidden=False, source=None, **settings):
    request = ImageRequest(**{"prompt": "a red fox", "seed": 5} | settings)
    if hidden:
        return Relative(id, parent, None)
    return Relative(id, parent, request_to_json(request), source, str(id))


def text_of_tree(family, marked, most):
    return tree_text(tree_rows(family, marked), marked, most)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "the same again"),
        ({"seed": 9}, "seed 5 → 9"),
        ({"prompt": "a blue fox in the snow"}, "− red + blue + in the snow"),
        ({"prompt": "a fox"}, "− red"),
        ({"negative_prompt": "blurry"}, "negative: + blurry"),
        ({"guidance_scale": 3.5, "steps": 20}, "steps 50 → 20, guidance 7.5 → 3.5"),
        ({"sampler": "dpm++"}, "sampler LMS → DPM++ 2M Karras"),
        ({"guide_label": "red"}, "steer none → red"),
        ({"branches": ((3, "a cat"), (7, "a green  pear"))}, "from step 7: a green pear"),
        ({"morph_to": "a cat", "count": 12}, "count 1 → 12, morph to none → a cat"),
        ({"source": "a" * 64}, "from its picture"),
    ],
)
def test_changes_describes_the_changed_settings(settings, said):
    assert changes(relative(1), relative(2, 1, **settings)) == said


def test_changes_ignores_settings_missing_in_an_older_version():
    older = Relative(1, None, {"prompt": "a red fox", "seed": 5})
    assert changes(older, relative(2, 1)) == "the same again"
    branched = relative(3, 1, branches=((3, "a cat"),))
    assert changes(branched, relative(4, 3)) == "no branch"


def test_changes_names_settings_of_a_newer_version():
    newer = Relative(2, 1, request_to_json(ImageRequest("a red fox", seed=5)) | {"mask_strength": 0.5})
    assert changes(relative(1), newer) == "mask strength none → 0.5"


def test_tree_text_shows_parents_children_and_changes():
    family = [
        relative(3, 1, seed=7),
        relative(1),
        relative(2, 1, prompt="a blue fox"),
        relative(4, 2, prompt="a blue fox", seed=6),
    ]
    assert text_of_tree(family, 4, 1000).splitlines() == [
        "a red fox, seed 5 · 1",
        "├─ − red + blue · 2",
        "│  └─ ▶ seed 5 → 6 · 4",
        "└─ seed 5 → 7 · 3",
    ]


def test_tree_text_accepts_a_missing_parent():
    assert text_of_tree([relative(7, 6)], 7, 1000) == "▶ a red fox, seed 5 · 7"


def test_tree_text_lists_circular_relatives_once():
    family = [relative(1, 2), relative(2, 3), relative(3, 1), relative(4, 4)]
    lines = text_of_tree(family, 3, 1000).splitlines()
    assert len(lines) == 4 and sum("▶" in line for line in lines) == 1


def test_tree_text_hides_hidden_pictures_and_changes_from_them():
    family = [relative(1, prompt="secret one", hidden=True), relative(2, 1), relative(3, 2, prompt="secret", hidden=True)]
    text = text_of_tree([*family, relative(4, 3)], 2, 1000)
    assert text.splitlines() == [
        HIDDEN,
        "└─ ▶ a red fox, seed 5 · 2",
        f"   └─ {HIDDEN}",
        "      └─ a red fox, seed 5 · 4",
    ]


@pytest.mark.parametrize("marked", [1, 60, 200])
def test_tree_text_of_a_large_family_keeps_the_marked_picture(marked):
    family = [
        relative(1),
        *(relative(number, 1 if number % 7 else number - 1, prompt="word " * 60) for number in range(2, 201)),
    ]
    text = text_of_tree(family, marked, 1500)
    assert len(text) <= 1500 and "▶" in text and "more" in text.splitlines()[-1]


def test_tree_text_escapes_code_fences():
    assert "```" not in text_of_tree([relative(1, prompt="``` @everyone")], 1, 1000)
