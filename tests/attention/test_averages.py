"""Means over texts and their intervals: by hand, against one text at a time, and against tables of Student's t."""

from __future__ import annotations

import math
import statistics
from functools import cache

import pytest
import torch
import transformers

import attncli
from attncli.api.heads_many import TextTokens
from attncli.attention.averages import Averages, BatchCheck, Moments, confidence_interval, student_quantile
from attncli.attention.inputs import build_inputs
from attncli.attention.selection import HeadsRequest, parse_selection
from attncli.metrics import METRICS
from attncli.models.loading.loaded_model import wrap_model
from tests import tiny
from tests.tiny import read_heads

NAN = math.nan

#: Texts of different lengths; only in two of them something repeats.
TEXTS = [[5, 7, 9, 11, 5, 7, 9, 13, 17], [8, 4, 8], [21, 22, 23, 24, 25], [30, 31]]


def moments(*values: float) -> Moments:
    """The moments of one metric of one head."""
    return Moments.from_values(torch.tensor(values, dtype=torch.float64)[:, None, None])


def numbers(found: Moments) -> tuple[float, float, float]:
    return float(found.count), float(found.mean), float(found.squares)


def test_moments_by_hand() -> None:
    assert numbers(moments(1, 2, 6)) == (3, 3, 4 + 1 + 9)
    assert numbers(moments(NAN, 2, 6)) == (2, 4, 8)
    assert numbers(moments(NAN)) == (0, 0, 0)


@pytest.mark.parametrize("cut", range(7))
def test_moments_of_parts_are_those_of_the_whole(cut: int) -> None:
    # Far from 0, where a difference of sums of squares would be wrong.
    values = [1e8 + step for step in (1.0, 2.0, NAN, 6.0, 3.5, NAN)]
    count, mean, squares = numbers(moments(*values[:cut]).merged(moments(*values[cut:])))
    assert (count, mean) == (4, 1e8 + 3.125)
    assert squares == pytest.approx(sum((value - 3.125) ** 2 for value in (1, 2, 6, 3.5)), rel=1e-6)


@pytest.mark.parametrize(
    ("freedom", "expected"),
    [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (7, 2.3646), (29, 2.0452), (120, 1.9799), (1000, 1.9623)],
)
def test_the_quantiles_are_those_of_the_tables(freedom: int, expected: float) -> None:
    assert student_quantile(freedom) == pytest.approx(expected, abs=5e-5)


def test_the_expansion_takes_over_where_it_is_exact() -> None:
    below, above = student_quantile(300), student_quantile(301)
    assert below > above > 1.96 and below - above < 1e-4


def test_an_interval_is_the_mean_and_t_standard_errors() -> None:
    values = [0.2, 0.5, 0.9, 0.4]
    mean = statistics.mean(values)
    half = 3.182446305 * statistics.stdev(values) / math.sqrt(4)
    squares = sum((value - mean) ** 2 for value in values)
    assert confidence_interval(mean, squares, 4) == pytest.approx((mean - half, mean + half))
    assert confidence_interval(0.5, 0.0, 1) is None and confidence_interval(0.0, 0.0, 0) is None
    assert confidence_interval(0.5, 0.0, 2) == (0.5, 0.5)


def averages(
    family: str,
    *,
    batches: list[list[list[int]]],
    pad_left: bool = False,
    request: HeadsRequest = HeadsRequest(),  # noqa: B008
) -> Averages:
    loaded = tiny.loaded(family)
    found = Averages(request)
    for batch in batches:
        found.add(loaded, build_inputs(loaded, [tiny.tokens(ids) for ids in batch], pad_left=pad_left))
    return found


@cache
def one_by_one(family: str) -> list:
    loaded = tiny.loaded(family)
    return [read_heads(loaded, build_inputs(loaded, [tiny.tokens(ids)]), HeadsRequest()) for ids in TEXTS]


#: One of each way to attend. (Padding and all families: test_agreement.) What counts its positions from the left of
#: the tensor, padding or not, can't be padded there.
@pytest.mark.parametrize(
    ("family", "pad_left"),
    [
        *((family, False) for family in ("bert", "gpt_oss", "t5")),
        ("t5", True),
    ],
)
def test_a_padded_batch_gives_the_mean_of_single_texts(family: str, pad_left: bool) -> None:
    found = averages(family, batches=[TEXTS[:3], TEXTS[3:]], pad_left=pad_left)
    assert found.texts == len(TEXTS)
    singles = one_by_one(family)
    for place, stack in enumerate(found.stacks()):
        assert (stack.stack, stack.queries, stack.keys, stack.patterns) == (singles[0][place].stack, (), (), ())
        for index, head in enumerate(stack.metrics):
            alone = [single[place].metrics[index].values for single in singles]
            for name in METRICS:
                shown = [values[name] for values in alone if values[name] is not None]
                assert head.spread.counts[name] == len(shown)
                expected = statistics.mean(shown) if shown else None
                assert head.values[name] == (expected if expected is None else pytest.approx(expected, abs=1e-5))


def test_how_the_texts_are_batched_makes_no_difference() -> None:
    whole = averages("gpt2", batches=[TEXTS])
    apart = averages("gpt2", batches=[[text] for text in reversed(TEXTS)])
    for one, other in zip(whole.stacks()[0].metrics, apart.stacks()[0].metrics, strict=True):
        assert one.labels == other.labels
        assert one.values == pytest.approx(other.values, abs=1e-5)
        for name in METRICS:
            ends = one.interval(name)
            assert ends == (None if ends is None else pytest.approx(other.interval(name), abs=1e-4))


