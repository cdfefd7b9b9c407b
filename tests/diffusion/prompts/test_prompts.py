"""Prompts of any length, with weights, breaks and embeddings."""

import copy

import pytest
import torch
from transformers import CLIPTextModel

from diffusion.errors import InvalidRequestError
from diffusion.families.defaults import Defaults
from diffusion.families.model import ImageModel
from diffusion.prompts.chunks import Chunker, unknown_embedding
from diffusion.prompts.syntax import parse
from diffusion.request import ImageRequest
from diffusion.sampling.trajectory import denoise_all
from tests.support.models import model_of


def weighted(prompt):
    return [(part.text, round(part.weight, 4)) for part in parse(prompt)]


@pytest.mark.parametrize(
    ("prompt", "parts"),
    [
        ("a red fox", [("a red fox", 1)]),
        ("", [("", 1)]),
        ("a (red) fox", [("a ", 1), ("red", 1.1), (" fox", 1)]),
        ("((red)) fox", [("red", 1.21), (" fox", 1)]),
        ("[red] fox", [("red", 0.9091), (" fox", 1)]),
        ("(red:1.3) fox", [("red", 1.3), (" fox", 1)]),
        ("(red : 0.5 )", [("red ", 0.5)]),
        ("(red:2)(fox:.5)", [("red", 2), ("fox", 0.5)]),
        ("(a (b:1.5) c:1.2)", [("a ", 1.2), ("b", 1.8), (" c", 1.2)]),
        ("([a]:2)", [("a", 1.8182)]),
        (r"a \(b\) c", [("a (b) c", 1)]),
        (r"\\ a", [("\\ a", 1)]),
        ("a) b (c", [("a) b (c", 1)]),
        (":( fox", [(":( fox", 1)]),
        ("[a) b]", [("a) b", 0.9091)]),
        ("at (10:30)", [("at ", 1), ("10:30", 1.1)]),
        ("photo (4:3)", [("photo ", 1), ("4:3", 1.1)]),
        ("(area 51:1.5)", [("area 51", 1.5)]),
        ("()", [("", 1)]),
        ("(red:-1)", [("red:-1", 1.1)]),
        ("(" * 50 + "a" + ")" * 50, [("a", 10)]),
        ("a BREAK b", [("a ", 1), (" b", 1)]),
        ("(a BREAK b:1.3)", [("a ", 1.3), (" b", 1.3)]),
        ("BREAKFAST aBREAK", [("BREAKFAST aBREAK", 1)]),
    ],
)
def test_parse_reads_weights_as_a1111_does(prompt, parts):
    assert weighted(prompt) == [(text, pytest.approx(weight, abs=1e-4)) for text, weight in parts]


def test_parse_notes_where_a_chunk_begins():
    assert [part.breaks for part in parse("a BREAK b (c BREAK d)")] == [False, True, False, True]


@pytest.mark.parametrize("text", ["(" * 10**5, "(a" * 10**5 + ")" * 10**5, "[(" * 10**5, "(a:1." * 10**5, "BREAK " * 10**5])
def test_parse_takes_linear_time(text):
    parse(text)


def words(texts):
    """Stand in for a tokenizer: a word or a comma is a token."""
    return [tokens(text) for text in texts]


def tokens(text):
    return [1 if word == "," else 2 for word in text.replace(",", " , ").split()]


def sizes(text, **embeddings):
    return [len(chunk.ids) for chunk in Chunker(words, 75, embeddings).split(text)]


@pytest.mark.parametrize(
    ("text", "lengths"),
    [
        ("", [0]),
        ("fox " * 75, [75]),
        ("fox " * 76, [75, 1]),
        ("fox " * 160, [75, 75, 10]),
        ("fox " * 70 + ", " + "dog " * 10, [71, 10]),  # at the comma, 4 tokens before the chunk is full
        ("fox " * 50 + ", " + "dog " * 30, [75, 6]),  # that comma is too far away
        ("fox BREAK dog cat", [1, 2]),
        ("BREAK fox", [0, 1]),
        ("(fox:1.3) " * 76, [75, 1]),
    ],
)
def test_chunks_end_where_those_of_a1111_do(text, lengths):
    assert sizes(text) == lengths


def test_count_tells_a_last_empty_chunk():
    assert [Chunker(words, 75).count(text) for text in ("", "a", "a BREAK b", "a BREAK ")] == [0, 1, 76, 76]


def test_chunker_keeps_the_tokens_of_an_embedding_together():
    assert sizes("fox " * 70 + "inked dog", inked=10) == [70, 11]
    assert sizes("Inked, embedding:inked. inky", inked=3) == [9]
    assert sizes("fox " * 70 + ", a " + "b " * 3 + "inked", inked=75) == [71, 4, 75]
    (chunk,) = Chunker(words, 75, {"ink": 2}).split("a (ink:1.5) b")
    assert (chunk.embeddings, chunk.weights) == ({1: "ink"}, [1, 1.5, 1.5, 1])


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("fox embedding:ink", None),
        ("(embedding:INK:1.2), fox", None),
        ("fox embedding:ink.", None),
        ("fox embedding:other", "other"),
        ("embedding:../../secret", "../../secret"),
        ("<embedding:a\\b>", "a\\b"),
    ],
)
def test_unknown_embedding_names_what_is_not_there(text, name):
    assert unknown_embedding(text, {"ink": 2}) == name


