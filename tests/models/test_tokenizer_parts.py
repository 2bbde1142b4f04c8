"""What a tokenizer is made of, and what its parts do to a text before the model sees it."""

from __future__ import annotations

from tokenizers import AddedToken, NormalizedString, Tokenizer, models, normalizers, pre_tokenizers, processors

from attncli.models.tokenizers.pipeline import PipelineStep, PreToken, Segment, TemplateSlot, TokenizerPipeline
from attncli.models.tokenizers.slow import PythonTokenizer
from attncli.models.tokenizers.tokenizer_loader import wrap_tokenizer
from attncli.models.tokenizers.types import Piece
from tests.tokens.vocabularies import byte_bpe, unigram, word_piece


def _bare() -> Tokenizer:
    return Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))


def test_a_tokenizer_gives_its_parts() -> None:
    parts = wrap_tokenizer(word_piece()).pipeline()
    assert isinstance(parts, TokenizerPipeline)
    assert parts.pre_tokenizer == (PipelineStep("BertPreTokenizer", {}),)
    assert parts.model()["vocab"]["[CLS]"] == 2


def test_a_tokenizer_of_python_code_has_none() -> None:
    class Loaded:
        all_special_ids = ()

    assert PythonTokenizer(Loaded(), max_length=None, slow=True).pipeline() is None


def test_a_bert_normaliser_is_listed_as_its_steps() -> None:
    tokenizer = _bare()
    tokenizer.normalizer = normalizers.BertNormalizer(clean_text=False, lowercase=True)
    told = [part.settings for part in TokenizerPipeline(tokenizer).normalizer]
    assert told == [{"handle_chinese_chars": True}, {"strip_accents": True}, {"lowercase": True}]


def test_each_step_of_a_normaliser_has_its_text() -> None:
    tokenizer = _bare()
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(" ", "_")])
    (segment,) = TokenizerPipeline(tokenizer).pre_tokenize("A B").segments
    assert segment == Segment(0, 3, ("a b", "a_b"))


def test_a_pre_token_knows_where_it_comes_from() -> None:
    cut = TokenizerPipeline(unigram()).pre_tokenize("ﬁn é</s>x")
    assert cut.pre_tokens == (
        PreToken(0, 2, "▁fin"),
        PreToken(2, 4, "▁é"),
        PreToken(4, 8, "</s>", added=1),
        PreToken(8, 9, "▁x"),
    )
    assert cut.counts == (4,)


def test_only_the_start_of_the_text_counts_as_its_start() -> None:
    tokenizer = _bare()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.add_tokens([AddedToken("<s>", normalized=False)])
    forms = [each.form for each in TokenizerPipeline(tokenizer).pre_tokenize("a<s>b").pre_tokens]
    assert forms == ["▁a", "<s>", "b"]


def test_added_tokens_follow_their_strip_and_single_word_flags() -> None:
    tokenizer = _bare()
    flags = {"normalized": False, "special": False}
    tokenizer.add_tokens([AddedToken("ab", single_word=True, **flags), AddedToken("<x>", lstrip=True, **flags)])
    cut = TokenizerPipeline(tokenizer).pre_tokenize("ab abc  <x>")
    found = [(each.form, each.added) for each in cut.pre_tokens]
    assert found == [("ab", 1), (" abc", None), ("  <x>", 2)]


def test_special_tokens_may_be_encoded_as_text() -> None:
    tokenizer = word_piece()
    tokenizer.encode_special_tokens = True
    assert [each.form for each in TokenizerPipeline(tokenizer).pre_tokenize("[SEP]").pre_tokens] == ["[", "sep", "]"]


def test_the_template_is_read_from_any_post_processor() -> None:
    text = TemplateSlot("$A")
    assert TokenizerPipeline(_bare()).template() == (text,)
    assert TokenizerPipeline(byte_bpe()).template() == (text,)
    assert TokenizerPipeline(byte_bpe(bos=True)).template() == (TemplateSlot("<s>", (0,)), text)
    tokenizer = _bare()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    assert TokenizerPipeline(tokenizer).template() == (TemplateSlot("[CLS]", (2,)), text, TemplateSlot("[SEP]", (3,)))


def test_parts_in_python_code_are_run_as_well() -> None:
    class Shouting:
        def normalize(self, text: NormalizedString) -> None:
            text.uppercase()

    tokenizer = _bare()
    tokenizer.normalizer = normalizers.Normalizer.custom(Shouting())
    parts = TokenizerPipeline(tokenizer)
    assert parts.pre_tokenize("mole").segments == (Segment(0, 4, ("MOLE",)),)
    assert [part.settings for part in parts.normalizer] == [{}]


def test_the_tokenizer_stays_as_it_was() -> None:
    tokenizer = word_piece()
    before = tokenizer.to_str()
    TokenizerPipeline(tokenizer).pre_tokenize("Take a biopsy [SEP] of the mole")
    assert tokenizer.to_str() == before
    assert Piece.of(58, "the", b"the") in wrap_tokenizer(tokenizer).describe([58])
