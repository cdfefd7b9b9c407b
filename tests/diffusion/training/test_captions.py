import random

from diffusion.training.captions import Description, caption, captions, names_of

FOX = Description("fluent3d", names_of("fox face", "Animals & Nature"), ("animal", "of"))


def test_captions_are_never_empty_without_dropout():
    rng = random.Random(0)
    wordless = Description("noto", ("owl",))

    assert all(caption(about, rng).strip() for about in (FOX, wordless) for _ in range(500))
    assert "" not in captions([FOX] * 500, 0.0, rng)


def test_captions_drop_out_about_the_given_share():
    empty = captions([FOX] * 2000, 0.1, random.Random(0)).count("")

    assert 140 < empty < 260


def test_names_of_an_animal_face_include_the_animal():
    assert names_of("fox face", "Animals & Nature") == ("fox face", "fox", "fox head")


def test_caption_of_a_composition_uses_its_phrases():
    about = Description("fluent3d", (), ("ignored",), ("fox on a red background",))

    assert all(caption(about, random.Random(seed)).startswith("fox on a red background") for seed in range(50))
