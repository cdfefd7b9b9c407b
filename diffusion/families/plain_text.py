"""Token ids of prompts that are read as one plain text, without weights or chunks.

Padding or truncation by a tokenizer would change its state, which other threads share; so it is done here.
"""

from typing import Any


def plain_ids(tokenizer: Any, text: str) -> list[int]:
    """Return the token ids of ``text`` with those marks that ``tokenizer`` adds."""
    ids: list[int] = tokenizer(text, verbose=False).input_ids
    return ids


def chat_of(tokenizer: Any, text: str, *, thinking: bool) -> str:
    """Return ``text`` as the question of a chat, whose answer begins with ``thinking`` or without."""
    chat: str = tokenizer.apply_chat_template(
        [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True, enable_thinking=thinking
    )
    return chat


def t5_ids(tokenizer: Any, text: str) -> list[int]:
    """Return the token ids of ``text`` without an end mark."""
    ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False).input_ids
    return ids


def padded_t5_ids(tokenizer: Any, text: str, length: int) -> list[int]:
    """Return ``length`` token ids: those of ``text`` that fit, the end mark, and padding."""
    ids = [*t5_ids(tokenizer, text)[: length - 1], tokenizer.eos_token_id]
    return ids + [tokenizer.pad_token_id] * (length - len(ids))


def padded_clip_ids(tokenizer: Any, text: str, context: int) -> list[int]:
    """Return ``context`` token ids: the marks of CLIP around those of ``text`` that fit, and padding."""
    first, *ids, last = tokenizer(text, verbose=False).input_ids
    marked = [first, *ids[: context - 2], last]
    return marked + [tokenizer.pad_token_id] * (context - len(marked))
