"""Maps whose Lipschitz constant on a domain is known: ground truth for estimators.

Dimensions 1 to 256; needles are steep in a layer of width w only. Constants in closed form, or maxima of functions of one
variable on a fine grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import ortho_group
from torch import Tensor
from torch.special import ndtr

from lipbounds.domains import Ball, latent_ball
from lipbounds.maps.model import Map
from lipbounds.theorems import exact_lipschitz

__all__ = ["KnownMap", "known_maps"]

Array = NDArray[np.float64]

NEWTON = 40


@dataclass(frozen=True, eq=False)
class KnownMap:
    """A map with its constant.

    Attributes:
        name: Of the case.
        family: Of the construction.
        dim: Dimension of the domain.
        f: The map, float64 rows.
        domain: A ball.
        truth: Lip(f; domain), to about 1e-6.
    """

    name: str
    family: str
    dim: int
    f: Map
    domain: Ball
    truth: float


def linear(dim: int, seed: int) -> KnownMap:
    """A random matrix."""
    matrix = torch.as_tensor(np.random.default_rng(seed).standard_normal((dim, dim)))
    truth = float(torch.linalg.matrix_norm(matrix, 2))
    return KnownMap(f"linear, d = {dim}", "linear", dim, lambda z: z @ matrix.T, latent_ball(np.zeros(dim), mass=0.99), truth)


def needles(dim: int, width: float, seed: int) -> KnownMap:
    """x_i -> a_i x_i + b_i tanh((x_i - c_i) / w_i) between two rotations: max of a_i + b_i / w_i, in a layer of width w."""
    rng = np.random.default_rng(seed)
    slopes, centres = rng.uniform(0.5, 1.5, dim), rng.uniform(-0.8, 0.8, dim)
    heights, widths = rng.uniform(0.3, 0.6, dim) * width, np.full(dim, width)
    heights[0] = 1.0  # one needle is the steepest, the others are low
    turn, back = (torch.as_tensor(_rotation(dim, rng)) for _ in range(2))
    a, b, c, w = (torch.as_tensor(part) for part in (slopes, heights, centres, widths))

    def f(z: Tensor) -> Tensor:
        x = z @ turn.T
        image: Tensor = (a * x + b * torch.tanh((x - c) / w)) @ back.T
        return image

    truth = float((slopes + heights / widths).max())
    return KnownMap(f"needle {width:g}, d = {dim}", "needles", dim, f, latent_ball(np.zeros(dim), mass=0.99), truth)


def _rotation(dim: int, rng: np.random.Generator) -> Array:
    return np.eye(1) if dim == 1 else np.asarray(ortho_group.rvs(dim, random_state=rng))


def radial(dim: int, width: float) -> KnownMap:
    """g(|x|) x / |x| with a step of g at radius 1.5: max of sup g' and sup g(r) / r."""

    def profile(r: Tensor) -> Tensor:
        value: Tensor = r + torch.tanh((r - 1.5) / width) + math.tanh(1.5 / width)
        return value

    def f(z: Tensor) -> Tensor:
        r = torch.linalg.vector_norm(z, dim=1, keepdim=True).clamp_min(1e-9)
        image: Tensor = profile(r) / r * z
        return image

    r = torch.linspace(1e-3, 3.0, 2_000_001, dtype=torch.float64)
    truth = max(1 + 1 / width, float((profile(r) / r).max()))
    return KnownMap(f"radial {width:g}, d = {dim}", "radial", dim, f, Ball(np.zeros(dim), 3.0), truth)


def composed(dim: int, width: float, seed: int) -> KnownMap:
    """Two needle maps along one axis, the second's needle where the first one sends its own: the product of both slopes."""
    rng = np.random.default_rng(seed)
    turn = torch.as_tensor(_rotation(dim, rng))
    first_centre = 0.4

    def needle(x: Tensor, centre: float) -> Tensor:
        return torch.cat((x[:, :1] + torch.tanh((x[:, :1] - centre) / width), x[:, 1:]), 1)

    def f(z: Tensor) -> Tensor:
        return needle(needle(z @ turn.T, first_centre), first_centre)  # the first keeps its centre in place

    truth = (1 + 1 / width) ** 2
    return KnownMap(f"composition {width:g}, d = {dim}", "composition", dim, f, latent_ball(np.zeros(dim), mass=0.99), truth)


def quantile(sigma: float) -> KnownMap:
    """The monotone map from N(0, 1) to two modes of width sigma: sigma exp(1 / (2 sigma^2)) at 0."""

    def cdf(x: Tensor) -> Tensor:
        value: Tensor = 0.5 * (ndtr((x - 1) / sigma) + ndtr((x + 1) / sigma))
        return value

    def density(x: Tensor) -> Tensor:
        parts = [torch.exp(-0.5 * ((x - m) / sigma) ** 2) for m in (-1.0, 1.0)]
        return (parts[0] + parts[1]) / (2 * sigma * math.sqrt(2 * math.pi))

    def f(z: Tensor) -> Tensor:
        p = ndtr(z)
        with torch.no_grad():
            low, high = torch.full_like(p, -1 - 9 * sigma), torch.full_like(p, 1 + 9 * sigma)
            for _ in range(NEWTON + 20):
                middle = 0.5 * (low + high)
                below = cdf(middle) < p
                low, high = torch.where(below, middle, low), torch.where(below, high, middle)
            x = 0.5 * (low + high)
        # two differentiable Newton steps give the value's first and second derivatives
        for _ in range(2):
            x = x - (cdf(x) - p) / density(x)
        return x

    return KnownMap(f"quantile map, sigma {sigma:g}", "quantile", 1, f, Ball([0.0], 2.5), exact_lipschitz(sigma))