LONG = "a red fox in the snow, " * 15


def encode(model, text, **settings):
    return model.family.encode(text, ImageRequest(text or "a", **settings)).tensors["prompt_embeds"]


def states(model, ids):
    """What the text encoder makes of one chunk, by its own code."""
    tokenizer = model.family.tokenizer
    whole = [tokenizer.bos_token_id, *ids, tokenizer.eos_token_id]
    whole += [tokenizer.pad_token_id] * (77 - len(whole))
    with torch.inference_mode():
        return model.family.text_encoder(torch.tensor([whole]), output_hidden_states=True)


def test_long_prompt_is_encoded_in_chunks(tiny_model):
    ids = tiny_model.family.tokenizer("fox " * 100).input_ids[1:-1]
    expected = torch.cat([states(tiny_model, part).last_hidden_state for part in (ids[:75], ids[75:])], 1)
    assert torch.equal(encode(tiny_model, "fox " * 100), expected)


def test_short_prompt_is_encoded_as_before(tiny_model):
    ids = tiny_model.family.tokenizer("a red fox").input_ids[1:-1]
    assert torch.equal(encode(tiny_model, "a red fox"), states(tiny_model, ids).last_hidden_state)


@pytest.fixture(scope="module")
def deep_model(tiny_components):
    torch.manual_seed(3)
    config = copy.deepcopy(tiny_components["text_encoder"].config)
    config.num_hidden_layers = 3
    return model_of(tiny_components | {"text_encoder": CLIPTextModel(config).eval()})


def test_clip_skip_takes_an_earlier_layer(deep_model):
    ids = deep_model.family.tokenizer("a red fox").input_ids[1:-1]
    found = states(deep_model, ids)
    assert torch.equal(encode(deep_model, "a red fox"), found.last_hidden_state)
    for clip_skip in (2, 3):
        earlier = deep_model.family.text_encoder.final_layer_norm(found.hidden_states[-clip_skip])
        assert torch.equal(encode(deep_model, "a red fox", clip_skip=clip_skip), earlier)
    with pytest.raises(InvalidRequestError, match="may be at most 3 here, not 12"):
        deep_model.validate(ImageRequest("a", width=32, height=32, clip_skip=12))


def test_clip_skip_is_a_default_of_the_model(deep_model):
    skipping = ImageModel(deep_model.family, defaults=Defaults(clip_skip=2))
    assert skipping.request("a fox").clip_skip == 2 and deep_model.request("a fox").clip_skip == 1


def test_weight_moves_a_word_away_from_the_empty_prompt(tiny_model):
    plain, empty = encode(tiny_model, "a red fox"), encode(tiny_model, "")
    red = 2  # the place of its token
    for weight in (0.0, 0.5, 1.5):
        changed = encode(tiny_model, f"a (red:{weight}) fox")
        expected = plain.clone()
        expected[:, red] = empty[:, red] + weight * (plain[:, red] - empty[:, red])
        torch.testing.assert_close(changed, expected)
    assert torch.equal(encode(tiny_model, "a (red:1.0) fox"), plain)


def drawn(model, *requests):
    return denoise_all(model, [model.trajectory(request) for request in requests])


def asked(prompt, negative="", **settings):
    return ImageRequest(prompt, negative, **{"width": 32, "height": 32, "steps": 3, "sampler": "euler", "seed": 4} | settings)


def test_prompts_of_other_lengths_share_a_call_as_when_alone(tiny_model):
    requests = [
        asked("a fox"),
        asked(LONG),
        asked("fox", LONG * 2),
        asked("a BREAK b BREAK c", guidance_scale=1.0),
        asked(LONG, morph_to="fox", count=2),
        asked("fox", branches=((1, LONG),)),
    ]
    alone = [drawn(tiny_model, request)[0] for request in requests]
    for one, other in zip(drawn(tiny_model, *requests), alone, strict=True):
        assert (one - other).abs().max() <= 1e-4 * other.abs().max()


def test_shorter_prompt_of_two_gets_empty_chunks(tiny_model):
    rows = tiny_model.trajectory(asked(LONG, "text")).conditions.tensors["prompt_embeds"]
    chunks = rows.shape[1] // 77
    assert chunks > 1
    expected = torch.cat([encode(tiny_model, "text"), *[encode(tiny_model, "")] * (chunks - 1)], 1)
    assert torch.equal(rows[:1], expected)


def test_embedding_stands_for_its_vectors(tiny_components):
    model = model_of(tiny_components)
    token = model.family.tokenizer("fox").input_ids[1]
    vector = model.family.text_encoder.get_input_embeddings().weight[token].detach()
    model.set_embeddings({"inked": {16: vector[None]}, "double": {16: torch.stack([vector, vector])}})
    assert model.embeddings == {"inked": 1, "double": 2}
    for text in ("a Inked in snow", "a embedding:inked in snow"):
        assert torch.equal(encode(model, text), encode(model, "a fox in snow"))
    assert torch.equal(encode(model, "a double"), encode(model, "a fox fox"))
    assert model.count_tokens("a double in snow") == model.count_tokens("a fox fox in snow")
    with pytest.raises(InvalidRequestError, match="There is no embedding 'other' here"):
        model.validate(asked("a fox, embedding:other"))
