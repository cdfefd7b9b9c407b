"""What members write into prompts: permutations, flags and styles."""

import pytest

from cogs.core.request.flags import FLAG_EXAMPLES, SAMPLERS, parse_flags, unknown_flags_note
from cogs.core.request.prompt import clean, escape, expand, parse_prompt, prompt_fields, prompt_source
from cogs.core.request.styles import Style, StylesError, find_style, read_styles, styles_of_words
from diffusion.errors import InvalidRequestError
from diffusion.request import SAMPLER_NAMES, ImageRequest


def fields_of(text, each=1):
    return prompt_fields(text, expand(text), each)


@pytest.mark.parametrize(
    ("prompt", "stands_for"),
    [
        ("red fox", ["red fox"]),
        ("{red|blue} fox", ["red fox", "blue fox"]),
        ("{red|blue} fox in {rain|snow}", ["red fox in rain", "red fox in snow", "blue fox in rain", "blue fox in snow"]),
        ("{a|{b|c} d} e", ["a e", "b d e", "c d e"]),
        ("{|red} fox", ["fox", "red fox"]),
        (r"\{a\|b\}", ["{a|b}"]),
        (r"{a\|b|c}", ["a|b", "c"]),
        ("{red} fox | {cat", ["{red} fox | {cat"]),
        ("a} {b|c", ["a} {b|c"]),
        ("{{a|b}", ["{a", "{b"]),
        ("{a|b}" * 3, ["aaa", "aab", "aba", "abb", "baa", "bab", "bba", "bbb"]),
    ],
)
def test_expand_lists_the_variants_of_braces(prompt, stands_for):
    assert list(expand(prompt)) == stands_for


@pytest.mark.parametrize("prompt", ["{a|b|c|d} {a|b|c}", "{a|b}" * 200, "{a" * 8 + "|b}" * 8 + "{a|b}" * 4])
def test_expand_rejects_too_many_variants(prompt):
    with pytest.raises(InvalidRequestError, match="more than 10 pictures"):
        expand(prompt)


@pytest.mark.parametrize("text", ["{a|b}", r"\{a|b}", "{a|{b|c}} d", "|{}", "\\"])
def test_escape_keeps_any_text_literal(text):
    assert expand(escape(text)) == (text,)


@pytest.mark.parametrize("text", ["red fox", "{fox} | x", "{red|blue} fox", r"\{red\|blue\} fox", r"{a\|b|c}", "a \\ b"])
def test_prompt_source_restores_the_typed_prompt(text):
    request = ImageRequest(**fields_of(text))
    assert fields_of(prompt_source(request)) == fields_of(text)


def test_fields_of_multiplies_count_by_variants():
    assert fields_of("{a|b}", 2) == {"prompt": "{a|b}", "variants": ("a", "b"), "count": 4}
    assert fields_of("a", 24) == {"prompt": "a", "variants": (), "count": 24}
    with pytest.raises(InvalidRequestError, match="makes 12 pictures, and at most 10 fit"):
        fields_of("{a|b|c}", 4)


def test_expand_accepts_many_braces():
    assert expand("{" * 500) == ("{" * 500,)


