"""Train a small byte-level BPE in CLIP's format on the words of the captions."""

import json
import re
from collections import Counter
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import CLIPTokenizer

from diffusion.training.captions import STYLE_PHRASES, names_of
from diffusion.training.config import TokenizerConfig
from diffusion.training.drawing import BACKGROUNDS, HUES
from diffusion.training.pictures import Picture
from diffusion.training.scenes import ACCESSORIES

START = "<|startoftext|>"
END = "<|endoftext|>"
WORD_END = "</w>"
CONTEXT_LENGTH = 77  # tokens that CLIP reads, with start and end
COMMON_WORDS = (
    "a an the on in of with wearing and next to beside background colour color white gray golden silver "
    "happy sad angry cute funny big small little tiny giant cool glossy sticker emoji icon drawing cartoon style "
    "render hat two three holding eating car puppy kitten"
).split()
NAME_WEIGHT = 4
KEYWORD_WEIGHT = 1
COMMON_WEIGHT = 50


def train(pictures: list[Picture], config: TokenizerConfig, folder: Path) -> CLIPTokenizer:
    """Train on the words of ``pictures`` and write the tokenizer to ``folder``.

    ``CLIPTokenizer.from_pretrained`` reads it. The vocabulary has CLIP's layout: 256 bytes, the same bytes at the end of a
    word, the results of the merges, start, end. It has ``config.entries`` entries, or fewer if the words allow no more merges.
    No text is unknown to it.
    """
    vocabulary, merges = _bpe(word_weights(pictures), config.entries)
    tokenizer = CLIPTokenizer(vocabulary, merges, model_max_length=CONTEXT_LENGTH)
    tokenizer.save_pretrained(folder)
    # transformers writes only tokenizer.json; other readers of CLIP's format need these.
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *(" ".join(pair) for pair in merges), ""]))
    return tokenizer


def word_weights(pictures: list[Picture]) -> Counter[str]:
    """Count the weight of each word of the captions.

    A concept in several styles counts once.
    """
    weights: Counter[str] = Counter()
    for name, group, keywords in {(picture.name, picture.group, picture.keywords) for picture in pictures}:
        for wording in names_of(name, group):
            weights.update(dict.fromkeys(_words(wording), NAME_WEIGHT))
        for keyword in keywords:
            weights.update(dict.fromkeys(_words(keyword), KEYWORD_WEIGHT))
    for phrase in (*COMMON_WORDS, *BACKGROUNDS, *HUES, *ACCESSORIES.values(), *chain(*STYLE_PHRASES.values())):
        weights.update(dict.fromkeys(_words(phrase), COMMON_WEIGHT))
    return weights


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+|[0-9]|[^\sa-z0-9]+", text.lower())


def _bpe(weights: Counter[str], entries: int) -> tuple[dict[str, int], list[tuple[str, str]]]:
    clip = CLIPTokenizer().backend_tokenizer
    tokenizer = Tokenizer(BPE(unk_token=END, end_of_word_suffix=WORD_END))
    tokenizer.normalizer = clip.normalizer
    tokenizer.pre_tokenizer = clip.pre_tokenizer
    trainer = BpeTrainer(
        vocab_size=entries,
        min_frequency=2,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        end_of_word_suffix=WORD_END,
    )
    # Sorted: the trainer breaks ties by order.
    tokenizer.train_from_iterator(_repeat_words(sorted(weights.items())), trainer)
    learned = json.loads(tokenizer.to_str())["model"]["merges"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, *(byte + WORD_END for byte in alphabet)]
    known = set(tokens)
    merges = []
    for left, right in learned:
        if len(tokens) == entries - 2:
            break
        merges.append((left, right))
        if left + right not in known:  # two pairs can merge to one token
            known.add(left + right)
            tokens.append(left + right)
    return {token: index for index, token in enumerate([*tokens, START, END])}, merges


def _repeat_words(weights: Iterable[tuple[str, int]]) -> Iterable[str]:
    for word, weight in weights:
        yield from [word] * weight
