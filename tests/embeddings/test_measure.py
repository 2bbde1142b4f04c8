"""Measures on vectors small enough to compute by hand, and against their textbook forms."""

from __future__ import annotations

from itertools import combinations, permutations
from math import sqrt

import numpy as np
import pytest

from attncli.embeddings.describe import dominant_dimensions, top_dimensions
from attncli.embeddings.measure import (
    GroupSums,
    dimension_contributions,
    explained_variance,
    mean_over_pairs,
    nearest,
    principal_components,
    similarities,
    unit_vectors,
)
from attncli.embeddings.reference_sample import (
    adjusted_vectors,
    describe_sample,
    percentiles,
    random_pairs,
    random_variance,
    sample_spans,
)
from attncli.embeddings.sense_statistics import find_groups, measure_senses, permutation_test, silhouette

THREE = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]])
HALF = sqrt(0.5)


def random_vectors(count: int, width: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, width)) + 0.5


def test_cosines_by_hand() -> None:
    expected = [[1, 0, HALF], [0, 1, HALF], [HALF, HALF, 1]]
    np.testing.assert_allclose(similarities(unit_vectors(THREE)), expected, atol=1e-15)
    assert mean_over_pairs(unit_vectors(THREE)) == pytest.approx(2 * HALF / 3)
    assert mean_over_pairs(unit_vectors(THREE[:1])) is None


def test_equal_vectors_are_exactly_alike_and_zero_is_like_nothing() -> None:
    matrix = similarities(unit_vectors(np.array([[0.1, 0.7, 0.3]] * 3 + [[0, 0, 0]])))
    assert (matrix[:3, :3] == 1.0).all() and (matrix[3, :3] == 0).all()
    assert (matrix == matrix.T).all()


def test_explained_variance_is_that_of_the_singular_values() -> None:
    assert explained_variance(np.array([[1.0, 0.0], [0.0, 1.0]])) == pytest.approx(0.5)
    assert explained_variance(np.array([[1.0, 2.0], [2.0, 4.0]])) == pytest.approx(1.0)
    vectors = random_vectors(9)
    singular = np.linalg.svd(vectors, compute_uv=False)
    assert explained_variance(vectors) == pytest.approx(singular[0] ** 2 / (singular**2).sum())


def test_nearest_neighbours_and_ties() -> None:
    indices, values = nearest(unit_vectors(THREE))
    assert indices.tolist() == [2, 2, 0] and values == pytest.approx([HALF] * 3)
    assert nearest(unit_vectors(THREE[:1]))[0].tolist() == [-1]


def test_contributions_of_dimensions_sum_to_the_mean_cosine() -> None:
    units = unit_vectors(random_vectors(7))
    assert dimension_contributions(units).sum() == pytest.approx(mean_over_pairs(units))
    pairs = [units[a] * units[b] for a, b in combinations(range(7), 2)]
    np.testing.assert_allclose(dimension_contributions(units), np.mean(pairs, axis=0))


def test_a_dimension_that_rules_the_cosine_is_named() -> None:
    vectors = random_vectors(8, 50) * 0.1
    assert dominant_dimensions(vectors) == ()
    vectors[:, 17] += 30
    (ruling,) = dominant_dimensions(vectors)
    assert ruling.dimension == 17 and ruling.share > 0.9
    assert top_dimensions(unit_vectors(vectors), 3)[0] == ruling


def test_principal_components_are_those_of_the_svd() -> None:
    for vectors in (random_vectors(4, 9), random_vectors(30, 6)):
        places, explained = principal_components(vectors)
        centred = vectors - vectors.mean(axis=0)
        left, singular, _ = np.linalg.svd(centred, full_matrices=False)
        np.testing.assert_allclose(np.abs(places), np.abs(left[:, :2] * singular[:2]), atol=1e-9)
        assert explained == pytest.approx(tuple(singular[:2] ** 2 / (singular**2).sum()))
        again, _ = principal_components(vectors[::-1])
        np.testing.assert_allclose(again[::-1], places, atol=1e-9)


def test_sums_tell_what_the_matrix_would() -> None:
    units = unit_vectors(random_vectors(12))
    codes = np.arange(12) % 3
    sums = GroupSums(3)
    sums.add(units[:5], codes[:5])
    sums.add(units[5:], codes[5:])
    matrix = similarities(units)
    rows, columns = np.triu_indices(12, k=1)
    same = codes[rows] == codes[columns]
    within, across = sums.contrast(np.arange(3))
    assert within == pytest.approx(matrix[rows, columns][same].mean())
    assert across == pytest.approx(matrix[rows, columns][~same].mean())
    assert sums.self_similarity(np.arange(3)) == pytest.approx(matrix[rows, columns].mean())
    assert sums.contrast(np.array([1])).across is None


