import math

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from lipbounds.distances import InverseMultiquadric, InverseQuadratic, discrepancy
from lipbounds.errors import InvalidInput

KERNELS = [InverseMultiquadric(), InverseQuadratic(), InverseQuadratic((1.0,))]
seeds = st.integers(0, 2**32 - 1)


def samples(seed, n=7, m=5, d=3, dtype=torch.float64):
    rng = np.random.default_rng(seed)
    return torch.as_tensor(rng.standard_normal((n, d)), dtype=dtype), torch.as_tensor(
        rng.standard_normal((m, d)) + 0.5, dtype=dtype
    )


def printed(x, y, kernel, unbiased=False):
    """Equation (4), term by term; Gretton et al. without the diagonals."""

    def k(a, b):
        return float(kernel(torch.tensor(sum((p - q) ** 2 for p, q in zip(a, b, strict=True)), dtype=torch.float64)))

    x, y = x.double().tolist(), y.double().tolist()
    n, m = len(x), len(y)
    xx = math.fsum(k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if not (unbiased and i == j))
    yy = math.fsum(k(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if not (unbiased and i == j))
    xy = math.fsum(k(a, b) for a in x for b in y)
    return xx / (n * (n - unbiased)) + yy / (m * (m - unbiased)) - 2 * xy / (n * m)


@pytest.mark.parametrize("kernel", KERNELS)
@given(seed=seeds, unbiased=st.booleans())
def test_agrees_with_the_printed_sum(kernel, seed, unbiased):
    x, y = samples(seed)
    value = float(discrepancy(x, y, kernel, squared=True, unbiased=unbiased))
    assert abs(value - printed(x, y, kernel, unbiased)) <= 64 * np.finfo(float).eps * float(kernel(torch.tensor(0.0)))


@pytest.mark.parametrize("kernel", KERNELS)
@given(seed=seeds)
@example(seed=0)
def test_positive_symmetric_and_zero_on_equal_samples(kernel, seed):
    x, y = samples(seed)
    bound = 8 * np.finfo(float).eps * float(kernel(torch.tensor(0.0)))
    square = float(discrepancy(x, y, kernel, squared=True))
    assert square > bound  # the kernel is strictly positive definite and the samples differ
    assert float(discrepancy(y, x, kernel, squared=True)) == pytest.approx(square, abs=bound)
    shuffled = x[torch.as_tensor(np.random.default_rng(seed).permutation(len(x)))]
    assert abs(float(discrepancy(x, shuffled, kernel, squared=True))) <= bound
    assert float(discrepancy(x, y, kernel, squared=False)) == pytest.approx(square**0.5, rel=1e-12)


@pytest.mark.parametrize("squared", [True, False])
def test_gradient(squared):
    x, y = samples(3)
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda a: discrepancy(a, y, InverseMultiquadric(), squared=squared), (x,))
    # at equal samples the root has an infinite slope; it is cut off to zero instead of NaN
    discrepancy(x, x.detach().clone(), InverseMultiquadric(), squared=False).backward()
    assert torch.isfinite(x.grad).all()


def test_the_two_kernels_are_the_printed_ones():
    d2 = torch.tensor(0.3, dtype=torch.float64)
    assert float(InverseMultiquadric()(d2)) == pytest.approx(sum(r**2 / (0.3 + r**2) ** 0.5 for r in (0.05, 0.2, 0.9)))
    assert float(InverseQuadratic()(d2)) == pytest.approx(sum(r**2 / (0.3 + r**2) for r in (0.05, 0.2, 0.9)))


@pytest.mark.parametrize(
    "call",
    [
        lambda x, y: discrepancy(x, y[:, :1], KERNELS[0], squared=True),
        lambda x, y: discrepancy(x, y[:0], KERNELS[0], squared=True),
        lambda x, y: discrepancy(x, y[:1], KERNELS[0], squared=True, unbiased=True),
        lambda x, y: discrepancy(x, y, KERNELS[0], squared=False, unbiased=True),
        lambda x, y: InverseMultiquadric((0.0,)),
        lambda x, y: InverseQuadratic(()),
    ],
)
def test_bad_input(call):
    with pytest.raises(InvalidInput):
        call(*samples(0))
