"""The text of --probe: random tokens, repeated."""

from __future__ import annotations

import pytest

from attncli.attention.inputs import build_inputs, choose_probe, probe_ids, with_decoder_texts
from attncli.attention.selection import HeadsRequest
from attncli.errors import UsageError
from attncli.results.heads import Probe
from tests import tiny
from tests.tiny import read_heads


def test_different_tokens_four_times_behind_the_first_one() -> None:
    sequences = probe_ids(choose_probe(None, 200, before=1, seed=3), range(100, 300), first=7)
    assert len(sequences) == 8 and len({tuple(ids) for ids in sequences}) == 8
    for first, *ids in sequences:
        assert first == 7 and ids == ids[:25] * 4
        assert len(set(ids)) == 25 and set(ids) <= set(range(100, 300))


def test_the_seed_decides() -> None:
    probe = choose_probe(None, 99, before=0)
    assert probe_ids(probe, range(99)) == probe_ids(probe, range(99))
    assert probe_ids(probe, range(99)) != probe_ids(probe._replace(seed=1), range(99))
    assert all(len(ids) == 100 for ids in probe_ids(probe, range(99)))


@pytest.mark.parametrize(
    ("limit", "ordinary", "before", "tokens"), [(101, 99, 1, 25), (100, 99, 1, 24), (512, 9, 1, 9), (9, 99, 1, 2)]
)
def test_it_fits_the_model(limit: int, ordinary: int, before: int, tokens: int) -> None:
    assert choose_probe(limit, ordinary, before=before) == Probe(8, tokens, 4, 0)


@pytest.mark.parametrize(("limit", "ordinary", "lack"), [(8, 99, "8 positions"), (None, 1, "1 ordinary tokens")])
def test_too_little_to_repeat(limit: int | None, ordinary: int, lack: str) -> None:
    with pytest.raises(UsageError, match=f"--probe needs more than the model has: {lack}"):
        choose_probe(limit, ordinary, before=1)


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_a_decoder_reads_the_tokens_behind_its_start(family: str) -> None:
    loaded = tiny.loaded(family)
    texts = [tiny.tokens([5, 6, 7, 5, 6, 7]), tiny.tokens([9, 8, 7, 9, 8, 7])]
    inputs = with_decoder_texts(loaded, build_inputs(loaded, texts), texts)
    assert inputs.arguments["decoder_input_ids"].tolist() == [
        [loaded.decoder_start, 5, 6, 7, 5, 6, 7],
        [loaded.decoder_start, 9, 8, 7, 9, 8, 7],
    ]
    encoder, decoder, cross = read_heads(loaded, inputs, HeadsRequest(), text=1)
    assert [token.id for token in decoder.queries] == [loaded.decoder_start, 9, 8, 7, 9, 8, 7]
    assert [token.index for token in decoder.queries] == list(range(7))
    assert (len(encoder.keys), len(cross.queries), len(cross.keys)) == (6, 7, 6)
    assert decoder.metrics[0].values["induction"] is not None
    assert decoder.queries[0].special and not decoder.queries[1].special