def coupling(amplitude: float, steepness: float) -> KnownMap:
    """One inverse coupling block with scalar conditioner, (v_1, (v_2 - t(v_1)) e^{-s(v_1)}): its maximum over a fine grid."""

    def parts(v: Tensor) -> tuple[Tensor, Tensor]:
        return amplitude * torch.tanh(steepness * v), torch.sin(steepness * v)

    def f(z: Tensor) -> Tensor:
        s, t = parts(z[:, :1])
        return torch.cat((z[:, :1], (z[:, 1:] - t) * torch.exp(-s)), 1)

    # the derivative's second row is linear in v_2, so for each v_1 the largest |v_2| of the ball is worst, of either sign
    v = torch.linspace(-2.0, 2.0, 400_001, dtype=torch.float64)
    s, t = parts(v)
    slope_s = amplitude * steepness / torch.cosh(steepness * v) ** 2
    slope_t = steepness * torch.cos(steepness * v)
    factor = torch.exp(-s)
    reach = (4.0 - v.square()).clamp_min(0.0).sqrt()
    truth = 0.0
    for sign in (-1.0, 1.0):
        below = -factor * slope_t - (sign * reach - t) * factor * slope_s
        norm = 0.5 * (((1 + factor) ** 2 + below**2).sqrt() + ((1 - factor) ** 2 + below**2).sqrt())
        truth = max(truth, float(norm.max()))
    return KnownMap(f"coupling {amplitude:g}, {steepness:g}", "coupling", 2, f, Ball([0.0, 0.0], 2.0), truth)


def bump(dim: int, width: float) -> KnownMap:
    """z -> (z, exp(-|z - c|^2 / (2 w^2)) / 2) on the unit ball: steep about one small sphere, the identity elsewhere."""
    centre = torch.full((dim,), 0.31 / math.sqrt(dim), dtype=torch.float64)

    def f(z: Tensor) -> Tensor:
        far = (z - centre).square().sum(1, keepdim=True) / (2 * width**2)
        return torch.cat((z, 0.5 * torch.exp(-far)), 1)

    # r exp(-r^2 / 2) is largest at r = 1
    truth = math.hypot(1.0, 0.5 * math.exp(-0.5) / width)
    return KnownMap(f"bump {width:g}, d = {dim}", "bumps", dim, f, Ball(np.zeros(dim), 1.0), truth)


def rim(dim: int, rate: float) -> KnownMap:
    """z -> z + a (exp(k a z) - 1) / k for a unit vector a: steepest at one point of the sphere, 1 + exp(k R)."""
    axis = torch.as_tensor(_rotation(dim, np.random.default_rng(dim))[0])
    radius = 2.0

    def f(z: Tensor) -> Tensor:
        return z + (torch.expm1(rate * (z @ axis)) / rate)[:, None] * axis

    return KnownMap(f"rim {rate:g}, d = {dim}", "rim", dim, f, Ball(np.zeros(dim), radius), 1 + math.exp(rate * radius))


def known_maps(*, quick: bool) -> list[KnownMap]:
    """The suite."""
    makers: list[Callable[[], KnownMap]] = [
        *(lambda d=d: linear(d, seed=d) for d in ((2,) if quick else (2, 8, 32, 128, 256))),
        *(
            lambda d=d, w=w: needles(d, w, seed=d)
            for d in ((1, 3) if quick else (1, 2, 4, 8, 16, 64, 256))
            for w in ((0.01,) if quick else (0.1, 0.01, 1e-3, 1e-4))
        ),
        *(
            lambda d=d, w=w: radial(d, w)
            for d in ((2,) if quick else (2, 5, 20, 100))
            for w in ((0.1,) if quick else (0.1, 0.01))
        ),
        *(
            lambda d=d, w=w: composed(d, w, seed=d)
            for d in ((2,) if quick else (2, 10, 64))
            for w in ((0.1,) if quick else (0.1, 0.02))
        ),
        *(
            lambda d=d, w=w: bump(d, w)
            for d in ((2,) if quick else (2, 3, 4, 8, 16))
            for w in ((0.1,) if quick else (0.1, 0.01, 1e-3))
        ),
        *(lambda d=d, k=k: rim(d, k) for d in ((2,) if quick else (2, 8, 32)) for k in ((2.0,) if quick else (2.0, 5.0))),
        *(lambda s=s: quantile(s) for s in ((0.5,) if quick else (0.5, 0.3, 0.25))),
        *(lambda a=a, k=k: coupling(a, k) for a in ((1.0,) if quick else (0.5, 2.0)) for k in ((2.0,) if quick else (2.0, 10.0))),
    ]
    return [make() for make in makers]
