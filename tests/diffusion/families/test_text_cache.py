import torch

from diffusion.families import text_cache
from diffusion.families.text_cache import TextCache
from diffusion.sampling.conditions import Conditions


def cache_for(floats):
    encoded = []

    def encode(text, size):
        encoded.append(text)
        return Conditions({"prompt_embeds": torch.zeros(1, size)})

    return TextCache(encode, torch.device("cpu"), max_bytes=4 * floats), encoded


def test_latest_texts_are_kept_within_the_bytes():
    cache, encoded = cache_for(10)
    for text in ("a", "b", "a", "c", "a", "b"):
        assert cache(text, 4) is not None
        assert cache.bytes <= 40
    assert encoded == ["a", "b", "c", "b"]


def test_a_text_larger_than_all_bytes_is_not_kept():
    cache, encoded = cache_for(10)
    cache("a", 11)
    cache("a", 11)
    assert encoded == ["a", "a"] and cache.bytes == 0


def test_cache_clear_forgets_all():
    cache, encoded = cache_for(10)
    cache("a", 1)
    cache.cache_clear()
    cache("a", 1)
    assert encoded == ["a", "a"] and cache.bytes == 4


def test_the_number_of_texts_is_bounded(monkeypatch):
    monkeypatch.setattr(text_cache, "MAX_TEXTS", 2)
    cache, encoded = cache_for(1000)
    for text in ("a", "b", "c", "b", "a"):
        cache(text, 1)
    assert encoded == ["a", "b", "c", "a"]
