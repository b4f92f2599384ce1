import math

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from lipbounds.distances import (
    Energy,
    Gaussian,
    InverseMultiquadric,
    InverseQuadratic,
    Laplace,
    RationalQuadratic,
    discrepancy,
    discrepancy_of_mixtures,
    kernel_report,
)
from lipbounds.distances.discrepancy import _tiled
from lipbounds.distances.kernels import KINEMATICS_LATENT, Family, Kernel, Term
from lipbounds.errors import InvalidInput
from lipbounds.measures import GaussianMixture

KERNELS = [
    InverseMultiquadric(),
    InverseQuadratic(),
    RationalQuadratic(),
    RationalQuadratic(KINEMATICS_LATENT),
    Gaussian((0.3, 1.0)),
    Laplace(),
    Energy(),
    InverseQuadratic((1.0,)) + Energy() + Gaussian(),
]
BOUNDED = KERNELS[:6]
EPS = np.finfo(float).eps
seeds = st.integers(0, 2**32 - 1)


def arrays(seed, n=7, m=5, d=3):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)), rng.standard_normal((m, d)) + 0.5


def samples(seed, n=7, m=5, d=3, dtype=torch.float64):
    return tuple(torch.as_tensor(points, dtype=dtype) for points in arrays(seed, n, m, d))


def value(kernel, t):
    """The kernels as the sources print them, in Python floats."""
    match kernel:
        case InverseMultiquadric():
            return sum(r**2 / math.sqrt(t + r**2) for r in kernel.scales)
        case InverseQuadratic():
            return sum(r**2 / (t + r**2) for r in kernel.scales)
        case RationalQuadratic():
            return sum(c**a * ((c + t) / a) ** -a for c, a in kernel.pairs)
        case Gaussian():
            return sum(math.exp(-t / (2 * s * s)) for s in kernel.scales)
        case Laplace():
            return sum(math.exp(-math.sqrt(t) / s) for s in kernel.scales)
        case Energy():
            return -math.sqrt(t)
        case _:
            return sum(value(part, t) for part in kernel.parts[0].parts) + value(kernel.parts[1], t)


def printed(x, y, kernel, unbiased=False, a=None, b=None):
    """Equation (4), term by term; Gretton et al. without the diagonals."""

    def k(p, q):
        return value(kernel, sum((u - v) ** 2 for u, v in zip(p, q, strict=True)))

    x, y = np.asarray(x, float).tolist(), np.asarray(y, float).tolist()
    n, m = len(x), len(y)
    a = [1 / n] * n if a is None else a
    b = [1 / m] * m if b is None else b
    xx = math.fsum(a[i] * a[j] * k(p, q) for i, p in enumerate(x) for j, q in enumerate(x) if not (unbiased and i == j))
    yy = math.fsum(b[i] * b[j] * k(p, q) for i, p in enumerate(y) for j, q in enumerate(y) if not (unbiased and i == j))
    xy = math.fsum(a[i] * b[j] * k(p, q) for i, p in enumerate(x) for j, q in enumerate(y))
    return xx * (n / (n - 1) if unbiased else 1) + yy * (m / (m - 1) if unbiased else 1) - 2 * xy


def rounding(kernel, d, dtype=torch.float64):
    """The bound of the docstring; the energy kernel and sums with it are as large as the distances, here below 10."""
    size = kernel.at_zero if kernel in BOUNDED else 10.0
    return 4 * (d + 20) * torch.finfo(dtype).eps * size


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@given(seed=seeds, unbiased=st.booleans(), d=st.integers(1, 5))
def test_agrees_with_the_printed_sum(kernel, seed, unbiased, d):
    x, y = arrays(seed, d=d)
    ours = discrepancy(x, y, kernel, squared=True, unbiased=unbiased)
    assert isinstance(ours, float)
    assert abs(ours - printed(x, y, kernel, unbiased)) <= rounding(kernel, d)
    a, b = np.arange(1.0, 8.0) / 28, np.array([0.5, 0.0, 0.25, 0.125, 0.125])
    if not unbiased:
        weighted = discrepancy(x, y, kernel, squared=True, x_weights=a, y_weights=torch.as_tensor(b))
        assert abs(weighted - printed(x, y, kernel, a=a, b=b)) <= rounding(kernel, d)


class Signed(Kernel):
    """A difference of powers."""

    terms = (Term(Family.POWER, 1.0, 1.0, 0.5), Term(Family.POWER, -0.3, 2.0, 0.75))