# Labels

APART = np.array([[1, 0], [0.9, 0.1], [0.1, 0.9], [0, 1]])


def test_silhouette_by_its_definition() -> None:
    units = unit_vectors(random_vectors(8, seed=3))
    labels = np.array([0, 0, 0, 1, 1, 2, 2, 3])
    distances = 1 - units @ units.T
    values = []
    for i in range(8):
        own = [distances[i, j] for j in range(8) if labels[j] == labels[i] and j != i]
        others = [np.mean([distances[i, j] for j in range(8) if labels[j] == k]) for k in range(4) if k != labels[i]]
        values.append((min(others) - np.mean(own)) / max(min(others), np.mean(own)) if own else 0.0)
    assert silhouette(units, labels) == pytest.approx(np.mean(values))
    assert silhouette(units, np.zeros(8, dtype=int)) is None
    assert silhouette(units, np.arange(8)) is None


def test_the_exact_permutation_test_counts_every_labeling() -> None:
    units = unit_vectors(random_vectors(6, seed=5))
    labels = (0, 0, 1, 1, 2, 2)
    matrix = units @ units.T

    def separation(dealt: tuple[int, ...]) -> float:
        pairs = list(combinations(range(6), 2))
        within = [matrix[a, b] for a, b in pairs if dealt[a] == dealt[b]]
        return float(np.mean(within) - np.mean([matrix[a, b] for a, b in pairs if dealt[a] != dealt[b]]))

    every = set(permutations(labels))
    as_well = sum(separation(dealt) >= separation(labels) - 1e-10 for dealt in every)
    found = permutation_test(units, np.array(labels))
    assert found.exact and found.labelings == len(every) == 90
    assert found.p == pytest.approx(as_well / 90) and found.smallest == pytest.approx(6 / 90)


def test_random_labelings_come_near_the_exact_test_and_are_the_same_every_time() -> None:
    other = random_vectors(12, seed=2) + np.array([1.5, -1.5, 0, 0, 0])
    units = unit_vectors(np.concatenate([random_vectors(12, seed=1), other]))
    labels = np.repeat([0, 1], 12)
    found = permutation_test(units, labels)
    assert not found.exact and found.labelings == 9_999 and found.smallest == pytest.approx(1 / 10_000)
    assert found == permutation_test(units, labels) and 0 < found.p < 0.05
    shuffled = permutation_test(units, np.array([0, 1] * 12))
    assert shuffled.p > 0.05


def test_labels_that_mean_nothing_get_no_p_value() -> None:
    units = unit_vectors(APART)
    assert measure_senses(units, ["a"] * 4).why_no_p == "all occurrences have the same label"
    assert measure_senses(units, list("abcd")).why_no_p == "no label has two occurrences"
    two = measure_senses(units[:3], ["a", "a", "b"])
    assert two.permutation is not None and two.permutation.smallest == pytest.approx(1 / 3)
    assert measure_senses(units, ["a"] * 4).permutation is None


def test_neighbours_count_those_that_can_be_right_and_ties_are_not() -> None:
    found = measure_senses(unit_vectors(APART), ["a", "a", "b", "b"]).neighbours
    assert found is not None and (found.right, found.of) == (4, 4) and found.chance == pytest.approx(1 / 3)
    lone = measure_senses(unit_vectors(APART), ["a", "b", "a", "c"]).neighbours
    assert lone is not None and (lone.right, lone.of) == (0, 2)
    assert [(miss.occurrence, miss.nearest, miss.tied) for miss in lone.wrong] == [(0, 1, False), (2, 3, False)]
    same = measure_senses(unit_vectors(np.ones((4, 2))), ["a", "a", "b", "b"]).neighbours
    assert same is not None and same.right == 0 and all(miss.tied for miss in same.wrong)


# Groups


def test_groups_are_told_when_they_are_clear_and_only_then() -> None:
    chance = np.random.default_rng(0)
    centres = np.eye(3, 20)[[0] * 6 + [1] * 5 + [2] * 4]
    found = find_groups(unit_vectors(centres + 0.05 * chance.normal(size=(15, 20))))
    assert found.members == (tuple(range(6)), tuple(range(6, 11)), tuple(range(11, 15))) and found.p == 1 / 200
    one = find_groups(unit_vectors(np.ones(20) + chance.normal(size=(15, 20))))
    assert not one.clear and one.why_not is not None
    assert find_groups(unit_vectors(APART[:3])).why_not == "3 occurrences are too few"
    assert find_groups(unit_vectors(np.ones((6, 3)))).why_not == "all occurrences have the same vector"


