import pytest
from transformers import CLIPTokenizer

from diffusion.training.tokenizer import train, word_weights


@pytest.fixture(scope="module")
def tokenizer(pictures, config, tmp_path_factory) -> CLIPTokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    train(pictures, config.tokenizer, folder)
    return CLIPTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("text", ["a red apple wearing sunglasses , flat design", "qwyjibo zażółć 🦊", "x" * 20])
def test_tokenizer_decodes_any_text(tokenizer, text):
    input_ids = tokenizer(text).input_ids

    assert tokenizer.decode(input_ids, skip_special_tokens=True) == text
    assert tokenizer.eos_token_id not in input_ids[1:-1]


def test_tokenizer_ignores_letter_case(tokenizer):
    assert tokenizer("Grinning CAT").input_ids == tokenizer("grinning cat").input_ids


def test_tokenizer_pads_to_the_context_of_clip(tokenizer, config):
    assert len(tokenizer) == config.tokenizer.entries
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (len(tokenizer) - 2, len(tokenizer) - 1)
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    padded = tokenizer("fox", padding="max_length").input_ids
    assert len(padded) == 77 and padded[-1] == tokenizer.eos_token_id


def test_tokenizer_has_one_token_for_frequent_words(tokenizer):
    assert tokenizer.tokenize("background") == ["background</w>"]


def test_tokenizer_loads_from_vocab_and_merges(pictures, config, tmp_path):
    tokenizer = train(pictures, config.tokenizer, tmp_path)
    (tmp_path / "tokenizer.json").unlink()

    text = "panda on a pink background, qwyjibo"
    assert CLIPTokenizer.from_pretrained(tmp_path)(text).input_ids == tokenizer(text).input_ids


def test_word_weights_favour_names(pictures):
    weights = word_weights(pictures)

    assert weights["penguin"] > weights["machine"] > 0