@given(seed=seeds)
def test_weights_of_either_sign(seed):
    x, y = samples(seed)
    kernel = Signed()
    dense = [
        kernel(torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").square()).mean()
        for a, b in ((x, x), (y, y), (x, y))
    ]
    ours = float(discrepancy(x, y, kernel, squared=True))
    assert abs(ours - float(dense[0] + dense[1] - 2 * dense[2])) <= 4 * (3 + 20) * EPS * 1.3  # values are at most 1.3
    positive = InverseMultiquadric((1.0,))
    assert abs(ours - float(discrepancy(x, y, positive, squared=True))) > 1e-6  # the second term is seen


@pytest.mark.parametrize("kernel", BOUNDED, ids=str)
@given(seed=seeds)
@example(seed=0)
def test_metric_axioms(kernel, seed):
    (x, y), (z, _) = arrays(seed), arrays(seed + 1, n=6)
    bound = rounding(kernel, 3)
    square = discrepancy(x, y, kernel, squared=True)
    assert square > bound  # the kernel is strictly positive definite and the samples differ
    assert discrepancy(y, x, kernel, squared=True) == pytest.approx(square, abs=bound)
    shuffled = x[np.random.default_rng(seed).permutation(len(x))]
    assert abs(discrepancy(x, shuffled, kernel, squared=True)) <= bound
    root = discrepancy(x, y, kernel, squared=False)
    assert root == pytest.approx(square**0.5, rel=1e-12)
    through = discrepancy(x, z, kernel, squared=False) + discrepancy(z, y, kernel, squared=False)
    assert root <= through * (1 + 1e-12)
    # the square is no metric: for three atoms on a line the triangle inequality fails
    near, far = [[0.001 * i] for i in (1, 2)]
    first = discrepancy([[0.0]], [far], kernel, squared=True)
    legs = discrepancy([[0.0]], [near], kernel, squared=True) + discrepancy([near], [far], kernel, squared=True)
    assert (first > legs) is not isinstance(kernel, Laplace)  # whose square grows like |x - y| there, with equality in the limit


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.parametrize("unbiased", [True, False])
def test_gradient_is_that_of_the_value(kernel, unbiased):
    x, y = samples(3)
    x.requires_grad_()
    y.requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: discrepancy(a, b, kernel, squared=True, unbiased=unbiased), (x, y))
    assert torch.autograd.gradcheck(lambda a: discrepancy(a, y.detach(), kernel, squared=True, unbiased=unbiased), (x,))
    assert torch.autograd.gradcheck(lambda b: discrepancy(x.detach(), b, kernel, squared=True, unbiased=unbiased), (y,))


def test_gradient_of_the_root():
    x, y = samples(3)
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda a: discrepancy(a, y, InverseMultiquadric(), squared=False), (x,))
    # at equal samples the root has an infinite slope; it is cut off to zero instead of NaN
    discrepancy(x, x.detach().clone(), InverseMultiquadric(), squared=False).backward()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("unbiased", [True, False])
def test_second_derivatives(unbiased):
    x, y = (points.requires_grad_() for points in samples(3))
    assert torch.autograd.gradgradcheck(
        lambda a, b: discrepancy(a, b, InverseMultiquadric(), squared=True, unbiased=unbiased), (x, y)
    )


def test_a_graph_in_which_one_sample_depends_on_the_other():
    x, _ = samples(5)
    x.requires_grad_()
    for pair in (lambda a: (a, 2 * a + 1), lambda a: (a.sin(), a)):
        values = [
            torch.autograd.grad(discrepancy(*pair(x), Gaussian(), squared=True), x, create_graph=create)[0].detach()
            for create in (False, True)
        ]
        torch.testing.assert_close(*values)
    assert torch.autograd.gradgradcheck(lambda a: discrepancy(a, 2 * a + 1, Gaussian(), squared=True), (x,))
    weights = np.arange(1.0, 8.0) / 28
    same = [
        torch.autograd.grad(discrepancy(x, x, Gaussian(), squared=True, x_weights=weights), x, create_graph=create)[0].detach()
        for create in (False, True)
    ]
    torch.testing.assert_close(*same)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_the_root_has_gradient_zero_where_it_vanishes(kernel):
    x, _ = samples(0, dtype=torch.float32)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(discrepancy(x, x.detach().clone(), kernel, squared=False), x)
    assert (gradient == 0).all()


