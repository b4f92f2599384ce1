"""Linear and residual layers: bounds that are attained, and power iteration that is none."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ortho_group
from torch.nn.utils.parametrizations import orthogonal, spectral_norm

from lipbounds.enclosure import Guarantee
from lipbounds.errors import InvalidInput
from lipbounds.maps.layer_constants import bound_of_linear, bound_of_residual

SEEDS = st.integers(0, 2**32 - 1)


@given(SEEDS, st.integers(1, 6), st.integers(1, 6))
def test_linear_layers_exactly(seed, rows, columns):
    matrix = np.random.default_rng(seed).standard_normal((rows, columns))
    bound = bound_of_linear(matrix)
    assert bound.guarantee is Guarantee.CERTIFIED
    truth = np.linalg.norm(matrix, 2)
    # LAPACK is good to some ulps, the bound to 1e-12
    assert truth * (1 - 1e-13) <= bound.upper <= truth * (1 + 1e-12)


@given(SEEDS, st.integers(2, 6))
def test_inverse_of_a_linear_layer(seed, dim):
    rng = np.random.default_rng(seed)
    values = rng.uniform(0.1, 10.0, dim)
    turn, back = (ortho_group.rvs(dim, random_state=rng) for _ in range(2))
    bound = bound_of_linear(turn @ np.diag(values) @ back, inverse=True)
    assert bound.upper == pytest.approx(1 / values.min(), rel=1e-11)


def test_what_training_normalises_is_no_certificate():
    torch.manual_seed(0)
    layer = spectral_norm(torch.nn.Linear(32, 32), n_power_iterations=1)
    weight = layer.weight.detach().double().numpy()
    # divided by an estimate from below: steeper than 1
    assert bound_of_linear(weight).upper > 1.01
    turn = orthogonal(torch.nn.Linear(8, 8)).weight.detach().double().numpy()
    assert 1.0 - 1e-6 < bound_of_linear(turn).upper < 1.0 + 1e-6  # float32 rounding of the weights


@given(SEEDS, st.integers(1, 4), st.floats(0.05, 0.95))
def test_residual_layers_attain_both_bounds(seed, dim, c):
    turn = ortho_group.rvs(dim, random_state=np.random.default_rng(seed)) if dim > 1 else np.eye(1)
    half = np.diag(np.linspace(1.0, 0.1, dim)) * np.sqrt(c)
    # g(x) = +-c x in one direction, less in the others
    for sign, side, truth in ((1.0, 0, 1 + c), (-1.0, 1, 1 / (1 - c))):
        bound = bound_of_residual([half @ turn.T, sign * turn @ half], "linear")[side]
        matrix = np.eye(dim) + sign * turn @ half @ half @ turn.T
        attained = np.linalg.norm(matrix if side == 0 else np.linalg.inv(matrix), 2)
        assert attained == pytest.approx(truth, rel=1e-9)
        assert bound.upper == pytest.approx(truth, rel=1e-9)
        # negative control: a tenth less would be false
        assert attained > 0.9 * bound.upper


def test_a_residual_layer_of_norm_one_has_no_bound_for_its_inverse():
    assert bound_of_residual([np.eye(2)], "relu")[1].upper == float("inf")
    # silu is steeper than 1, so weights of norm 0.99 do not make a contraction of two layers
    assert bound_of_residual([0.99 * np.eye(2)] * 2, "silu")[1].upper == float("inf")
    assert bound_of_residual([0.9 * np.eye(2)] * 2, "tanh")[1].upper == pytest.approx(1 / (1 - 0.81))


@pytest.mark.parametrize("matrix", [np.ones(3), np.full((2, 2), np.nan), np.zeros((0, 2))])
def test_bad_matrices(matrix):
    with pytest.raises(InvalidInput):
        bound_of_linear(matrix)


def test_singular_matrices_have_no_inverse():
    with pytest.raises(InvalidInput, match="invertible"):
        bound_of_linear(np.ones((2, 2)), inverse=True)
