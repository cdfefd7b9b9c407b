import json

import pytest

from diffusion.defaults import EXAMPLES, STYLES, Defaults, read_defaults
from diffusion.errors import ModelNotLoaded


def test_a_folder_without_a_file_gets_generic_ones(tmp_path):
    assert read_defaults(str(tmp_path)) == Defaults(50, 7.5, "lms", upscale=1, styles=STYLES, examples=EXAMPLES, about="")


def test_what_the_file_leaves_out_is_generic(tmp_path):
    (tmp_path / "darkroom.json").write_text(json.dumps({"steps": 7, "styles": ["flat"], "about": "For icons."}))
    assert read_defaults(str(tmp_path)) == Defaults(steps=7, styles=("flat",), about="For icons.")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "darkroom.json: Invalid JSON"),
        ("\udce9", "darkroom.json: Invalid JSON"),
        ("[]", "darkroom.json: Input should be an object"),
        ('{"stepps": 20}', "darkroom.json: stepps: "),
        ('{"steps": "many"}', "darkroom.json: steps: "),
        ('{"steps": 0}', "darkroom.json: At least 1 step"),
        ('{"sampler": "magic"}', "darkroom.json: There is no sampler 'magic'"),
        ('{"upscale": 3}', "darkroom.json: Pictures can be upscaled"),
        ('{"styles": ["flat", ""]}', "darkroom.json: styles.1: "),
        ('{"examples": ["a", "b", "c", "d", "e", "f"]}', "darkroom.json: examples: "),
    ],
)
def test_a_file_that_cannot_be_used_says_what_is_wrong(tmp_path, text, words):
    (tmp_path / "darkroom.json").write_text(text, errors="surrogateescape")
    with pytest.raises(ModelNotLoaded) as refused:
        read_defaults(str(tmp_path))
    assert words in str(refused.value) and str(tmp_path) in str(refused.value)
    assert "\n" not in str(refused.value)
