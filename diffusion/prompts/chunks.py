"""Prompts of any length in chunks of as many tokens as a text encoder reads at a time."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from diffusion.prompts.syntax import SYNTAX, Part, parse

MAX_CHUNKS: Final = 4  # of a prompt: each lengthens the attention of all that share its network calls
PROMPTS_CACHED: Final = 64  # a request is validated several times before it is drawn
COMMA_BACKTRACK: Final = 20  # a chunk ends at a comma at most this many tokens before it is full, as in A1111
WORDS: Final = re.compile(r"(?:(?<!\w)embedding:)?[\w-]+(?:\.[\w-]+)*", re.IGNORECASE)
NAMED: Final = re.compile(r"(?<!\w)embedding:([^\s,:()\[\]<>]+)", re.IGNORECASE)
TAG: Final = re.compile(rf"<?{NAMED.pattern}(?::[\d.]{{1,6}})?>?", re.IGNORECASE)  # as tools write it that weigh it so
EMBEDDING: Final = "embedding:"  # may stand before the name of an embedding

Tokenize = Callable[[list[str]], Sequence[Sequence[int]]]  # several texts at once, without start and end marks


@dataclass
class Chunk:
    """Token ids and their weights, at most as many as the text encoder reads.

    ``embeddings`` are names by the place of their first token; ids at their places have no meaning.
    """

    ids: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    embeddings: dict[int, str] = field(default_factory=dict)

    def add(self, ids: Sequence[int], weight: float, embedding: str = "") -> None:
        """Append tokens of one weight."""
        if embedding:
            self.embeddings[len(self.ids)] = embedding
        self.ids += ids
        self.weights += [weight] * len(ids)

    def split_off(self, place: int) -> "Chunk":
        """Remove the tokens from ``place`` on and return them as another chunk."""
        moved = {at - place: name for at, name in self.embeddings.items() if at >= place}
        rest = Chunk(self.ids[place:], self.weights[place:], moved)
        del self.ids[place:], self.weights[place:]
        self.embeddings = {at: name for at, name in self.embeddings.items() if at < place}
        return rest


class Chunker:
    """Splits prompts into chunks of ``size`` tokens.

    ``embeddings`` are the numbers of tokens that names in the prompt stand for, by these names in lower case.
    """

    def __init__(self, tokenize: Tokenize, size: int, embeddings: Mapping[str, int] | None = None) -> None:
        self.size = size
        self.embeddings = embeddings or {}
        self._tokenize = tokenize
        self._comma = [*tokenize([","])[0]]
        self.split = lru_cache(PROMPTS_CACHED)(self._split)

    def count(self, text: str) -> int:
        """Count the tokens of ``text``: as many as fit in all chunks but the last, and those of the last, at least one."""
        *full, last = self.split(text)
        return len(full) * self.size + max(len(last.ids), 1) if full else len(last.ids)

    def _split(self, text: str) -> list[Chunk]:
        """Return the chunks of ``text``, at least one. They are shared: do not change them."""
        if not self.embeddings and not SYNTAX.search(text):
            tokens = [*self._tokenize([text])[0]]
            if len(tokens) <= self.size:
                return [Chunk(tokens, [1.0] * len(tokens))]
        chunks = [Chunk()]
        comma = -1  # the place of the last comma in the last chunk
        for part, words in self._tokenized(parse(text)):
            if part.breaks:
                chunks.append(Chunk())
                comma = -1
            for ids, embedding in words:
                chunk = chunks[-1]
                is_comma = not embedding and list(ids) == self._comma
                if len(chunk.ids) + len(ids) > self.size:
                    ends_at_comma = not is_comma and comma >= 0 and len(chunk.ids) - comma <= COMMA_BACKTRACK
                    chunks.append(chunk.split_off(comma + 1) if ends_at_comma else Chunk())
                    comma = -1
                    if len(chunks[-1].ids) + len(ids) > self.size:  # a long embedding
                        chunks.append(Chunk())
                if is_comma:
                    comma = len(chunks[-1].ids)
                chunks[-1].add(ids, part.weight, embedding)
        return chunks

    def _tokenized(self, parts: list[Part]) -> Iterator[tuple[Part, Iterator[tuple[Sequence[int], str]]]]:
        """Yield ``parts`` with their tokens: one by one, and those of an embedding together with its name."""
        pieces = [list(self._pieces(part.text)) for part in parts]
        # One call for all texts, because each call takes as long as reading hundreds of tokens.
        tokens = iter(self._tokenize([text for piece in pieces for text, _ in piece]))
        for part, piece in zip(parts, pieces, strict=True):
            yield part, self._words(piece, tokens)

    def _pieces(self, text: str) -> Iterator[tuple[str, str]]:
        """Yield the texts before embeddings, each with the name of the one that follows it, and the last text."""
        start = 0
        for found in WORDS.finditer(text) if self.embeddings else ():
            name = found[0].lower().removeprefix(EMBEDDING)
            if self.embeddings.get(name):
                yield text[start : found.start()], name
                start = found.end()
        yield text[start:], ""

    def _words(self, pieces: list[tuple[str, str]], tokens: Iterator[Sequence[int]]) -> Iterator[tuple[Sequence[int], str]]:
        for _, name in pieces:
            yield from (([each], "") for each in next(tokens))
            if name:
                yield [0] * min(self.embeddings[name], self.size), name


def without_unknown_embeddings(text: str, embeddings: Mapping[str, int]) -> tuple[str, list[str]]:
    """Return ``text`` without the names behind "embedding:" that are none of ``embeddings``, and these names."""
    names: list[str] = []

    def drop(found: re.Match[str]) -> str:
        name = _name(found[1])
        if name.lower() in embeddings:
            return found[0]
        names.append(name)
        return ""

    return TAG.sub(drop, text), names


def unknown_embedding(text: str, embeddings: Mapping[str, int]) -> str | None:
    """Return the first name behind "embedding:" in ``text`` that is none of ``embeddings``."""
    names = (_name(found[1]) for found in NAMED.finditer(text))
    return next((name for name in names if name.lower() not in embeddings), None)


def _name(found: str) -> str:
    """Return a name without what ends a sentence."""
    return found.rstrip(".;!?")
