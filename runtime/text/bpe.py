"""CLIP's byte pair encoding, from OpenAI's published vocabulary file. The only file that speaks `tokenizers`.

Ids equal those ComfyUI gets from the tokenizer of transformers 4 without ftfy: Chinese characters are words of their
own, control and joining characters vanish (token_ids). transformers 5 leaves both alone (encode); ordinary text gives
the same ids either way.
Source: the vocabulary file (MIT, data/) and CLIP's paper: Radford et al., Learning Transferable Visual Models From
Natural Language Supervision (2021), section 2.4.
"""

from __future__ import annotations

import gzip
import re
import unicodedata
from functools import cache
from importlib.resources import files
from itertools import groupby

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

START_TOKEN = 49406
END_TOKEN = 49407

_MERGES = 49152 - 256 - 2  # the vocabulary holds 512 byte symbols, one symbol per merge and two special tokens
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_SPECIAL = ("<|startoftext|>", "<|endoftext|>")
# The blocks of unified ideographs: Chinese characters, not kana and not hangul.
_IDEOGRAPH = re.compile(
    "([\u4e00-\u9fff\u3400-\u4dbf\uf900-\ufaff\U00020000-\U0002a6df\U0002a700-\U0002ceaf\U0002f800-\U0002fa1f])"
)


def token_ids(text: str) -> list[int]:
    """The ids of a text, without start and end. Special tokens written out in the text count as such."""
    return encode(clean(text))


def encode(text: str) -> list[int]:
    """The ids of a text as it stands (NFC, in lower case, runs of white space as one)."""
    ids: list[int] = _tokenizer().encode(text, add_special_tokens=False).ids
    return ids


def clean(text: str) -> str:
    """Lower case, single spaces, no control characters (category C), ideographs apart, in normal form C."""
    if text.isascii() and text.isprintable():
        return " ".join(text.lower().split())
    kept = (c if not _dropped(c) else "" for c in text)
    spaced = _IDEOGRAPH.sub(r" \1 ", "".join(kept))
    return " ".join(word.lower() for word in unicodedata.normalize("NFC", _ordered(spaced)).split())


def _ordered(text: str) -> str:
    """Runs of combining marks in canonical order, into which a normal form would bring them in quadratic time."""
    runs = groupby(text, key=lambda char: unicodedata.combining(char) > 0)
    return "".join("".join(sorted(run, key=unicodedata.combining) if marks else run) for marks, run in runs)


def _dropped(char: str) -> bool:
    return char == "\ufffd" or (char not in "\t\n\r" and unicodedata.category(char).startswith("C"))


@cache
def _tokenizer() -> Tokenizer:
    merges = _merges()
    symbols = _byte_symbols()
    words = [*symbols, *(s + "</w>" for s in symbols), *("".join(pair) for pair in merges), *_SPECIAL]
    vocabulary = {word: i for i, word in enumerate(words)}
    bpe = models.BPE(vocab=vocabulary, merges=merges, unk_token=_SPECIAL[1], end_of_word_suffix="</w>")
    tokenizer = Tokenizer(bpe)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in _SPECIAL])
    return tokenizer


def _merges() -> list[tuple[str, str]]:
    """The file's first line is a version; each further line is a pair to merge, most frequent first."""
    packed = files("runtime.text").joinpath("data/bpe_simple_vocab_16e6.txt.gz")
    merges = []
    with packed.open("rb") as raw, gzip.open(raw, "rt", encoding="utf-8") as lines:
        next(lines)
        for line in lines:
            left, right = line.split()
            merges.append((left, right))
            if len(merges) == _MERGES:
                break
    return merges


def _byte_symbols() -> list[str]:
    """A printable character for each byte, in the order in which the vocabulary counts them: the printable Latin-1
    bytes stand for themselves, the others for the characters from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printable]
    return [chr(b) for b in printable] + [chr(0x100 + i) for i in range(len(others))]
