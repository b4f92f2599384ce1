import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lipbounds.domains import Ball, Box, Capsule, ConvexHull, Segment, latent_ball
from lipbounds.errors import InvalidInput
from lipbounds.measures import standard_normal

DOMAINS = [
    Ball([1.0, -2.0, 0.5], 1.5),
    Capsule([-2.0, 0.0], [3.0, 1.0], 0.7),
    Capsule([1.0, 1.0], [1.0, 1.0], 2.0),
    Box([-1.0, 0.0, 2.0], [1.0, 3.0, 2.5]),
    Segment([-1.0, 0.0], [2.0, 1.0]),
]
seeds = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("domain", DOMAINS)
@given(seed=seeds)
def test_projection_is_nearest_and_1_lipschitz(domain, seed):
    rng = np.random.default_rng(seed)
    points = torch.as_tensor(4 * rng.standard_normal((50, domain.dim)))
    image = domain.project(points)
    ulps = 64 * np.finfo(float).eps * 10
    assert (domain.depth(image) >= -ulps).all()
    assert torch.equal(domain.project(domain.sample(20, rng)).isfinite().all(), torch.tensor(True))
    inside = domain.sample(50, rng)
    assert (domain.depth(inside) >= -ulps).all()
    assert (domain.project(inside) - inside).abs().max() <= ulps
    # the variational inequality of the projection: (x - Px).(y - Px) <= 0 for y in the set
    assert ((points - image)[:, None] * (inside[None] - image[:, None])).sum(-1).max() <= 100 * ulps
    gaps, image_gaps = torch.pdist(points), torch.pdist(image)
    assert (image_gaps <= gaps + ulps).all()


def test_a_capsule_of_two_equal_ends_is_a_ball():
    points = torch.as_tensor(np.random.default_rng(0).standard_normal((100, 2)) * 3)
    assert torch.equal(Capsule([1.0, 1.0], [1.0, 1.0], 2.0).project(points), Ball([1.0, 1.0], 2.0).project(points))


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_latent_ball_has_its_mass(dim):
    ball = latent_ball(np.zeros(dim), mass=0.9999)
    assert standard_normal(dim).ball_mass(np.zeros(dim), ball.radius).upper == pytest.approx(0.9999, rel=1e-12)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Ball([0.0], 0.0),
        lambda: Ball([0.0], np.inf),
        lambda: Ball([np.nan], 1.0),
        lambda: Ball([], 1.0),
        lambda: Capsule([0.0], [0.0, 1.0], 1.0),
        lambda: latent_ball([0.0], mass=1.0),
        lambda: Box([0.0], [0.0]),
        lambda: Box([0.0], [np.inf]),
        lambda: Box([0.0], [1.0, 2.0]),
        lambda: Segment([0.0], [0.0]),
        lambda: ConvexHull([[0.0, 1.0]]),
        lambda: ConvexHull([[0.0, 1.0], [0.0, 1.0]]),
        lambda: ConvexHull([[0.0, np.nan], [0.0, 1.0]]),
    ],
)
def test_bad_input(make):
    with pytest.raises(InvalidInput):
        make()


@given(seed=seeds)
@settings(max_examples=max(10, settings().max_examples // 5))
def test_projection_on_a_hull(seed):
    rng = np.random.default_rng(seed)
    corners = rng.standard_normal((12, 3))
    hull = ConvexHull(corners)
    points = torch.as_tensor(3 * rng.standard_normal((20, 3)))
    image = hull.project(points)
    inside = hull.sample(40, rng)
    # the variational inequality over the corners, and points of the hull stay; least squares with a heavy row is good to 1e-8
    assert ((points - image)[:, None] * (torch.as_tensor(corners)[None] - image[:, None])).sum(-1).max() <= 1e-6
    assert (hull.project(inside) - inside).abs().max() <= 1e-8
    assert (hull.depth(torch.as_tensor(corners)) <= 1e-5).sum() >= 4  # corners of the hull are on its boundary
    assert (hull.depth(points) < 0).any()
    assert hull.depth(torch.as_tensor(corners.mean(0))[None])[0] > 0


def test_spans_are_orthonormal():
    for domain, rank in ((Segment([0.0, 1.0, 1.0], [2.0, 0.0, 1.0]), 1), (ConvexHull([[0.0] * 4, [1.0] * 4, [1.0, 0, 0, 0]]), 2)):
        span = domain.span
        assert span.shape == (domain.dim, rank)
        torch.testing.assert_close(span.T @ span, torch.eye(rank, dtype=torch.float64))
    assert ConvexHull(np.eye(3)[:, :2]).span is None
    assert Box([0.0], [1.0]).span is None
