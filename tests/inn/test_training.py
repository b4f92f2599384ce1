import json

import numpy as np
import pytest
import torch

from inn import CouplingFlow, Ensemble, Latent, Training, coupling_flow, load_flow, save_flow, train
from inn.control import stretch_penalty
from inn.losses import data_discrepancy, latent_discrepancy, negative_log_likelihood
from lipbounds.distances import InverseMultiquadric, discrepancy
from lipbounds.errors import InvalidInput, NotConverged

SMALL = CouplingFlow(blocks=2, hidden=8)
MIXTURE = Latent(means=((-5.0, 0.0), (5.0, 0.0)))


def normal_data(size):
    def draw(n, generator):
        return 0.5 * torch.randn(size, n, 2, generator=generator) + 1.0

    return draw


def test_latent_agrees_with_its_measure():
    for latent in (Latent.normal(3), MIXTURE, Latent(means=((-1.0, 0.0), (1.0, 0.0)), scale=0.3)):
        points = np.random.default_rng(0).standard_normal((20, latent.dim)) * 3
        np.testing.assert_allclose(latent.log_density(torch.as_tensor(points)), latent.measure.log_density(points), rtol=1e-12)
        draws = latent.sample(4000, torch.Generator().manual_seed(0))
        spread = np.sqrt(np.var(np.array(latent.means), axis=0) + latent.scale**2)
        np.testing.assert_allclose(draws.std(0), spread, rtol=0.06)  # 5 standard errors are 5 / sqrt(8000)
        for ball, mean in zip(latent.balls(0.99), latent.means, strict=True):
            np.testing.assert_array_equal(ball.center, mean)
    assert MIXTURE.drawn_together(0.0).log_density(torch.zeros(1, 2)) == Latent.normal(2).log_density(torch.zeros(1, 2))
    assert MIXTURE.drawn_together(1.0) == MIXTURE


def test_losses_are_what_they_say():
    flows = [coupling_flow(SMALL, seed=seed).double() for seed in (0, 1)]
    ensemble = Ensemble(flows)
    generator = torch.Generator().manual_seed(0)
    x, z = (torch.randn(2, 30, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    kernel = InverseMultiquadric()
    for index, flow in enumerate(flows):
        image, log_det = flow.forward_and_log_det(x[index])
        likelihood = -(MIXTURE.log_density(image) + log_det).mean()
        torch.testing.assert_close(negative_log_likelihood(ensemble, x, MIXTURE)[index], likelihood)
        root = discrepancy(image, z[index], kernel, squared=False)
        torch.testing.assert_close(latent_discrepancy(ensemble, x, z)[index], root)
        root = discrepancy(flow.inverse(z[index]), x[index], kernel, squared=False)
        torch.testing.assert_close(data_discrepancy(ensemble, x, z)[index], root)


def test_stretch_penalty_of_linear_maps():
    # flows whose subnetworks are constant are affine: the penalty is the mean of max(0, |A v|^2 - c^2) over directions v
    flow = coupling_flow(CouplingFlow(blocks=1, hidden=2), seed=0)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.zero_()
    ensemble = Ensemble([flow])
    arguments = {"pairs": 500, "mass": 0.99, "generator": torch.Generator().manual_seed(0)}
    assert stretch_penalty(ensemble, MIXTURE, limit=1.01, **arguments).item() == 0.0
    assert stretch_penalty(ensemble, MIXTURE, limit=0.5, **arguments).item() == pytest.approx(0.75, rel=1e-2)  # float32


@pytest.mark.parametrize("objective", ["likelihood", "discrepancy"])
def test_training_fits_and_repeats(objective):
    def once():
        ensemble = Ensemble([coupling_flow(SMALL, seed=seed) for seed in (0, 1)])
        losses = []
        settings = Training(objective=objective, steps=150, batch=64)
        train(ensemble, normal_data(2), Latent.normal(2), settings, seed=3, callback=lambda step, loss: losses.append(loss))
        return ensemble, losses

    (ensemble, losses), (again, _) = once(), once()
    assert (losses[-1] < losses[0] - (0.3 if objective == "likelihood" else 0.1)).all()
    assert all(torch.equal(a, b) for a, b in zip(ensemble.parameters(), again.parameters(), strict=True))
    if objective == "likelihood":
        # the entropy of N(1, 1/4 I) is 1 + ln(2 pi) - 2 ln 2 = 1.4516, the least the loss can be; noise of 64 points is 0.13
        assert (losses[-1] < 1.4516 + 0.6).all()


def test_schedules():
    settings = Training(steps=1000, learning_rate=1e-2, first_spread=0.2, spread_share=0.5)
    assert settings.rate(0) == pytest.approx(1e-4)
    assert settings.rate(500) == pytest.approx(5e-3)
    assert settings.rate(999) < 1e-7
    assert [settings.spread(step) for step in (0, 250, 500, 999)] == pytest.approx([0.2, 0.6, 1.0, 1.0])


def test_a_loss_that_is_not_finite_names_step_and_network():
    ensemble = Ensemble([coupling_flow(SMALL, seed=seed) for seed in (0, 1)])

    def draw(n, generator):
        x = torch.randn(2, n, 2, generator=generator)
        x[1, 0, 0] = torch.nan
        return x

    with pytest.raises(NotConverged, match=r"networks \[1\] not finite at step 0"):
        train(ensemble, draw, Latent.normal(2), Training(steps=3), seed=0)


def test_checkpoint_round_trip(tmp_path):
    architecture = CouplingFlow(dim=3, blocks=2, hidden=5, depth=1, activation="relu", clamp=0.7)
    flow = coupling_flow(architecture, seed=9)
    save_flow(tmp_path / "flow.safetensors", flow, architecture)
    loaded, read = load_flow(tmp_path / "flow.safetensors")
    assert read == architecture
    points = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(loaded(points), flow(points))
    assert [path.name for path in tmp_path.iterdir()] == ["flow.safetensors"]


@pytest.mark.parametrize("damage", ["missing", "truncated", "other architecture", "no architecture", "pickle"])
def test_bad_checkpoints(tmp_path, damage):
    from safetensors.torch import save_file

    path = tmp_path / "flow.safetensors"
    flow = coupling_flow(SMALL, seed=0)
    save_flow(path, flow, SMALL)
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:-10])
    elif damage == "other architecture":
        save_file(flow.state_dict(), path, metadata={"architecture": json.dumps({"blocks": 3})})
    elif damage == "no architecture":
        save_file(flow.state_dict(), path)
    else:
        torch.save(flow.state_dict(), path)
    with pytest.raises(InvalidInput, match="checkpoint"):
        load_flow(path)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Training(objective="magic"),
        lambda: Training(steps=0),
        lambda: Latent(means=()),
        lambda: Latent(means=((0.0,), (0.0, 1.0))),
        lambda: Latent(means=((0.0,),), scale=-1.0),
        lambda: Latent(means=((0.0,), (1.0,), (2.0,))).hull(0.9),
    ],
)
def test_bad_input(make):
    with pytest.raises(InvalidInput):
        make()
