import pytest
from transformers import CLIPTokenizer

from diffusion.training.tokenizer import train, word_weights


@pytest.fixture(scope="module")
def tokenizer(pictures, config, tmp_path_factory) -> CLIPTokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    train(pictures, config.tokenizer, folder)
    return CLIPTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("text", ["a red apple wearing sunglasses , flat design", "qwyjibo zażółć 🦊", "x" * 20])
def test_every_text_reads_back_even_with_unknown_words(tokenizer, text):
    input_ids = tokenizer(text).input_ids

    assert tokenizer.decode(input_ids, skip_special_tokens=True) == text
    assert tokenizer.eos_token_id not in input_ids[1:-1]


def test_letter_case_does_not_matter(tokenizer):
    assert tokenizer("Grinning CAT").input_ids == tokenizer("grinning cat").input_ids


def test_special_tokens_come_last_and_pad_to_what_clip_reads(tokenizer, config):
    assert len(tokenizer) == config.tokenizer.entries
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (len(tokenizer) - 2, len(tokenizer) - 1)
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    padded = tokenizer("fox", padding="max_length").input_ids
    assert len(padded) == 77 and padded[-1] == tokenizer.eos_token_id


def test_frequent_words_are_one_token(tokenizer):
    assert tokenizer.tokenize("background") == ["background</w>"]


def test_the_older_files_alone_give_the_same_tokens(pictures, config, tmp_path):
    tokenizer = train(pictures, config.tokenizer, tmp_path)
    (tmp_path / "tokenizer.json").unlink()

    text = "panda on a pink background, qwyjibo"
    assert CLIPTokenizer.from_pretrained(tmp_path)(text).input_ids == tokenizer(text).input_ids


def test_names_weigh_more_than_keywords(pictures):
    weights = word_weights(pictures)

    assert weights["penguin"] > weights["machine"] > 0
