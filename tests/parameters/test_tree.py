"""Modules as a tree, unembeddings that files leave out, and models side by side."""

from __future__ import annotations

from attncli.parameters.classify import classify
from attncli.parameters.count import compare_counts, module_tree
from attncli.parameters.inventory import inventory_from_header
from attncli.parameters.reconcile import with_tied_unembedding
from attncli.results.params import Active, Component, Node, ParameterCount
from tests.parameters.counting import inventory_of

GPT2 = {"n_embd": 8, "n_layer": 3, "n_head": 2, "vocab_size": 10, "n_positions": 4}


def shown(nodes: tuple[Node, ...]) -> list[tuple[str, str | None, int, int]]:
    return [(node.name, node.last, node.copies, node.parameters) for node in nodes]


def test_layers_that_are_alike_stand_together() -> None:
    (transformer,) = module_tree(classify(inventory_of("GPT2", **GPT2)), depth=3, tensors=False)
    block = 12 * 64 + 13 * 8
    assert (transformer.name, transformer.parameters) == ("transformer", 80 + 32 + 3 * block + 16)
    assert shown(transformer.children) == [
        ("wte", None, 1, 80), ("wpe", None, 1, 32), ("h", None, 1, 3 * block), ("ln_f", None, 1, 16)
    ]  # fmt: skip
    assert shown(transformer.children[2].children) == [("0", "2", 3, block)]


def test_tensors_have_shapes_and_components() -> None:
    (transformer,) = module_tree(classify(inventory_of("GPT2", **GPT2)), depth=None, tensors=True)
    (blocks,) = transformer.children[2].children
    fused = blocks.children[1].children[0].children[0]
    assert fused == Node("weight", 192, shape=(8, 24), component="attention.query+attention.key+attention.value")


def test_layers_that_differ_stand_apart() -> None:
    names = {f"h.{index}.mlp.up.weight": (2, index // 2 + 1) for index in range(5)}
    (h,) = module_tree(classify(inventory_from_header(names)), depth=2, tensors=False)
    assert shown(h.children) == [("0", "1", 2, 2), ("2", "3", 2, 4), ("4", None, 1, 6)]


def test_who_writes_without_an_unembedding_uses_the_table() -> None:
    names = {"model.embed_tokens.weight": (10, 4), "model.layers.0.mlp.up_proj.weight": (4, 4)}
    tied = with_tied_unembedding(inventory_from_header(names))
    assert tied.total == 56
    assert tied.tied == (("model.embed_tokens.weight", "lm_head.weight"),)
    whole = inventory_from_header({**names, "lm_head.weight": (10, 4)})
    assert with_tied_unembedding(whole) == whole


def counted(name: str, *components: Component) -> ParameterCount:
    total = sum(component.parameters for component in components)
    return ParameterCount(name, "config", total, components, (), (), (), None, Active(total, total))


def test_components_are_aligned() -> None:
    one = counted("one", Component("text", "attention.query", 4, 0), Component("text", "norm", 2, 1))
    two = counted("two", Component("text", "mlp.up", 8, 0), Component("text", "norm", 2, 0))
    assert [tuple(difference) for difference in compare_counts([one, two])] == [
        ("text", "attention.query", (4, 0)),
        ("text", "mlp.up", (0, 8)),
        ("text", "norm", (3, 2)),
    ]
    assert compare_counts([one]) == ()


def test_parts_are_told_apart_where_there_are_several() -> None:
    one = counted("one", Component("encoder", "norm", 4, 0), Component("decoder", "norm", 2, 0))
    two = counted("two", Component("text", "norm", 8, 0))
    assert [tuple(difference) for difference in compare_counts([one, two])] == [
        ("encoder", "norm", (4, 0)),
        ("decoder", "norm", (2, 0)),
        ("text", "norm", (0, 8)),
    ]
    alone = counted("alone", Component("vision", "norm", 1, 0))
    assert [tuple(difference) for difference in compare_counts([two, alone])] == [("text", "norm", (8, 1))]
