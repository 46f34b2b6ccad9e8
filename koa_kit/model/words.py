"""Whether a text tower can read the words of the grades and tell them apart, by its tokens and before any training."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from itertools import combinations

from torch import Tensor

from koa_kit.errors import KoaError
from koa_kit.prompts import PromptSet

Tokenize = Callable[[list[str]], Tensor]


def check_words(prompts: PromptSet, tokenize: Tokenize) -> None:
    """Raise `KoaError` if two grades say the same to a text tower; warn of sentences that it does not read to the end.

    Sentences that differ can be the same tokens: a tower cuts long ones off, some ignore capitals and blanks, and
    scripts and signs it has never seen all become one token for "unknown".
    """
    read = [frozenset(map(tuple, tokenize(list(sentences)).tolist())) for sentences in prompts.prompts]
    for one, other in combinations(range(len(read)), 2):
        if read[one] == read[other]:
            raise KoaError(
                f"The text tower cannot tell KL{one} from KL{other}: it reads the same words for both.",
                where=f"prompt set {prompts.name!r}, KL{other}: {prompts.prompts[other][0][:60]!r}",
                remedy="Put what differs first, in words and letters the tower knows (MiniLM: English).",
            )
    if cut := unread(prompts.sentences, tokenize):
        warnings.warn(f"The text tower does not read the end of {cut[0][:60]!r}…: it is too long.", stacklevel=3)


def unread(sentences: Sequence[str], tokenize: Tokenize) -> list[str]:
    """Sentences whose last word a text tower never sees, because they are longer than its window of tokens."""
    texts = [text for text in dict.fromkeys(sentences) if len(text.split()) > 1]
    if not texts:
        return []
    shorter = tokenize([text.rsplit(maxsplit=1)[0] for text in texts])
    return [text for text, same in zip(texts, (tokenize(texts) == shorter).all(1), strict=True) if same]
