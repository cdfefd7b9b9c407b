import json

import pytest

from diffusion.errors import ModelLoadError
from diffusion.families.defaults import DEFAULT_EXAMPLES, DEFAULT_STYLES, QUALITIES, Defaults, read_defaults
from diffusion.request import ImageRequest


def test_read_defaults_without_a_file_is_generic(tmp_path):
    generic = Defaults(25, 7.5, "dpm++", upscale=1, styles=DEFAULT_STYLES, examples=DEFAULT_EXAMPLES, about="")
    assert read_defaults(tmp_path) == generic
    assert generic.of("classic") == {"steps": 50, "sampler": "lms", "guidance_interval": (0, 1), "guidance_period": 1}


def test_read_defaults_fills_missing_values(tmp_path):
    (tmp_path / "darkroom.json").write_text(json.dumps({"steps": 7, "styles": ["flat"], "about": "For icons."}))
    assert read_defaults(tmp_path) == Defaults(steps=7, styles=("flat",), about="For icons.")


def test_read_defaults_takes_presets_from_the_file_first(tmp_path):
    fast = {"steps": 5, "sampler": "euler", "guidance_interval": [0, 0.5]}
    (tmp_path / "darkroom.json").write_text(json.dumps({"steps": 7, "presets": {"draft": fast}}))
    defaults = read_defaults(tmp_path)
    assert [defaults.of(quality)["steps"] for quality in QUALITIES] == [5, 7, 7, 50, 50]
    assert ImageRequest("a fox", **defaults.of("draft")).guidance_interval == (0, 0.5)


def test_fast_is_the_standard_with_guidance_in_every_second_call(tmp_path):
    (tmp_path / "darkroom.json").write_text(json.dumps({"steps": 7, "guidance_interval": [0, 0.5]}))
    defaults = read_defaults(tmp_path)
    assert defaults.of("fast") == defaults.of("standard") | {"guidance_period": 2}


def test_model_may_have_a_fast_preset_of_its_own(tmp_path):
    fast = {"steps": 9, "sampler": "euler", "guidance_period": 3}
    (tmp_path / "darkroom.json").write_text(json.dumps({"presets": {"fast": fast}}))
    assert read_defaults(tmp_path).of("fast") == fast | {"guidance_interval": (0, 1)}


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
        ('{"presets": {"draft": {"steps": 5, "sampler": "magic"}}}', "darkroom.json: There is no sampler 'magic'"),
        ('{"presets": {"best": {"steps": 5, "sampler": "lms"}}}', "darkroom.json: presets.best"),
        ('{"presets": {"fast": {"steps": 5, "sampler": "lms", "guidance_period": 0}}}', "must be a whole number from 1 to 10"),
        ('{"guidance_interval": [0.5, 0.2]}', "darkroom.json: The guidance interval must go from"),
        ('{"samplers": ["magic"]}', "darkroom.json: samplers: there is no sampler 'magic'"),
        ('{"samplers": ["lcm"]}', "darkroom.json: samplers: unipc, which a quality uses, is missing"),
        ('{"clip_skip": 99}', "darkroom.json: clip_skip: "),
        ('{"upscale": 3}', "darkroom.json: Pictures can be upscaled"),
        ('{"styles": ["flat", ""]}', "darkroom.json: styles.1: "),
        ('{"examples": ["a", "b", "c", "d", "e", "f"]}', "darkroom.json: examples: "),
    ],
)
def test_read_defaults_reports_invalid_files(tmp_path, text, words):
    (tmp_path / "darkroom.json").write_text(text, errors="surrogateescape")
    with pytest.raises(ModelLoadError) as refused:
        read_defaults(tmp_path)
    assert words in str(refused.value) and str(tmp_path) in str(refused.value)
    assert "\n" not in str(refused.value)
