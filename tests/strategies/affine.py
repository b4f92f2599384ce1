"""Random integer affine bijections and finite laws; no counterexample to anything is among them by design."""

import numpy as np
from hypothesis import strategies as st

from lipbounds.theorems.theorem_2 import AffinePosterior


@st.composite
def unimodular(draw, d):
    """An integer matrix of determinant +-1: a signed permutation followed by shears."""
    matrix = np.eye(d)[draw(st.permutations(range(d)))] * np.array(
        draw(st.lists(st.sampled_from([-1, 1]), min_size=d, max_size=d))
    )
    for _ in range(draw(st.integers(0, 2))):
        i, j = draw(st.permutations(range(d)))[:2]
        matrix[i] += draw(st.integers(-2, 2)) * matrix[j]
    return matrix


@st.composite
def affine_posteriors(draw):
    """X, Y, Z with small integer values on at most 5 outcomes, T integer affine, A a nonempty set of values of Y.

    Half of the laws have Y = T_y(X), the situation that training aims at; otherwise Y is free.
    """
    n, k = draw(st.sampled_from([(1, 1), (1, 2), (2, 1)]))
    d, outcomes = n + k, draw(st.integers(1, 5))

    def integers(rows, columns, size):
        values = draw(st.lists(st.integers(-size, size), min_size=rows * columns, max_size=rows * columns))
        return np.array(values, dtype=float).reshape(rows, columns)

    weights = np.array(draw(st.lists(st.integers(1, 5), min_size=outcomes, max_size=outcomes)), dtype=float)
    matrix, offset = draw(unimodular(d)), integers(1, d, 20)[0]
    x = integers(outcomes, d, 2)
    y = x @ matrix[:n].T + offset[:n] if draw(st.booleans()) else integers(outcomes, n, 2)
    chosen = y[draw(st.integers(0, outcomes - 1))]
    conditioned = (y == chosen).all(1) | draw(st.booleans())
    return AffinePosterior(weights / weights.sum(), x, y, integers(outcomes, k, 2), matrix, offset, conditioned)
