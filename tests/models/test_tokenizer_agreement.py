"""A tokenizer.json with the settings beside it cuts as transformers' AutoTokenizer does, which is slower to load."""

from __future__ import annotations

from pathlib import Path

import pytest

from attncli.models.tokenizers.tokenizer_loader import load_tokenizer
from tests.tokens import vocabularies as made

GENERIC = "PreTrainedTokenizerFast"

#: GPT-2's class would else add its own default to the vocabulary.
ENDS = {"bos_token": "<|end|>", "eos_token": "<|end|>", "unk_token": "<|end|>"}

#: Name of the case: the tokenizer, its tokenizer_config.json, and the model type of its config.json.
AGREEING = {
    "byte-level BPE": (made.byte_bpe, {"tokenizer_class": GENERIC}, "gpt2"),
    "untrimmed offsets": (lambda: made.byte_bpe(trim=False), {"tokenizer_class": GENERIC}, "gpt2"),
    "no class named": (lambda: made.byte_bpe(trim=False), {}, "bloom"),
    "prefix space of the configuration": (
        lambda: made.byte_bpe(trim=False),
        {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": True, **ENDS},
        "gpt2",
    ),
    "prefix space that the class does not heed": (
        made.byte_bpe,
        {"tokenizer_class": GENERIC, "add_prefix_space": True},
        "gpt2",
    ),
    "BOS of the post-processor": (
        lambda: made.byte_bpe(bos=True),
        {"tokenizer_class": GENERIC, "bos_token": "<s>", "eos_token": "</s>", "add_bos_token": True},
        "llama",
    ),
    "BOS, although the configuration says no": (
        lambda: made.byte_bpe(bos=True),
        {"tokenizer_class": GENERIC, "bos_token": "<s>", "eos_token": "</s>", "add_bos_token": False},
        "llama",
    ),
    "no EOS, although the configuration says so": (
        lambda: made.byte_bpe(bos=True),
        {"tokenizer_class": GENERIC, "bos_token": "<s>", "eos_token": "</s>", "add_eos_token": True},
        "llama",
    ),
    "no BOS without a post-processor": (
        made.byte_fallback,
        {"tokenizer_class": GENERIC, "bos_token": "<s>", "add_bos_token": True},
        "llama",
    ),
    "byte fallback": (
        made.byte_fallback,
        {"tokenizer_class": "LlamaTokenizer", "legacy": True, "unk_token": "<unk>"},
        "llama",
    ),
    "WordPiece": (made.word_piece, {"tokenizer_class": "BertTokenizer"}, "bert"),
    "WordPiece, cased": (made.word_piece, {"tokenizer_class": "BertTokenizer", "do_lower_case": False}, "bert"),
    "WordPiece with accents": (made.word_piece, {"tokenizer_class": "BertTokenizer", "strip_accents": False}, "bert"),
    "WordPiece without Chinese": (
        made.word_piece,
        {"tokenizer_class": "BertTokenizerFast", "tokenize_chinese_chars": False},
        "bert",
    ),
    "Unigram": (made.unigram, {"tokenizer_class": GENERIC, "unk_token": "<unk>"}, "t5"),
    "word level": (made.word_level, {"tokenizer_class": GENERIC, "unk_token": "[UNK]"}, "gpt2"),
    "tokens that only the configuration names": (
        made.byte_bpe,
        {
            "tokenizer_class": GENERIC,
            "pad_token": "[SEP]",
            "mask_token": {"__type": "AddedToken", "content": "snake", "lstrip": True},
        },
        "gpt2",
    ),
    "extra special tokens": (
        made.word_level,
        {"tokenizer_class": GENERIC, "extra_special_tokens": ["<|end|>"]},
        "gpt2",
    ),
    "extra special tokens by name": (
        made.word_level,
        {"tokenizer_class": GENERIC, "extra_special_tokens": {"image_token": "mole"}},
        "gpt2",
    ),
    "additional special tokens": (
        made.word_piece,
        {"tokenizer_class": "BertTokenizer", "additional_special_tokens": ["<s>", "</s>"]},
        "bert",
    ),
    "added tokens with their flags": (
        made.byte_bpe,
        {
            "tokenizer_class": GENERIC,
            "added_tokens_decoder": {
                "331": {"content": "mole", "special": False, "normalized": True, "single_word": True},
                "330": {"content": "the ", "special": True},
                "1": {"content": "</s>", "lstrip": True, "rstrip": True, "special": True},
            },
        },
        "gpt2",
    ),
    "special tokens that are split": (
        made.byte_bpe,
        {"tokenizer_class": GENERIC, "split_special_tokens": True},
        "gpt2",
    ),
}


@pytest.mark.parametrize("case", AGREEING)
def test_agrees_with_transformers(case: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    build, config, model_type = AGREEING[case]
    backend = build()
    if case == "no BOS without a post-processor":
        backend.post_processor = None
    files = made.save(tmp_path, backend, tokenizer_config=config, config={"model_type": model_type})
    ours, theirs = load_tokenizer(files), AutoTokenizer.from_pretrained(str(tmp_path), local_files_only=True)
    assert ours.vocabulary_size == len(theirs)
    for text in made.TEXTS:
        for pair in (None, made.TEXTS[3]):
            for special in (True, False):
                _assert_same(ours, theirs, text, pair, special)


def _assert_same(ours, theirs, text: str, pair: str | None, special: bool) -> None:
    encoding = ours.encode(text, pair=pair, special=special)
    expected = theirs(
        text,
        pair,
        add_special_tokens=special,
        return_special_tokens_mask=True,
        return_offsets_mapping=True,
        return_token_type_ids=True,
    )
    assert list(encoding.ids) == expected["input_ids"]
    assert [int(sequence is None) for sequence in encoding.sequences] == expected["special_tokens_mask"]
    assert list(encoding.segments) == expected["token_type_ids"]
    assert [span or (0, 0) for span in encoding.spans] == expected["offset_mapping"]
    pieces = ours.describe(encoding.ids)
    assert [piece.token for piece in pieces] == theirs.convert_ids_to_tokens(expected["input_ids"])
    named = set(theirs.all_special_ids) - {theirs.unk_token_id, ours.unknown_id}
    assert {piece.id for piece in pieces if piece.special} >= named & set(encoding.ids)
