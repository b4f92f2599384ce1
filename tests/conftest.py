"""Hypothesis profiles, and the trained networks that tests share."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
import torch
from hypothesis import HealthCheck, settings

settings.register_profile("dev", max_examples=50, deadline=None)
settings.register_profile(
    "ci",
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("hunt", max_examples=3000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("LIPBOUNDS_PROFILE", "ci"))


def pytest_collection_modifyitems(config, items):
    """Tests marked hunt run under the hunt profile only."""
    if os.environ.get("LIPBOUNDS_PROFILE") == "hunt":
        return
    skip = pytest.mark.skip(reason="longer check: make hunt")
    for item in items:
        if "hunt" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def trained_normal():
    """A small flow trained on two modes of width 0.25 with a standard normal latent."""
    from inn import CouplingFlow, Ensemble, Latent, Training, coupling_flow, train

    sigma = 0.25

    def draw(n, generator):
        noise = torch.randn(1, n, 2, generator=generator)
        side = torch.ones(n)
        side[: n // 2] = -1.0
        return torch.stack((side + sigma * noise[..., 0], noise[..., 1]), dim=-1)

    ensemble = Ensemble([coupling_flow(CouplingFlow(blocks=4, hidden=24), seed=5)])
    train(ensemble, draw, Latent.normal(2), Training(steps=500, batch=192), seed=1)
    return ensemble.networks()[0]