@pytest.mark.parametrize(
    "kernel",
    [
        InverseMultiquadric((1e-19,)),
        Gaussian((1e-20,)),
        InverseQuadratic((1e20,)),
        RationalQuadratic(((1e-4, 9.0),)),
        RationalQuadratic(((1e-12, 4.0),)),
    ],
    ids=str,
)
def test_constants_beyond_float32_are_handled_in_float64(kernel):
    x, y = samples(0, dtype=torch.float32)
    x.requires_grad_()
    value = discrepancy(x, y, kernel, squared=True)
    value.backward()
    assert torch.isfinite(x.grad).all()
    exact = discrepancy(x.detach().double(), y.double(), kernel, squared=True).item()
    assert value.item() == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("threads", [1, 2])
def test_many_tiles_and_threads_agree_with_plain_torch(kernel, dtype, threads):
    # more than one tile of columns, and enough pairs for two threads; 700 and 600 are no multiples of a tile
    x, y = samples(0, 700, 600, 4, dtype)
    x.requires_grad_()
    y.requires_grad_()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        ours = discrepancy(x, y, kernel, squared=True)
    finally:
        torch.set_num_threads(before)
    gradients = torch.autograd.grad(ours, (x, y))
    wide = [points.detach().double().requires_grad_() for points in (x, y)]
    distances = [(p[:, None] - q).square().sum(-1) for p, q in ((wide[0], wide[0]), (wide[1], wide[1]), (wide[0], wide[1]))]
    dense = kernel(distances[0]).mean() + kernel(distances[1]).mean() - 2 * kernel(distances[2]).mean()
    assert ours.dtype == dtype
    assert abs(ours.item() - dense.item()) <= rounding(kernel, 4, dtype)
    for gradient, exact in zip(gradients, torch.autograd.grad(dense, wide), strict=True):
        # each of the 1300 terms has size below 10 / 700 and some ulps of error; sums of a tile are in the points' type
        assert float((gradient - exact).abs().max()) <= 200 * torch.finfo(dtype).eps * 10 / 700


