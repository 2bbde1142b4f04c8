"""The decoder's side of encoder–decoders: a text for it, ids, or what the model writes; and models of one stack."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

import attncli
from attncli.api.targets import in_words
from attncli.errors import ModelError, UsageError
from attncli.results.heads import HeadsResult
from attncli.results.tokens import Token
from tests import tiny
from tests.cli.conftest import attn
from tests.tokens.vocabularies import byte_bpe

TEXT, TARGET = "the mole dug the mole", "a mole"
SIDES = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in
         (("layers", 2), ("attention_heads", 4), ("ffn_dim", 48))}  # fmt: skip
SMALL = {"d_model": 32, "vocab_size": 330, "max_position_embeddings": 64, **SIDES}

CONFIGS = {
    "t5": lambda: transformers.T5Config(
        d_model=32, num_layers=2, num_heads=4, d_kv=8, d_ff=48, vocab_size=330, decoder_start_token_id=0
    ),
    "bart": lambda: transformers.BartConfig(**SMALL),
    "mbart": lambda: transformers.MBartConfig(**SMALL, decoder_start_token_id=2),
    "marian": lambda: transformers.MarianConfig(
        **SMALL, decoder_start_token_id=7, pad_token_id=7, eos_token_id=0, forced_eos_token_id=0
    ),
}
#: A translator is made to write its language first.
FORCED = {"mbart": 9, "bart": 0}


def saved(folder: Path, family: str, *, head: bool = True) -> str:
    """A tiny model with its head, a tokenizer whose ids it knows, and what it says of how it writes."""
    config = CONFIGS[family]()
    torch.manual_seed(3)
    kind = transformers.AutoModelForSeq2SeqLM if head else transformers.AutoModel
    model = kind.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn(parameter.shape) * 0.3)
    if head:
        model.generation_config.forced_bos_token_id = FORCED.get(family)
    model.save_pretrained(folder)
    byte_bpe(bos=True).save(str(folder / "tokenizer.json"))
    return str(folder)


def theirs(folder: str) -> transformers.PreTrainedModel:
    return transformers.AutoModelForSeq2SeqLM.from_pretrained(folder, attn_implementation="eager").eval()


def assert_agrees(result: HeadsResult, folder: str) -> None:
    """All three stacks hold what transformers hands out on the same ids on both sides."""
    encoder, decoder, cross = result.stacks
    given = {
        "input_ids": torch.tensor([[token.id for token in encoder.queries]]),
        "decoder_input_ids": torch.tensor([[token.id for token in decoder.queries]]),
    }
    with torch.no_grad():
        output = theirs(folder)(**given, output_attentions=True)
    expected = (output.encoder_attentions, output.decoder_attentions, output.cross_attentions)
    for stack, layers in zip((encoder, decoder, cross), expected, strict=True):
        assert len(stack.patterns) == sum(layer.shape[1] for layer in layers)
        for pattern in stack.patterns:
            np.testing.assert_allclose(pattern.weights, layers[pattern.layer][0, pattern.head].numpy(), atol=1e-5)
    assert cross.queries == decoder.queries and cross.keys == encoder.keys


@pytest.mark.parametrize("family", CONFIGS)
def test_a_target_stands_behind_what_the_decoder_begins_with(tmp_path: Path, family: str) -> None:
    folder = saved(tmp_path, family)
    result = attncli.heads(TEXT, model=folder, target=TARGET, patterns=True)
    plain = [int(id_) for id_ in attn("tokenize", TARGET, "-m", folder, "--ids", "--no-special").text.split()]
    start = CONFIGS[family]().decoder_start_token_id
    prefix = [start] if family not in FORCED else [start, FORCED[family]]
    decoder = result.stacks[1]
    assert [token.id for token in decoder.queries] == [*prefix, *plain]
    assert [token.index for token in decoder.queries] == list(range(len(prefix) + len(plain)))
    assert [token.special for token in decoder.queries[: len(prefix)]] == [True] * len(prefix)
    assert decoder.causal
    assert_agrees(result, folder)
    bare = attncli.heads(TEXT, model=folder, target=TARGET, no_special=True)
    assert [token.id for token in bare.stacks[1].queries] == [start, *plain]


@pytest.mark.parametrize("family", CONFIGS)
def test_what_the_model_writes_is_what_generate_gives(tmp_path: Path, family: str) -> None:
    folder = saved(tmp_path, family)
    result = attncli.heads(TEXT, model=folder, generate=5, patterns=True)
    ids = torch.tensor([[token.id for token in result.stacks[0].queries]])
    expected = theirs(folder).generate(ids, do_sample=False, num_beams=1, max_new_tokens=5)[0].tolist()
    assert [token.id for token in result.stacks[1].queries] == expected
    assert result.generated is not None and list(result.generated.ids) == expected[1:]
    if family in FORCED:
        assert expected[1] == FORCED[family]
    assert_agrees(result, folder)


def test_ids_are_given_as_they_are(tmp_path: Path) -> None:
    folder = saved(tmp_path, "bart")
    result = attncli.heads(input_ids=[5, 6, 7], model=folder, target_ids=[2, 0, 9, 11], patterns=True)
    assert [token.id for token in result.stacks[1].queries] == [2, 0, 9, 11]
    assert_agrees(result, folder)
    shown = attn("heads", "--input-ids", "5 6 7", "--target-ids", "2,0,9", "-m", folder, "--json")
    assert [token["id"] for token in json.loads(shown.text)["stacks"][1]["queries"]] == [2, 0, 9]
    wrong = attn("heads", TEXT, "--target-ids", "2 x", "-m", folder)
    assert (wrong.code, wrong.error) == (
        2,
        ("'x' is no token id", '--target-ids takes whole numbers, as in --target-ids "5 6 7"'),
    )
    beyond = attn("heads", TEXT, "--target-ids", "2 330", "-m", folder)
    assert beyond.code == 2 and beyond.error[0] == "the vocabulary has no token 330"


def test_the_command_shows_every_stack_and_says_what_was_written(tmp_path: Path) -> None:
    folder = saved(tmp_path, "t5")
    shown = attn("heads", TEXT, "-m", folder, "--generate", "4")
    assert shown.code == 0
    lines = shown.text.splitlines()
    # 6 tokens of the text; a start token and four more.
    assert "encoder · 2 layers × 4 heads · 6 tokens · each sees every other" in lines
    assert "decoder · 2 layers × 4 heads · 5 tokens · each sees itself and earlier ones" in lines
    assert "cross · 2 layers × 4 heads · 5 decoder tokens look at 6 encoder tokens" in lines
    generated = json.loads(attn("heads", TEXT, "-m", folder, "--generate", "4", "--json").text)["generated"]
    assert set(generated) == {"ids", "text"} and len(generated["ids"]) == 4
    assert 'note: the model wrote 4 tokens: "' in shown.err
    alone = attn("heads", TEXT, "-m", folder)
    assert "note: the decoder was given its start token alone (--target TEXT or --generate N" in alone.err


def test_positions_are_of_the_stack_that_has_them(tmp_path: Path) -> None:
    folder = saved(tmp_path, "t5")

    def stacks(**options: str) -> list[str]:
        return [stack.stack for stack in attncli.heads(TEXT, model=folder, target="a tunnel", **options).stacks]

    assert stacks(query="dug") == ["encoder"]
    assert stacks(query="tunnel") == ["decoder", "cross"]
    assert stacks(query="tunnel", key="dug") == ["cross"]
    assert stacks(query="0") == ["encoder", "decoder", "cross"]
    with pytest.raises(UsageError, match="--query: 'cat' is not in the text"):
        stacks(query="cat")
    (steps,) = attncli.heads(TEXT, model=folder, target="a tunnel", query="tunnel", steps=True).steps or ()
    assert steps.name == "decoder.0.0"
    (steps,) = attncli.heads(TEXT, model=folder, target="a tunnel", stack="cross", steps=True).steps or ()
    assert (steps.name, len(steps.keys)) == ("cross.0.0", 6)


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ({"target": "a", "generate": 3}, "--target and --generate can't be combined", "leave one of them out"),
        ({"target": "a", "target_ids": [1]}, "--target and --target-ids can't be combined", "leave one of them out"),
        ({"target": ""}, "the target is empty", "give it some text"),
        ({"generate": 0}, "0 tokens can't be written", "--generate takes a number from 1"),
        (
            {"generate": 64},
            "64 more tokens are too many: the model takes 64",
            "--generate takes 63 at most here",
        ),
        (
            {"target": "mole " * 70},
            "the target has 7\\d tokens and the decoder takes 64",
            "--truncate cuts it to fit",
        ),
    ],
)
def test_targets_that_can_not_be(tmp_path: Path, options: dict[str, object], message: str, hint: str) -> None:
    folder = saved(tmp_path, "bart")
    with pytest.raises(UsageError, match=message) as caught:
        attncli.heads(TEXT, model=folder, **options)
    assert (caught.value.hint, caught.value.exit_code) == (hint, 2)


def test_a_long_target_is_cut_where_that_is_asked_for(tmp_path: Path) -> None:
    folder = saved(tmp_path, "bart")
    result = attncli.heads(TEXT, model=folder, target="mole " * 70, truncate=True)
    assert len(result.stacks[1].queries) == 64
    assert "the target was cut to the 64 tokens that the decoder takes" in result.notes


@pytest.mark.parametrize("option", [("--target", "a mole"), ("--target-ids", "5 6"), ("--generate", "3")])
def test_models_without_a_decoder_say_so(option: tuple[str, str]) -> None:
    outcome = attn("heads", TEXT, *option)
    assert (outcome.code, outcome.text) == (2, "")
    does = (
        "writes no text"
        if option[0] == "--generate"
        else "is no encoder–decoder: there is no second text that it reads"
    )
    assert outcome.error == (
        f"BertModel {does}",
        f"leave {option[0]} out, or name an encoder–decoder such as google-t5/t5-small (-m)",
    )


def test_a_model_of_one_stack_that_writes_reads_no_target_either() -> None:
    model = tiny.build(tiny.gpt2())
    with pytest.raises(UsageError, match="GPT2Model is no encoder–decoder"):
        attncli.heads(model=model, input_ids=[5, 7], target_ids=[1, 2])


@pytest.mark.parametrize("family", ["t5", "bart"])
@pytest.mark.parametrize("options", [{}, {"target": TARGET}, {"generate": 2}])
def test_a_rollout_is_of_the_stacks_that_have_one(tmp_path: Path, family: str, options: dict[str, object]) -> None:
    folder = saved(tmp_path, family)
    result = attncli.heads(TEXT, model=folder, rollout=True, **options)  # type: ignore[arg-type]
    assert [stack.stack for stack in result.stacks] == ["encoder", "decoder"]
    for stack in result.stacks:
        (pattern,) = stack.patterns
        assert (pattern.layer, pattern.head) == (1, None)
        np.testing.assert_allclose(pattern.weights.sum(axis=1), 1, atol=1e-5)
    assert "cross" not in str(result)


def test_cross_attention_has_no_rollout(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cross-attention has no rollout"):
        attncli.heads(TEXT, model=saved(tmp_path, "t5"), rollout=True, stack="cross")


def test_many_texts_have_no_target() -> None:
    with pytest.raises(UsageError, match="--generate goes with one text"):
        attncli.heads([TEXT, TARGET], generate=3)


def test_weights_without_a_head_write_nothing(tmp_path: Path) -> None:
    # T5's head is its token table, which the file has.
    assert attncli.heads(TEXT, model=saved(tmp_path / "t5", "t5", head=False), generate=2).generated is not None
    tiny.save(tmp_path / "llama", tiny.llama())
    with pytest.raises(ModelError, match=r"have no language-model head to write with \(lm_head\.weight\)"):
        attncli.heads(input_ids=[5, 6], model=str(tmp_path / "llama"), generate=2)
    with pytest.raises(UsageError, match="T5Model has no language-model head to write with"):
        attncli.heads(input_ids=[5, 6], model=tiny.build(tiny.t5()), generate=2)


def test_a_model_of_one_stack_goes_on_from_the_text() -> None:
    result = attncli.heads("abcdefgh abcd", model="builtin:induction", generate=6)
    assert result.generated is not None and result.generated.text == "efgh a"
    (stack,) = result.stacks
    assert "".join(token.text for token in stack.queries) == "abcdefgh abcdefgh a"
    assert [token.index for token in stack.queries] == list(range(19))
    # The first goes on with the last word of the text.
    assert [token.word for token in stack.queries[-7:]] == [1, 1, 1, 1, 1, None, 2]
    with pytest.raises(UsageError, match="300 more tokens are too many"):
        attncli.heads(input_ids=[5, 6], model=tiny.build(tiny.gpt2()), generate=300)


def test_words_of_tokens_without_a_text() -> None:
    texts = ("<s>", " the", " mo", "le", " ", "dug", ".")
    tokens = tuple(Token(i, i, text, text, special=i == 0) for i, text in enumerate(texts))
    assert [token.word for token in in_words(tokens)] == [None, 0, 1, 1, None, 2, 2]