@pytest.mark.parametrize(
    ("text", "prompt", "settings"),
    [
        ("red fox", "red fox", {}),
        (
            "red fox --ar 3:2 --seed 7 --no text, signs",
            "red fox",
            {"aspect": (3, 2), "seed": 7, "negative_prompt": "text, signs"},
        ),
        ("red fox --steps 30 --cfg 5.5", "red fox", {"steps": 30, "guidance_scale": 5.5}),
        ("fox --sampler EULER --repeat 3", "fox", {"sampler": "euler", "count": 3}),
        ("fox --style oil painting --seed 4", "fox", {"style": "oil painting", "seed": 4}),
        ("fox —ar 16:9 –seed 7", "fox", {"aspect": (16, 9), "seed": 7}),
        ("--aspect 2:3 fox --seed 7 in snow", "fox in snow", {"aspect": (2, 3), "seed": 7}),
        ("fox --ar=3:2 --AR 1:1", "fox", {"aspect": (1, 1)}),
        ("a well-known fox -- no hat — red —", "a well-known fox -- no hat — red —", {}),
        ("fox —red— hat", "fox —red— hat", {}),
        ("fox --cfg 7,5", "fox", {"guidance_scale": 7.5}),
        ("fox --cfg 7.5. In snow", "fox In snow", {"guidance_scale": 7.5}),
        ("fox --cfg=７．５ --steps ３０", "fox", {"guidance_scale": 7.5, "steps": 30}),
        ("fox --ar 3:2, in snow", "fox in snow", {"aspect": (3, 2)}),
        ("fox --ar 3：2", "fox", {"aspect": (3, 2)}),
        ("fox --ar 3∶2", "fox", {"aspect": (3, 2)}),
        ("fox --ar 3 : 2 in snow", "fox in snow", {"aspect": (3, 2)}),
        ("fox --ar 3: 2 in snow", "fox in snow", {"aspect": (3, 2)}),
        ("fox --ar 3/2", "fox", {"aspect": (3, 2)}),
        ("fox --ar 3x2", "fox", {"aspect": (3, 2)}),
        ("fox --ar 3×2", "fox", {"aspect": (3, 2)}),
        ("fox --ar 2.35:1", "fox", {"aspect": (2.35, 1)}),
        ("fox --ar “3:2”", "fox", {"aspect": (3, 2)}),
        ("fox --ar16:9 --seed7", "fox", {"aspect": (16, 9), "seed": 7}),
        ("fox --aspect-ratio 3:2", "fox", {"aspect": (3, 2)}),
        ("fox,--ar 3:2", "fox,", {"aspect": (3, 2)}),
        ("fox --seed: 7, in snow", "fox in snow", {"seed": 7}),
        ("fox −−ar 3:2", "fox", {"aspect": (3, 2)}),
        ("fox ‐‐ar 3:2", "fox", {"aspect": (3, 2)}),
        ("fox －－ar 3:2", "fox", {"aspect": (3, 2)}),
        ("fox ——ar 3:2", "fox", {"aspect": (3, 2)}),
        ("fox –-ar 3:2", "fox", {"aspect": (3, 2)}),
        ("fox --no “text”", "fox", {"negative_prompt": "text"}),
        ('fox --no "text, signs" in snow', "fox in snow", {"negative_prompt": "text, signs"}),
        ("fox --no “text”, “signs”", "fox", {"negative_prompt": "text, signs"}),
        ("fox --no „text“", "fox", {"negative_prompt": "text"}),
        ("fox --no «text»", "fox", {"negative_prompt": "text"}),
        ("fox --no 'text'", "fox", {"negative_prompt": "text"}),
        ("fox --no children's toys", "fox", {"negative_prompt": "children's toys"}),
        ("fox --style “oil painting” --seed 4", "fox", {"style": "oil painting", "seed": 4}),
        ("fox --sampler Euler a", "fox", {"sampler": "euler_a"}),
        ("fox --sampler euler ancestral", "fox", {"sampler": "euler_a"}),
        ("fox --sampler DPM++ 2M Karras", "fox", {"sampler": "dpm++"}),
        ("fox --sampler DPM++ 2M Karras, in snow", "fox in snow", {"sampler": "dpm++"}),
        ("fox --sampler DPM++ 2M in snow", "fox in snow", {"sampler": "dpm++"}),
        ("fox --sampler dpm++ in snow", "fox in snow", {"sampler": "dpm++"}),
        ("fox --sampler “Euler a” hat", "fox hat", {"sampler": "euler_a"}),
        ("fox --clip-skip 2, in snow", "fox in snow", {"clip_skip": 2}),
        ("fox --sampler=unipc --seed 3", "fox", {"sampler": "unipc", "seed": 3}),
    ],
)
def test_parse_flags_reads_midjourney_flags(text, prompt, settings):
    parsed = parse_flags(text)
    assert (parsed.text, parsed.settings, parsed.unknown) == (prompt, settings, ())


@pytest.mark.parametrize("name", [*SAMPLER_NAMES, *SAMPLER_NAMES.values()])
def test_parse_flags_reads_every_sampler_by_its_names(name):
    for typed in (name, name.upper(), f"“{name}”", f"{name},"):
        parsed = parse_flags(f"fox --sampler {typed} --seed 1")
        assert SAMPLER_NAMES[parsed.settings["sampler"]] in (name, SAMPLER_NAMES.get(name))
        assert parsed.text == "fox"
    assert set(SAMPLERS.values()) == set(SAMPLER_NAMES)


@pytest.mark.parametrize("typed", ["-1", "−1", "random", "Random,"])
def test_parse_flags_takes_any_seed(typed):
    seeds = {parse_flags(f"fox --seed {typed}").settings["seed"] for _ in range(9)}
    assert len(seeds) > 1 and all(0 <= seed < 2**32 for seed in seeds)