@pytest.mark.parametrize("kernel", [InverseMultiquadric(), Energy()], ids=str)
def test_the_tiles_of_other_devices_agree_with_the_compiled_loop(kernel, monkeypatch):
    import sys

    monkeypatch.setattr(sys.modules["lipbounds.distances.discrepancy"], "TILE_ENTRIES", 40)
    x, y = samples(1, 30, 20)
    x.requires_grad_()
    y.requires_grad_()
    compiled = discrepancy(x, y, kernel, squared=True)
    tiled = discrepancy(x, y, lambda t: kernel(t), squared=True)  # a plain function takes the path of other devices
    torch.testing.assert_close(tiled, compiled, rtol=1e-12, atol=1e-13)
    for ours, theirs in zip(torch.autograd.grad(tiled, (x, y)), torch.autograd.grad(compiled, (x, y)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-13)
    assert _tiled(x, y, np.ones(30), np.ones(20), kernel, False, False).x is None


@pytest.mark.parametrize("scale", [1e-150, 1e-30, 1e18, 1e30, 1e150])
@pytest.mark.parametrize("kernel", BOUNDED, ids=str)
def test_huge_and_tiny_scales(kernel, scale):
    x, y = np.array([[0.0], [scale]]), np.array([[2 * scale], [5 * scale]])
    dtype = torch.float32 if 1e-30 <= scale <= 1e30 else torch.float64
    point = torch.as_tensor(x, dtype=dtype).requires_grad_()
    tensor = discrepancy(point, torch.as_tensor(y, dtype=dtype), kernel, squared=True)
    tensor.backward()
    assert torch.isfinite(point.grad).all()
    assert abs(discrepancy(x, y, kernel, squared=True) - printed(x, y, kernel)) <= rounding(kernel, 1)
    assert abs(tensor.item() - printed(x, y, kernel)) <= rounding(kernel, 1, dtype)


def random_mixture(rng, r, d):
    factors = rng.standard_normal((r, d, d)) * 0.7
    covariances = factors @ factors.swapaxes(1, 2) + 0.1 * np.eye(d)
    weights = rng.uniform(0.2, 1.0, r)
    return GaussianMixture(rng.standard_normal((r, d)), (covariances + covariances.swapaxes(1, 2)) / 2, weights / weights.sum())


@given(seeds)
def test_closed_form_between_mixtures_agrees_with_quadrature(seed):
    rng = np.random.default_rng(seed)
    mu, nu = random_mixture(rng, 2, 1), random_mixture(rng, 3, 1)
    kernel = Gaussian((0.5, 2.0))
    # D^2 is the integral of the kernel against the law of differences, by the trapezoidal rule, which is exact to rounding
    # for analytic functions that vanish at the ends
    signed = np.concatenate((mu.weights, -nu.weights))
    means, variances = (np.concatenate((getattr(mu, name), getattr(nu, name))).ravel() for name in ("means", "covariances"))
    t = np.arange(-60.0, 60.0, 0.02)
    k = kernel(torch.as_tensor(t**2)).numpy()
    expected = 0.0
    for weight, mean, variance in zip(signed, means, variances, strict=True):
        total = variance + variances
        densities = np.exp(-((t[:, None] - (mean - means)) ** 2) / (2 * total)) / np.sqrt(2 * np.pi * total)
        expected += weight * float(k @ densities @ signed) * 0.02
    assert discrepancy_of_mixtures(mu, nu, kernel, squared=True) == pytest.approx(expected, abs=1e-12)
    assert discrepancy_of_mixtures(mu, nu, kernel, squared=False) ** 2 == pytest.approx(
        discrepancy_of_mixtures(mu, nu, kernel, squared=True)
    )


def test_the_unbiased_square_is_unbiased_and_the_biased_one_is_not():
    # 400 pairs of samples of 20 points: the mean of the unbiased square meets the closed form within 4 standard errors; the
    # biased one is off by the two diagonals, which is 20 standard errors
    rng = np.random.default_rng(0)
    mu, nu, kernel = random_mixture(rng, 2, 2), random_mixture(rng, 2, 2), Gaussian()
    exact = discrepancy_of_mixtures(mu, nu, kernel, squared=True)
    pairs = [(mu.sample(20, rng), nu.sample(20, rng)) for _ in range(400)]
    deviations = {}
    for unbiased in (True, False):
        values = np.array([discrepancy(x, y, kernel, squared=True, unbiased=unbiased) for x, y in pairs])
        deviations[unbiased] = abs(values.mean() - exact) / (values.std() / 20)
    assert deviations[True] < 4 < deviations[False]


def test_facts_about_the_kernels():
    reports = {type(kernel): kernel_report(kernel, 2) for kernel in KERNELS[:7]}
    for kernel in BOUNDED:
        report = reports[type(kernel)]
        assert report.positive_definite
        assert report.indefinite is None
        assert report.metric
        assert report.bounded
        assert report.metrizes
    # erratum E4: the remark covers neither the paper's nor the program's kernel, in any dimension; it covers Laplace's
    for dim in (1, 2, 3):
        assert not kernel_report(InverseMultiquadric(), dim).integrable
        assert kernel_report(InverseQuadratic(), dim).integrable is (dim == 1)
        assert not kernel_report(InverseQuadratic(), dim).remark_1
        assert not kernel_report(Gaussian(), dim).remark_1
        assert kernel_report(Laplace(), dim).remark_1
    energy = reports[Energy]
    assert energy.positive_definite is False
    witness = energy.indefinite
    gram = Energy()(torch.cdist(*(torch.as_tensor(witness.points),) * 2) ** 2).numpy()
    assert witness.coefficients @ gram @ witness.coefficients == pytest.approx(witness.value)
    assert witness.value < 0
    box = kernel_report(lambda t: (t < 1).double(), 2)  # the indicator of a ball is not positive definite
    assert box.positive_definite is False
    assert box.indefinite is not None
    assert kernel_report(lambda t: torch.exp(-t), 2).positive_definite is None
    assert kernel_report(lambda t: torch.exp(-t.float()), 2).positive_definite is None


@pytest.mark.parametrize(
    ("kernel", "decay"), [(InverseQuadratic((1.0,)), "exponential"), (Gaussian(), "gaussian"), (Laplace(), "power")]
)
def test_fourier_transforms_decay_as_reported(kernel, decay):
    # on the line, by the trapezoidal rule on a long fine grid; rates between two frequencies
    t = np.arange(-400_000, 400_001) * 1e-3
    psi = kernel(torch.as_tensor(t**2)).numpy()
    transform = [float((psi * np.cos(xi * t)).sum() * 1e-3) for xi in (2.0, 4.0, 8.0)]
    exact = {
        "exponential": [math.pi * math.exp(-xi) for xi in (2.0, 4.0, 8.0)],
        "gaussian": [math.sqrt(2 * math.pi) * math.exp(-xi * xi / 2) for xi in (2.0, 4.0, 8.0)],
        "power": [2 / (1 + xi * xi) for xi in (2.0, 4.0, 8.0)],
    }[decay]
    assert kernel_report(kernel, 1).fourier_decay == decay
    # the tail of the quadratic kernel beyond 400 alternates and is below 2 / (400^2 xi)
    assert transform == pytest.approx(exact, abs=1e-5)


@pytest.mark.parametrize(
    "call",
    [
        lambda x, y: discrepancy(x, y[:, :1], KERNELS[0], squared=True),
        lambda x, y: discrepancy(x, y[:0], KERNELS[0], squared=True),
        lambda x, y: discrepancy(x[0], y[0], KERNELS[0], squared=True),
        lambda x, y: discrepancy(x, y[:1], KERNELS[0], squared=True, unbiased=True),
        lambda x, y: discrepancy(x, y, KERNELS[0], squared=False, unbiased=True),
        lambda x, y: discrepancy(x, y, KERNELS[0], squared="no"),
        lambda x, y: discrepancy(x, y.numpy(), KERNELS[0], squared=True),
        lambda x, y: discrepancy(x, y.float(), KERNELS[0], squared=True),
        lambda x, y: discrepancy(x.half(), y.half(), KERNELS[0], squared=True),
        lambda x, y: discrepancy(x, y.to("meta"), KERNELS[0], squared=True),
        lambda x, y: discrepancy(x * math.nan, y, KERNELS[0], squared=True),
        lambda x, y: discrepancy(x / 0.0, y, KERNELS[0], squared=True),
        lambda x, y: discrepancy(x * 1e160, y, KERNELS[0], squared=True),
        lambda x, y: discrepancy(x * 1j, y, KERNELS[0], squared=True),
        lambda x, y: discrepancy(x, y, KERNELS[0], squared=True, x_weights=[1.0]),
        lambda x, y: discrepancy(x, y, KERNELS[0], squared=True, x_weights=np.zeros(7)),
        lambda x, y: discrepancy(x, y, KERNELS[0], squared=True, x_weights=np.array([2.0, -1.0, 0, 0, 0, 0, 0])),
        lambda x, y: discrepancy(x, y, KERNELS[0], squared=True, x_weights=np.full((7, 1), 1 / 7)),
        lambda x, y: discrepancy(x, y, KERNELS[0], squared=True, x_weights=torch.full((7,), 1 / 7, requires_grad=True)),
        lambda x, y: discrepancy(x, y, KERNELS[0], squared=True, unbiased=True, x_weights=np.full(7, 1 / 7)),
        lambda x, y: discrepancy([["a"]], [["b"]], KERNELS[0], squared=True),
        lambda x, y: discrepancy([[1.0], [1.0, 2.0]], [[1.0]], KERNELS[0], squared=True),
        lambda x, y: discrepancy_of_mixtures(
            GaussianMixture([[0.0]], [[[1.0]]]), GaussianMixture([[0.0] * 2], [np.eye(2)]), Gaussian(), squared=True
        ),
        lambda x, y: discrepancy_of_mixtures(
            GaussianMixture([[0.0]], [[[1.0]]]), GaussianMixture([[0.0]], [[[1.0]]]), Laplace(), squared=True
        ),
        lambda x, y: kernel_report(Gaussian(), 0),
        lambda x, y: discrepancy(x, y, Gaussian((1e-170,)), squared=True),
        lambda x, y: discrepancy(x, y, Laplace((1e-310,)), squared=True),
        lambda x, y: RationalQuadratic(((1.0, 200.0),)),
        lambda x, y: InverseMultiquadric((0.0,)),
        lambda x, y: InverseQuadratic(()),
        lambda x, y: RationalQuadratic(((1.0, math.nan),)),
    ],
)
def test_bad_input(call):
    with pytest.raises(InvalidInput):
        call(*samples(0))


def test_unusual_arrays():
    x, y = arrays(0)
    expected = discrepancy(x, y, InverseQuadratic(), squared=True)
    frozen = x.copy()
    frozen.setflags(write=False)
    assert discrepancy(frozen, y[::-1], InverseQuadratic(), squared=True) == pytest.approx(expected, rel=1e-14)
    assert discrepancy(np.asfortranarray(x), y.tolist(), InverseQuadratic(), squared=True) == expected
    tensor = torch.as_tensor(x).T.contiguous().T.requires_grad_()
    assert discrepancy(tensor, torch.as_tensor(y), InverseQuadratic(), squared=True).item() == expected
    whole = np.array([[1, 2], [3, 4]])
    assert discrepancy(whole, whole + 1, InverseQuadratic(), squared=True) == discrepancy(
        torch.as_tensor(whole), torch.as_tensor(whole + 1), InverseQuadratic(), squared=True
    )
    assert discrepancy([[0.0]], [[0.0]], InverseQuadratic(), squared=True) == 0.0
    assert discrepancy([[0.0]] * 3, [[0.0]], InverseQuadratic(), squared=True) == pytest.approx(0.0, abs=1e-15)
