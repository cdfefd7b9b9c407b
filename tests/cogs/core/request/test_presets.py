from cogs.core.request.preferences import Preferences
from cogs.core.request.presets import added_to, with_added
from cogs.core.request.prompt import parse_prompt

MINE = Preferences(presets={"oil": "oil painting --steps 9 <lora:ink:0.5>"}, preset="oil", suffix="at night")


def test_what_is_added_stands_behind_each_alternative():
    prompt = parse_prompt("{red|blue} fox --steps 7")
    added = added_to(prompt, MINE)
    full = with_added(prompt, added)
    assert full.variants == ("red fox, oil painting, at night", "blue fox, oil painting, at night")
    assert full.text == "{red|blue} fox, oil painting, at night" and full.loras == (("ink", 0.5),)
    assert added.flags == {"steps": 9} and full.flags == {"steps": 7}


def test_words_are_added_to_words_only():
    prompt = parse_prompt("--steps 7")
    assert with_added(prompt, added_to(prompt, MINE)).text == ""


def test_preset_in_use_that_is_gone_adds_nothing():
    assert added_to(parse_prompt("fox"), Preferences(preset="gone")).text == ""