def test_parse_flags_separates_unknown_flags():
    parsed = parse_flags("fox --v 6.1 --s 250 --tile --style raw --foo bar --iw 2 --seed 7")
    assert (parsed.text, parsed.settings) == ("fox", {"seed": 7})
    assert parsed.unknown == ("--v 6.1", "--s 250", "--tile", "--style raw", "--foo bar", "--iw 2")
    note = clean(str(unknown_flags_note(parsed.unknown)))
    assert "`--v 6.1`" in note and "`--ar 3:2`, `--seed 7`" in note


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fox --ar wide", "width:height"),
        ("fox --ar 0:1", "width:height"),
        ("fox --ar 9:1", "up to 4:1 or 1:4"),
        ("fox --ar", "width:height"),
        ("fox --ar 3:0", "width:height"),
        ("fox --ar 16:9:4", "width:height"),
        ("fox --no “”", "needs words"),
        ("fox --cfg 7,5,2", "--cfg` needs a number"),
        ("fox --seed many", "--seed` needs a number"),
        ("fox --steps 3.5", "--steps` needs a number"),
        ("fox --cfg", "--cfg` needs a number"),
        ("fox --no", "needs words"),
        ("fox --no --seed 7", "needs words"),
        ("fox --sampler", "needs one of lms, ddim"),
        ("fox --style " + "x" * 101, "100 characters"),
    ],
)
def test_parse_flags_rejects_unreadable_values_with_an_example(text, words):
    (error,) = parse_flags(text).errors
    assert words in str(error)


def test_parse_flags_reports_all_unreadable_values():
    parsed = parse_flags("fox --ar wide --seed many --steps 3 --cfg low")
    assert (parsed.text, parsed.settings) == ("fox", {"steps": 3})
    assert [error.field for error in parsed.errors] == ["size", "seed", "guidance_scale"]


@pytest.mark.parametrize("copied", [lambda note: note, lambda note: note.replace("`", "")], ids=["as sent", "as shown"])
def test_parse_prompt_reads_the_list_of_working_flags(copied):
    note = copied(str(unknown_flags_note(("--v 6",))))
    listed = note.partition("These flags work: ")[2].removesuffix(".")
    parsed = parse_prompt(f"red fox {listed}")
    assert (parsed.text, parsed.errors, parsed.notes) == ("red fox", (), ())
    assert parsed.flags == {
        "aspect": (3, 2),
        "seed": 7,
        "negative_prompt": "text",
        "steps": 30,
        "guidance_scale": 5,
        "sampler": "euler",
        "style": "ink",
        "variety": 50,
        "count": 2,
        "clip_skip": 2,
    }


@pytest.mark.parametrize("flag", FLAG_EXAMPLES)
def test_parse_prompt_reads_each_flag_of_the_list(flag):
    note = str(unknown_flags_note(("--v 6",)))
    shown = next(each for each in note.split("`") if parse_prompt(each).flags == parse_prompt(flag).flags)
    assert parse_prompt(flag).flags and not parse_prompt(f"fox `{shown}`").errors


def test_parse_prompt_reports_flags_and_variants_together():
    errors = parse_prompt("{a|b|c|d} {a|b|c} --seed many").errors
    assert [error.field for error in errors] == ["seed", "prompt"]


@pytest.mark.parametrize(
    ("template", "prompt", "text"),
    [
        ("ink", "red fox", "red fox, ink"),
        ("ink drawing of {prompt}, fine lines", "red fox", "ink drawing of red fox, fine lines"),
        ("{prompt}, ink", "", "ink"),
        ("ink", "", "ink"),
    ],
)
def test_style_fills_in_or_follows_the_prompt(template, prompt, text):
    assert Style(template).apply(prompt) == text


def test_find_style_ignores_case_and_accepts_unknown_words():
    styles = styles_of_words(["Ink"]) | {"Oil": Style("{prompt}, oil on canvas", "photo", 40, 6.5)}
    assert find_style(styles, " oil ") == styles["Oil"] and find_style(styles, "INK") == Style("Ink")
    assert find_style(styles, "crayon") == Style("crayon")
    assert find_style(styles, "None") is None and find_style(styles, "") is None


