"""The metrics of the losses against lipbounds.distances, and their slopes against differences."""

import pytest
import torch

from inn import CouplingFlow, Discrepancy, Ensemble, SlicedWasserstein, Wasserstein1, coupling_flow
from inn.losses import data_discrepancy, latent_discrepancy
from lipbounds.distances import InverseQuadratic, discrepancy, wasserstein
from lipbounds.errors import InvalidInput

METRICS = [Discrepancy(), Discrepancy(InverseQuadratic(), squared=True), SlicedWasserstein(8), Wasserstein1()]


def samples(seed=0, n=12, m=12):
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(n, 3, generator=generator, dtype=torch.float64),
        torch.randn(m, 3, generator=generator, dtype=torch.float64) + 0.5,
    )


def test_values():
    x, y = samples(n=15, m=9)
    assert float(Discrepancy()(x, y)) == float(discrepancy(x, y, Discrepancy().kernel, squared=False))
    assert float(METRICS[1](x, y)) == pytest.approx(float(discrepancy(x, y, InverseQuadratic(), squared=True)))
    exact = wasserstein(x, y)
    assert exact.lower - 1e-12 <= float(Wasserstein1()(x, y)) <= exact.upper + 1e-12
    # on the line every direction gives W_1 itself
    a, b = samples()
    assert float(SlicedWasserstein(3)(a[:, :1], b[:, :1])) == pytest.approx(wasserstein(a[:, :1], b[:, :1]).lower, rel=1e-12)
    # 2 / (pi / 2) ... a shift by v costs the mean of |theta . v|, in three dimensions |v| / 2
    shifted = a + torch.tensor([2.0, 0.0, 0.0], dtype=torch.float64)
    assert float(SlicedWasserstein(4000)(a, shifted)) == pytest.approx(1.0, rel=0.03)  # 3 standard errors
    assert float(SlicedWasserstein(8)(a, b)) <= wasserstein(a, b).upper


@pytest.mark.parametrize("metric", METRICS, ids=str)
def test_slopes(metric):
    x, y = (part.requires_grad_() for part in samples())
    assert torch.autograd.gradcheck(metric, (x, y), eps=1e-6, atol=1e-5)
    # equal samples: the least value, and slopes that are finite
    same = x.detach().clone().requires_grad_()
    value = metric(same, x.detach())
    assert float(value.detach()) == pytest.approx(0.0, abs=1e-6)  # the root of 2 * 12^2 roundings of 1e-16 / 12
    value.backward()
    assert torch.isfinite(same.grad).all()


def test_any_metric_serves_the_losses():
    ensemble = Ensemble([coupling_flow(CouplingFlow(blocks=1, hidden=4), seed=seed) for seed in (0, 1)])
    generator = torch.Generator().manual_seed(0)
    x, z = (torch.randn(2, 10, 2, generator=generator) for _ in range(2))
    for metric in METRICS:
        image, back = ensemble.forward_and_log_det(x)[0], ensemble.inverse_and_log_det(z)[0]
        assert latent_discrepancy(ensemble, x, z, metric)[1] == metric(image[1], z[1])
        assert data_discrepancy(ensemble, x, z, metric)[0] == metric(back[0], x[0])


@pytest.mark.parametrize("metric", METRICS, ids=str)
@pytest.mark.parametrize(
    "bad",
    [
        (torch.zeros(0, 2), torch.zeros(3, 2)),
        (torch.zeros(3, 2), torch.zeros(3, 4)),
        (torch.zeros(3), torch.zeros(3)),
        (torch.full((3, 2), torch.nan), torch.zeros(3, 2)),
    ],
)
def test_bad_samples(metric, bad):
    with pytest.raises(InvalidInput):
        metric(*bad)


def test_sliced_needs_one_size():
    with pytest.raises(InvalidInput, match="one number of points"):
        SlicedWasserstein()(*samples(n=3, m=4))
