"""Small tokenizers of every kind, trained in milliseconds, and model folders with them."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from attncli.models.files.model_files import ModelFiles, open_files
from attncli.models.files.reference import parse_reference

CORPUS = [
    "the mole dug a tunnel under the lawn, and the mole dug more",
    "One mole of carbon dioxide weighs 44 grams",
    "Take a biopsy of the mole on the skin",
    "naïve café, Größe, élan; über die Straße",
] * 4

#: Mixed scripts, accents, emoji with joiners, odd spaces, decomposed letters, digits and a special token that is typed.
TEXTS = (
    "Hello world",
    " the moles  dug a tunnel\n\tunder the lawn ",
    "naïve café Größe ÉLAN e\u0301",
    "👍 the 👩‍👩‍👧 mole 🇩🇪",
    "日本語 и русский, עברית عربى हिन्दी ไทย",
    "x</s>y <s> [SEP] <|end|> z",
    "a\u00a0b\u3000c\u200dd \ufb01n \u2026",
    "12,345.678 == snake_case\\path",
)


def byte_bpe(*, prefix_space: bool = False, trim: bool = True, bos: bool = False) -> Tokenizer:
    """GPT-2's kind; with `bos`, Llama 3's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<s>", "</s>", "<|end|>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=trim)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 0)]
        )
    return tokenizer


def word_piece() -> Tokenizer:
    """BERT's kind."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=150, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    return tokenizer


def unigram() -> Tokenizer:
    """T5's kind."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    return tokenizer


def word_level() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(special_tokens=["[UNK]"], show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def byte_fallback() -> Tokenizer:
    """Llama 2's kind: what the vocabulary cannot spell becomes one `<0xF0>` a byte."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += ["▁", *"abcdefghijklmnopqrstuvwxyz", "▁m", "ol", "▁mol", "▁mole", "▁t", "he", "▁the"]
    merges = [("▁", "m"), ("o", "l"), ("▁m", "ol"), ("▁mol", "e"), ("▁", "t"), ("h", "e"), ("▁t", "he")]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in ("<unk>", "<s>", "</s>")])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)]
    )
    return tokenizer


KINDS = {
    "byte_bpe": byte_bpe,
    "word_piece": word_piece,
    "unigram": unigram,
    "word_level": word_level,
    "byte_fallback": byte_fallback,
}


def save(folder: Path, tokenizer: Tokenizer | None, **files: object) -> ModelFiles:
    """A folder with a tokenizer.json, and with the JSON files given by their names without the ending."""
    if tokenizer is not None:
        tokenizer.save(str(folder / "tokenizer.json"))
    for name, content in {"config": {"model_type": "gpt2"}, **files}.items():
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return open_files(parse_reference(str(folder)))