def test_read_styles_reads_the_example_of_the_guide(tmp_path):
    from pathlib import Path

    guide = (Path(__file__).parents[4] / "cogs" / "README.md").read_text("utf-8")
    (tmp_path / "styles.toml").write_text(guide.partition("```toml\n")[2].partition("```")[0])
    style = Style("{prompt}, oil painting on canvas, thick brush strokes", "photo, blurry", 40, 6.5)
    assert read_styles(tmp_path / "styles.toml") == {"oil painting": style}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "No such file"),
        ("[ink", "STYLES_FILE"),
        ("[ink]\nnegative = 'x'", "ink.prompt: Field required"),
        ("[ink]\nprompt = 'x'\nstep = 3", "ink.step"),
        ("[ink]\nprompt = 'x'\nsteps = 999", "ink.steps: .*150"),
        ("ink = 'x'", "ink"),
        ("[ink]\nprompt = '\udcff'", "STYLES_FILE"),
    ],
)
def test_read_styles_reports_invalid_files(tmp_path, text, words):
    path = tmp_path / "styles.toml"
    if text is not None:
        path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(StylesError, match=words) as caught:
        read_styles(path)
    assert "\n" not in str(caught.value)


ENGLAND = "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("🫎 in the snow", "🫎 in the snow"),  # Unicode 15, newer than the tables of Python 3.11
        ("🫨", "🫨"),
        ("\U0001fadc \U0001fae9", "\U0001fadc \U0001fae9"),  # Unicode 16
        ("👨‍👩‍👧‍👦 👩🏽‍🚀 🏳️‍🌈 ❤️‍🔥", "👨‍👩‍👧‍👦 👩🏽‍🚀 🏳️‍🌈 ❤️‍🔥"),
        (ENGLAND, ENGLAND),
        ("1️⃣ 🇩🇪", "1️⃣ 🇩🇪"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("क्\u200dष", "क्\u200dष"),
        ("\u200d \u200c", ""),
        ("\u200dfox\u200d\u200d \u200c", "fox"),
        ("f\u200b\u2060o\ufeffx\u00ad \U000e0041", "fox"),
        ("fox\ufffe\ufdd0\U0001ffff\ud800\ue000", "fox"),
        ("a" + "\u0301\u200d" * 30, "á" + "\u200d\u0301" * 3),
        ("<:sadcat:123456789012345678> in the snow", "sadcat in the snow"),
        ("a<a:Party_Parrot:123456789012345678>b", "a Party_Parrot b"),
        ("<:a:1><:b:2>", "a b"),
        ("<:sadcat:x> <:🙂:1>", "<:sadcat:x> <:🙂:1>"),
    ],
)
def test_clean_keeps_what_members_can_see(text, kept):
    assert clean(text) == kept and clean(kept) == kept


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("red fox, (in snow), C++ at (10:30) [", []),
        ("a ratio of 3:2 :) std::vector", []),
        ("fox https://example.com/fox.png", ["a link"]),
        ("fox www.example.com", ["a link"]),
        ("hot::2 dog", ["Weights"]),
        ("hot:: dog::1", ["Weights"]),
        ("hot::-.5", ["Weights"]),
        ("(red fox:1.3), [blurry], ((masterpiece)) BREAK (hands:1.4)", []),
        ("a [cat:dog:0.5]", ["Words that change"]),
        ("a [cat|dog]", ["Words that change"]),
        ("fox --no [cat::12]", ["Weights", "Words that change"]),
        ("fox <lora:ink:0.8>", []),
        ("fox embedding:easynegative", []),
        ("hot::2 <lyco:x:1> --v 6 --ar 3:2 http://a.b", ["unknown flags", "a link", "Weights", "Hypernetworks"]),
    ],
)
def test_parse_prompt_notes_what_has_no_effect(text, words):
    notes = parse_prompt(text).notes
    assert len(notes) == len(words) and all(word in str(note) for word, note in zip(words, notes, strict=True))


@pytest.mark.parametrize("text", ["(fox:1.3)", "((fox))", "[fox]", "fox BREAK dog"])
def test_parse_prompt_notes_what_has_no_effect_with_plain_models(text):
    assert parse_prompt(text).notes == ()
    (note,) = parse_prompt(text).plain_notes
    assert "Emphasis" in str(note)


def test_parse_prompt_notes_the_negative_prompt_of_an_option():
    assert "Weights" in str(parse_prompt("fox", "hands::1").notes[0])


@pytest.mark.parametrize(
    "text",
    [
        "(" * 10**5,
        "[a" * 10**5,
        ":" * 10**5,
        "--" * 10**5,
        "--a" * 10**5,
        "--a-" * 10**5,
        "<:a" * 10**5,
        "--no “" * 10**4,
        "`-" * 10**5,
    ],
    ids=range(9),
)
def test_parse_prompt_takes_linear_time(text):
    parse_prompt(text)
