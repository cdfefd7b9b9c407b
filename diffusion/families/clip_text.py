"""CLIP text encoders: hidden states of prompts of any length, with weights."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from diffusion.prompts.chunks import Chunk, Chunker
from diffusion.sampling.conditions import Conditions


class ClipText:
    """A CLIP ``text_encoder`` with its ``tokenizer``.

    A prompt is encoded in chunks, each with its own start and end marks, and their hidden states follow each other. A weight
    moves the hidden states of its tokens away from those of the empty prompt, or nearer to them.
    """

    def __init__(self, tokenizer: Any, text_encoder: Any) -> None:
        self.tokenizer = tokenizer
        self.text_encoder = text_encoder
        self.embeddings: dict[str, Tensor] = {}
        self.width = int(text_encoder.config.hidden_size)
        # A tokenizer that does not know the limit says 1e30.
        self.context = min(int(tokenizer.model_max_length), int(text_encoder.config.max_position_embeddings))
        self.chunker = Chunker(self._tokenize, self.context - 2)
        self._first, self._last = tokenizer("", verbose=False).input_ids
        self.layers = int(text_encoder.config.num_hidden_layers)

    def set_embeddings(self, vectors: Mapping[str, Mapping[int, Tensor]]) -> None:
        """Let prompts name ``vectors``: (tokens, width) by width, by lower-case names."""
        self.embeddings = {name: by_width[self.width].to(self.text_encoder.device) for name, by_width in vectors.items()}
        self.chunker = Chunker(self._tokenize, self.context - 2, {name: len(each) for name, each in self.embeddings.items()})

    def _tokenize(self, texts: list[str]) -> list[list[int]]:
        # Padding or truncation by the tokenizer would change its state, which other threads share.
        ids: list[list[int]] = self.tokenizer(texts, verbose=False).input_ids
        return [each[1:-1] for each in ids]

    def chunk_count(self, text: str) -> int:
        """Return how many chunks ``text`` has. Safe in any thread."""
        return len(self.chunker.split(text))

    @torch.inference_mode()
    def encode(self, text: str, *, layer: int = 1, final_norm: bool = True) -> tuple[Tensor, Tensor]:
        """Return the hidden states (1, chunks x context, width) of ``text``, and the pooled ones of its first chunk.

        ``layer`` counts from the last one, which is 1; ``final_norm`` normalizes its output as that of the last.
        """
        encoded = [self._encode(chunk, layer, final_norm) for chunk in self.chunker.split(text)]
        hidden = [states for states, _ in encoded]
        return (hidden[0] if len(hidden) == 1 else torch.cat(hidden, 1)), encoded[0][1]

    def _encode(self, chunk: Chunk, layer: int, final_norm: bool) -> tuple[Tensor, Tensor]:
        hidden, pooled = self._hidden_states(chunk, layer, final_norm)
        if any(weight != 1 for weight in chunk.weights):
            weights = [1.0, *chunk.weights]
            weights += [1.0] * (self.context - len(weights))
            empty, _ = self._hidden_states(Chunk(), layer, final_norm)
            hidden = torch.lerp(empty, hidden, torch.tensor(weights, dtype=hidden.dtype, device=hidden.device)[:, None])
        return hidden, pooled

    def _hidden_states(self, chunk: Chunk, layer: int, final_norm: bool) -> tuple[Tensor, Tensor]:
        device = self.text_encoder.device
        ids = [self._first, *chunk.ids, self._last]
        padding = self.context - len(ids)
        mask = None
        if getattr(self.text_encoder.config, "use_attention_mask", False):
            mask = torch.tensor([[1] * len(ids) + [0] * padding], device=device)
        ids += [self.tokenizer.pad_token_id] * padding
        with self._inserted(chunk):
            output = self.text_encoder(
                torch.tensor([ids], device=device), attention_mask=mask, output_hidden_states=layer > 1 or not final_norm
            )
        pooled = output.text_embeds if hasattr(output, "text_embeds") else output.pooler_output
        if layer == 1 and final_norm:
            return output.last_hidden_state, pooled
        hidden = output.hidden_states[-layer]
        inner = getattr(self.text_encoder, "text_model", self.text_encoder)
        return (inner.final_layer_norm(hidden) if final_norm else hidden), pooled

    @contextmanager
    def _inserted(self, chunk: Chunk) -> Iterator[None]:
        """Put the vectors of embeddings in the place of those of tokens."""

        def insert(_module: nn.Module, _inputs: Any, vectors: Tensor) -> Tensor:
            for place, name in chunk.embeddings.items():
                own = self.embeddings[name]
                vectors[0, place + 1 : place + 1 + len(own)] = own.to(vectors)
            return vectors

        if not chunk.embeddings:
            yield
            return
        hook = self.text_encoder.get_input_embeddings().register_forward_hook(insert)
        try:
            yield
        finally:
            hook.remove()


def match_chunks(parts: Sequence[Conditions], name: str, encode_empty: Callable[[], Conditions]) -> Sequence[Conditions]:
    """Return ``parts`` with as many chunks in the tensor ``name`` as the longest of them.

    As in A1111, the shorter ones get chunks of the empty prompt, which ``encode_empty`` encodes.
    """
    lengths = [part.tensors[name].shape[1] for part in parts]
    if len(set(lengths)) == 1:
        return parts
    empty = encode_empty().tensors[name]
    matched = []
    for part, length in zip(parts, lengths, strict=True):
        missing = (max(lengths) - length) // empty.shape[1]
        matched.append(part.with_tensors({name: torch.cat([part.tensors[name], *[empty] * missing], 1)}))
    return matched