#: Models whose states depend on what is beside a text: a convolution over tokens, with and without an approximation.
LEAKING = {
    "convbert": lambda: transformers.ConvBertConfig(**tiny.COMMON, embedding_size=32, max_position_embeddings=64),
    "nystromformer": lambda: transformers.NystromformerConfig(
        **tiny.COMMON, segment_means_seq_len=64, num_landmarks=64, conv_kernel_size=5, max_position_embeddings=64
    ),
}


def count_batches(model: transformers.PreTrainedModel) -> list[int]:
    """The number of texts of every pass from now on."""
    sizes: list[int] = []
    model.register_forward_pre_hook(lambda _, args, given: sizes.append(len(given["input_ids"])), with_kwargs=True)
    return sizes


@pytest.mark.parametrize("name", [*LEAKING, "bert"])
def test_no_batch_changes_a_number(name: str) -> None:
    """ConvBERT gave a head's `duplicate` as 0.04 in place of 0.42, as the padding of a short text was convolved."""
    model = tiny.build(LEAKING[name]() if name in LEAKING else tiny.bert(), seed=1)
    generator = torch.Generator().manual_seed(0)
    long = torch.randint(3, 60, (40,), generator=generator).tolist()
    texts = [long[:3] * 2 + long[3:4], long, [8, 4, 8, 5, 6, 9, 7]]
    singles = [attncli.heads(input_ids=text, model=model).stacks[0].metrics for text in texts]
    sizes = count_batches(model)
    found = attncli.heads(input_ids=texts, model=model).stacks[0].metrics
    for index, head in enumerate(found):
        for metric in METRICS:
            shown = [heads[index].values[metric] for heads in singles if heads[index].values[metric] is not None]
            expected = pytest.approx(statistics.mean(shown), abs=1e-4) if shown else None
            assert head.values[metric] == expected
    # Two short texts together, and one of them alone, show it; texts of one length still share a batch.
    assert sizes == ([1, 2, 1, 1, 2, 2] if name in LEAKING else [1, 2, 3])


def test_the_probe_is_batched_where_that_changes_nothing() -> None:
    """Its sequences are equally long, so that there is no padding to leak."""
    model = tiny.build(LEAKING["convbert"]())
    sizes = count_batches(model)
    attncli.heads(probe=True, model=model)
    assert sizes == [1, 2, 8]


def test_texts_that_compete_run_alone() -> None:
    """Where the other texts of a batch count, even equal lengths don't help."""
    model = tiny.build(tiny.bert())
    layer = model.encoder.layer[0]
    layer.register_forward_hook(lambda _, args, output: output + output.mean(dim=0, keepdim=True))
    texts = [[5, 6, 7, 5], [8, 9, 10, 8], [11, 12, 11]]
    singles = [attncli.heads(input_ids=text, model=model).stacks[0].metrics for text in texts]
    found = attncli.heads(input_ids=texts, model=model).stacks[0].metrics
    for index, head in enumerate(found):
        expected = statistics.mean(heads[index].values["entropy"] for heads in singles)
        assert head.values["entropy"] == pytest.approx(expected, abs=1e-4)


def test_a_leak_that_only_long_texts_show_is_found() -> None:
    """Short texts come first here, and say nothing of what happens beyond 16 tokens."""
    model = tiny.build(tiny.bert())

    def leak(_: object, args: object, output: torch.Tensor) -> torch.Tensor:
        return output + (output[:, 16:].sum(dim=1, keepdim=True) if output.shape[1] > 16 else 0)

    model.encoder.layer[0].register_forward_hook(leak)
    check = BatchCheck(wrap_model(model))
    texts = [TextTokens(tiny.tokens([3 + i % 50 for i in range(length)]), (0,) * length) for length in (40, 9, 8, 7)]
    assert [len(part) for part in check.split(texts[1:])] == [3]
    assert [len(part) for part in check.split(texts)] == [1, 1, 1, 1]


def test_baselines_are_means_over_texts_as_well() -> None:
    found = averages("gpt2", batches=[TEXTS])
    singles = one_by_one("gpt2")
    expected = statistics.mean(stack.baselines[1]["first"] for (stack,) in singles)
    assert found.stacks()[0].baselines[1]["first"] == pytest.approx(expected)


def test_what_several_found_is_what_one_would_have() -> None:
    whole = averages("t5", batches=[TEXTS[:2], TEXTS[2:]])
    parts = [averages("t5", batches=[batch]) for batch in (TEXTS[:2], TEXTS[2:])]
    # One that got no text has nothing to say.
    merged = Averages.combine(HeadsRequest(), [Averages(HeadsRequest()), *parts])
    assert merged.texts == 4
    for one, other in zip(whole.stacks(), merged.stacks(), strict=True):
        assert one.layers == other.layers
        assert [head.values for head in one.metrics] == [
            pytest.approx(head.values, abs=1e-12) for head in other.metrics
        ]


def test_only_the_chosen_heads() -> None:
    found = averages("t5", batches=[TEXTS], request=HeadsRequest(parse_selection(head="cross.1.2")))
    assert [(stack.stack, [head.name for head in stack.metrics]) for stack in found.stacks()] == [
        ("encoder", []),
        ("decoder", []),
        ("cross", ["cross.1.2"]),
    ]


def test_queries_of_all_texts_together_earn_a_label() -> None:
    """A single repeated word is no sign of an induction head; one in each of several texts is."""
    loaded = tiny.loaded("llama")
    found = Averages(HeadsRequest())
    found.add(loaded, build_inputs(loaded, [tiny.tokens([5, 6, 5]), tiny.tokens([7, 8, 7])]))
    (layer, *_) = found.layers.values()
    assert layer.queries[[*METRICS].index("induction")] == 2
