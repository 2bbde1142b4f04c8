"""The layers and heads that `-l`, `-H` and `--stack` choose, and how much of the model must be run for them."""

from __future__ import annotations

import pytest

from attncli.attention.selection import HeadName, LayerSpan, parse_selection
from attncli.errors import UsageError
from attncli.models.capture.structure import block_lists
from tests import tiny


@pytest.mark.parametrize(
    ("layer", "spans"),
    [
        (None, ()),
        (3, (LayerSpan(3, 3),)),
        ("0-2,5", (LayerSpan(0, 2), LayerSpan(5, 5))),
        ("-1", (LayerSpan(-1, -1),)),
        ([0, "2-3"], (LayerSpan(0, 0), LayerSpan(2, 3))),
    ],
)
def test_layers(layer, spans) -> None:
    assert parse_selection(layer).layers == spans


@pytest.mark.parametrize(
    ("head", "names"),
    [
        ("5.5, 6.9", (HeadName(None, 5, 5), HeadName(None, 6, 9))),
        ("cross.1.2", (HeadName("cross", 1, 2),)),
        (7, (HeadName(None, None, 7),)),
        ("-1.0", (HeadName(None, -1, 0),)),
    ],
)
def test_heads(head, names) -> None:
    assert parse_selection(head=head).heads == names


@pytest.mark.parametrize("wrong", [{"layer": "x"}, {"layer": "1-"}, {"head": "1.2.3.4"}, {"head": "a.b"}])
def test_what_cannot_be_read_says_what_can(wrong) -> None:
    with pytest.raises(UsageError) as caught:
        parse_selection(**wrong)
    assert caught.value.hint.startswith("-l accepts" if "layer" in wrong else "-H accepts")


@pytest.mark.parametrize(
    ("layer", "head", "stack", "expected"),
    [
        ("1", None, None, {"layer": 2}),
        ("-1", None, None, {"layer": 3}),
        (None, "0.2", None, {"layer": 1}),
        (None, "3", None, {}),
        ("0", "3", None, {"layer": 1}),
        (None, None, None, {}),
    ],
)
def test_depth_of_a_single_stack(layer, head, stack, expected) -> None:
    lists = block_lists(tiny.build(tiny.bert()))
    assert parse_selection(layer, head, stack).depth(lists) == {f"encoder.{k}": v for k, v in expected.items()}


@pytest.mark.parametrize(
    ("layer", "head", "stack", "expected"),
    [
        ("0", None, None, {"decoder.layers": 1}),
        ("1", None, "cross", {"decoder.layers": 2}),
        (None, "cross.1.0", None, {"decoder.layers": 2}),
        ("1", None, "encoder", {"encoder.layers": 2, "decoder.layers": 1}),
    ],
)
def test_a_decoder_needs_the_whole_encoder(layer, head, stack, expected) -> None:
    assert parse_selection(layer, head, stack).depth(block_lists(tiny.build(tiny.bart()))) == expected


@pytest.mark.parametrize("choice", [{"layer": "99"}, {"layer": "-4"}, {"head": "3.0"}, {"layer": "2-1"}])
def test_a_layer_that_is_not_there(choice) -> None:
    with pytest.raises(UsageError) as caught:
        parse_selection(**choice).depth(block_lists(tiny.build(tiny.bert())))
    if choice == {"layer": "99"}:
        assert (caught.value.message, caught.value.hint) == (
            "there is no layer 99 in the encoder",
            "-l accepts layers 0-2",
        )


def test_heads_in_a_layer() -> None:
    assert parse_selection(layer="1").heads_in("encoder", 1, 3, 4) == (0, 1, 2, 3)
    assert parse_selection(layer="1").heads_in("encoder", 0, 3, 4) == ()
    assert parse_selection(head="1.2,1.-1").heads_in("encoder", 1, 3, 4) == (2, 3)
    assert parse_selection(head="2", stack="cross").heads_in("encoder", 1, 3, 4) == ()
    with pytest.raises(UsageError, match="no head 4 in layer 1"):
        parse_selection(head="1.4").heads_in("encoder", 1, 3, 4)
