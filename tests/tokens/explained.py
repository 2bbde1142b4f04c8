"""Small tokenizers with every setting that changes how a text is split, for the tests of `--why`."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

#: What random texts are made of: letters in and out of the vocabularies, added tokens, spaces, marks, bytes.
PARTS = ("a", "b", "c", "é", "日", " ", "<s>", "ab", "[X]", "Éa", "e\u0301", "1", ".", "👍", " b", "abcab")

texts = st.lists(st.sampled_from(PARTS), min_size=1, max_size=12).map("".join)
_letters = st.text("abcé日 ", min_size=1, max_size=4)


@st.composite
def bpe_models(draw: st.DrawFn) -> models.BPE:
    prefix = draw(st.sampled_from(["", "", "##"]))
    suffix = draw(st.sampled_from(["", "", "</w>"]))
    letters = draw(st.lists(st.sampled_from("abcé "), unique=True, min_size=2))
    forms = [before + letter + after for letter in letters for before in {"", prefix} for after in {"", suffix}]
    entries = list(dict.fromkeys(sorted(forms)))
    merges: dict[tuple[str, str], None] = {}
    for _ in range(draw(st.integers(0, 12))):
        left, right = draw(st.sampled_from(entries)), draw(st.sampled_from(entries))
        if right.startswith(prefix):
            merges[left, right] = None
            entries = list(dict.fromkeys([*entries, left + right.removeprefix(prefix)]))
    has_bytes, unknown = draw(st.booleans()), draw(st.sampled_from([None, "<unk>"]))
    extra = [f"<0x{byte:02X}>" for byte in range(256 if draw(st.booleans()) else 0xC0)] if has_bytes else []
    vocabulary = {entry: number for number, entry in enumerate(dict.fromkeys([*entries, "<unk>", "abcab", *extra]))}
    optional = {"continuing_subword_prefix": prefix, "end_of_word_suffix": suffix, "unk_token": unknown}
    return models.BPE(
        vocabulary,
        draw(st.permutations(list(merges))),
        fuse_unk=draw(st.booleans()),
        byte_fallback=has_bytes,
        ignore_merges=draw(st.booleans()),
        **{name: value for name, value in optional.items() if value},
    )


@st.composite
def unigram_models(draw: st.DrawFn) -> models.Unigram:
    score = st.sampled_from([-1.0, -2.0, -3.0]) | st.floats(-5, 0)  # equal sums are frequent
    pieces = draw(st.dictionaries(_letters, score, min_size=3, max_size=25))
    has_bytes = draw(st.booleans())
    extra = [(f"<0x{byte:02X}>", -1.0) for byte in range(256)] if has_bytes else []
    return models.Unigram([("<unk>", 0.0), *pieces.items(), *extra], 0, has_bytes)


@st.composite
def wordpiece_models(draw: st.DrawFn) -> models.WordPiece:
    pieces = draw(st.lists(st.tuples(st.sampled_from(["", "##"]), _letters), min_size=3, max_size=25))
    entries = dict.fromkeys(["[UNK]", *(prefix + letters for prefix, letters in pieces)])
    vocabulary = {entry: number for number, entry in enumerate(entries)}
    return models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=draw(st.sampled_from([4, 100])))


@st.composite
def wordlevel_models(draw: st.DrawFn) -> models.WordLevel:
    entries = dict.fromkeys(["[UNK]", *draw(st.lists(_letters, max_size=12))])
    return models.WordLevel({entry: number for number, entry in enumerate(entries)}, unk_token="[UNK]")


def _normalizers() -> Iterator[normalizers.Normalizer]:
    yield from (normalizers.NFD(), normalizers.NFKC(), normalizers.StripAccents(), normalizers.Lowercase())
    yield from (normalizers.Replace(" ", "▁"), normalizers.Replace(Regex("a+"), "b"), normalizers.Prepend("▁"))
    yield from (normalizers.Strip(), normalizers.BertNormalizer(), normalizers.BertNormalizer(strip_accents=False))


def _pre_tokenizers() -> Iterator[pre_tokenizers.PreTokenizer]:
    for prefix in (True, False):
        yield pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    yield pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    for scheme in ("always", "first", "never"):
        yield pre_tokenizers.Metaspace(prepend_scheme=scheme, split=scheme == "always")
    yield from (pre_tokenizers.Whitespace(), pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Digits())
    for behavior in ("isolated", "removed", "merged_with_previous", "merged_with_next", "contiguous"):
        yield pre_tokenizers.Split(Regex("b"), behavior)


def _post_processors() -> Iterator[processors.PostProcessor | None]:
    around = processors.TemplateProcessing(single="<z> $A <z> <z>", special_tokens=[("<z>", 1)])
    yield from (None, processors.ByteLevel(), around, processors.Sequence([processors.ByteLevel(), around]))
    yield processors.RobertaProcessing(("x", 0), ("y", 1))


_added = st.builds(
    AddedToken,
    st.sampled_from(["<s>", "ab", "[X]", "a b", "Éa", " b"]),
    lstrip=st.booleans(),
    rstrip=st.booleans(),
    single_word=st.booleans(),
    normalized=st.booleans(),
    special=st.booleans(),
)


@st.composite
def tokenizers(draw: st.DrawFn) -> Tokenizer:
    """A tokenizer of any kind of model, with any of the parts around it."""
    tokenizer = Tokenizer(draw(bpe_models() | unigram_models() | wordpiece_models() | wordlevel_models()))
    if steps := draw(st.lists(st.sampled_from(list(_normalizers())), max_size=2)):
        tokenizer.normalizer = normalizers.Sequence(steps)
    if cuts := draw(st.lists(st.sampled_from(list(_pre_tokenizers())), max_size=2)):
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(cuts)
    if (processor := draw(st.sampled_from(list(_post_processors())))) is not None:
        tokenizer.post_processor = processor
    added = draw(st.lists(_added, max_size=3, unique_by=lambda token: token.content))
    tokenizer.add_tokens(added)
    tokenizer.encode_special_tokens = draw(st.booleans())
    return tokenizer