def test_single_clouds_are_rarely_taken_for_groups() -> None:
    clouds = [np.random.default_rng(seed).normal(size=(24, 6)) + 2 for seed in range(20)]
    assert sum(find_groups(unit_vectors(cloud)).clear for cloud in clouds) <= 2


def test_of_many_occurrences_some_are_divided_and_the_others_join() -> None:
    chance = np.random.default_rng(0)
    centres = np.eye(2, 8)[np.arange(500) % 2]
    found = find_groups(unit_vectors(centres + 0.1 * chance.normal(size=(500, 8))))
    assert found.sampled == 120 and [len(group) for group in found.members] == [250, 250]


# The reference sample


def test_sample_statistics_by_their_formulas() -> None:
    vectors, sentences = random_vectors(40, 6), np.arange(40) // 2
    found = describe_sample(vectors, sentences)
    first, second = random_pairs(sentences)
    assert len(first) == 40 * 39 // 2 - 20 and (sentences[first] != sentences[second]).all()
    units = unit_vectors(vectors)
    assert found.baseline == pytest.approx(np.mean([units[a] @ units[b] for a, b in zip(first, second, strict=True)]))
    x = vectors[:3]
    standardised = adjusted_vectors(x, found.reference("standardize"))
    np.testing.assert_allclose(standardised, (x - vectors.mean(axis=0)) / vectors.std(axis=0), rtol=1e-5)
    u = np.linalg.svd(vectors - vectors.mean(axis=0))[2][:1]
    centred, without = x - vectors.mean(axis=0), adjusted_vectors(x, found.reference("abtt"))
    np.testing.assert_allclose(without, centred - (centred @ u.T) * u, rtol=1e-4, atol=1e-5)
    # The removed direction is gone.
    np.testing.assert_allclose(without @ u.T, 0, atol=1e-5)
    np.testing.assert_array_equal(adjusted_vectors(x, found.reference("baseline")), x)


def test_the_baseline_s_interval_holds_the_mean_of_as_many_sentences() -> None:
    # Words of one sentence are alike: an interval from the words alone would be too narrow.
    def sample(seed: int, sentences: int = 30) -> tuple[np.ndarray, np.ndarray]:
        random = np.random.default_rng(seed)
        topics = random.normal(size=(sentences, 8)) + 0.7
        return np.repeat(topics, 4, axis=0) + 0.2 * random.normal(size=(sentences * 4, 8)), np.arange(
            sentences * 4
        ) // 4

    true = describe_sample(*sample(99, 3000)).baseline
    intervals = [describe_sample(*sample(seed)).baseline_interval for seed in range(40)]
    assert sum(low <= true <= high for low, high in intervals) >= 34
    assert np.mean([high - low for low, high in intervals]) < 0.3


def test_random_words_have_an_explained_variance_too() -> None:
    vectors = random_vectors(60, 6)
    reference = describe_sample(vectors, np.arange(60)).reference("none")
    random = np.random.default_rng(5)
    drawn = [explained_variance(vectors[random.choice(60, 12, replace=False)]) for _ in range(200)]
    assert random_variance(12, reference) == pytest.approx(np.mean(drawn), abs=0.05)
    assert random_variance(2, reference) > random_variance(50, reference)


def test_each_word_of_a_small_sample_counts() -> None:
    long = "one two three four five six seven"
    assert [len(spans) for spans in sample_spans([long, "a few"])] == [7, 2]
    assert [len(spans) for spans in sample_spans([long] * 150)] == [4] * 150


def test_percentiles_are_shares_of_random_pairs() -> None:
    found = describe_sample(random_vectors(40, 6), np.arange(40))
    low, high = found.quantiles[0, 0], found.quantiles[0, -1]
    reference = found.reference("none")
    np.testing.assert_allclose(
        percentiles(np.array([low - 1, np.median(found.quantiles[0]), high + 1]), reference), [0, 0.5, 1], atol=1e-3
    )
    less = found.reference("baseline")
    assert percentiles(np.array([0.1 - found.baseline]), less) == pytest.approx(percentiles(np.array([0.1]), reference))
