r"""Small trained networks for the checks of theorems: two modes in 2 to 8 dimensions, both latents, with and without labels.

Data: $X=O(U_1,\dots,U_d)$ with $U_1\sim\frac12N(-1,\sigma^2)+\frac12N(1,\sigma^2)$ and the rest normal, of deviation sigma
(`round`, so that masses of balls have a closed form) or 1. O is the reflection that exchanges the first axis and the diagonal:
with independent coordinates training starts at a saddle, where no coordinate helps to move another, and stays there. With labels
$Y=(U_{d-n+1},\dots,U_d)+0.5\cos(2U_1)$, which does not tell the modes apart: every posterior has two.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inn import Composition, CouplingFlow, Ensemble, Latent, Training, coupling_flow, train
from lipbounds.measures import GaussianMixture

__all__ = ["SETTINGS", "Setting", "Trained", "labels_of", "relative_entropy", "train_setting"]

Array = NDArray[np.float64]

CHUNK = 16384


@dataclass(frozen=True)
class Setting:
    """What an ensemble is trained on: one network for each sigma.

    Attributes:
        name: Of the setting.
        dim: Dimension d of X.
        labels: Dimension n of Y; 0 without condition.
        latent: Law of Z, for `mixture` two components at distance 10.
        sigmas: Widths of the modes.
        round: Whether all coordinates have the deviation sigma about the modes.
        steps: Of training; fewer give less accurate networks.
    """

    name: str
    dim: int
    labels: int = 0
    latent: Literal["normal", "mixture"] = "normal"
    sigmas: tuple[float, ...] = (0.5, 0.35)
    round: bool = False
    steps: int = 500

    @property
    def law_of_z(self) -> Latent:
        """The latent law, of dimension d - n."""
        k = self.dim - self.labels
        if self.latent == "normal":
            return Latent.normal(k)
        return Latent(((-5.0,) + (0.0,) * (k - 1), (5.0,) + (0.0,) * (k - 1)))

    def law_of_x(self, sigma: float) -> GaussianMixture:
        """The law of the data."""
        means = np.outer((-1.0, 1.0), self.axis)
        if self.round:
            covariance = sigma**2 * np.eye(self.dim)
        else:
            covariance = np.eye(self.dim) - (1 - sigma**2) * np.outer(self.axis, self.axis)
        return GaussianMixture(means, np.broadcast_to(covariance, (2, self.dim, self.dim)))

    @property
    def axis(self) -> Array:
        """The unit vector from one mode to the other: the diagonal."""
        return np.full(self.dim, self.dim**-0.5)

    @property
    def reflection(self) -> Array:
        """O, which is its own inverse and takes the first axis to the diagonal."""
        normal = np.eye(self.dim)[0] - self.axis
        return np.asarray(np.eye(self.dim) - 2 * np.outer(normal, normal) / (normal @ normal))


SETTINGS = (
    Setting("normal, 2-d, short", 2, steps=200),
    Setting("normal, 2-d", 2, sigmas=(0.5, 0.35, 0.25)),
    Setting("normal, 2-d, round", 2, round=True),
    Setting("normal, 3-d", 3),
    Setting("normal, 5-d", 5, sigmas=(0.7, 0.6)),
    Setting("normal, 8-d", 8, sigmas=(0.7, 0.6), steps=800),
    Setting("mixture, 2-d", 2, latent="mixture", sigmas=(0.35, 0.2)),
    Setting("y in 1-d, z in 1-d", 2, labels=1, sigmas=(0.5, 0.4), steps=600),
    Setting("y in 1-d, z in 2-d", 3, labels=1),
    Setting("y in 2-d, z in 2-d", 4, labels=2, sigmas=(0.6, 0.5), steps=800),
)


def labels_of(x: Array, setting: Setting) -> Array:
    """Y as a function of X, shape (N, n)."""
    u = x @ setting.reflection
    return np.asarray(u[:, setting.dim - setting.labels :] + 0.5 * np.cos(2 * u[:, :1]))


@dataclass(frozen=True, eq=False)
class Trained:
    """One network in double precision with what it was trained on.

    Attributes:
        setting: Of the ensemble.
        sigma: Width of its modes.
        flow: T; the first n coordinates of T(x) are T_y(x).
    """

    setting: Setting
    sigma: float
    flow: Composition

    @property
    def law(self) -> GaussianMixture:
        """The law of the data."""
        return self.setting.law_of_x(self.sigma)

    @property
    def name(self) -> str:
        """Of the network."""
        return f"{self.setting.name}, sigma {self.sigma:g}"

    def forward(self, x: Array) -> Array:
        """T at rows."""
        return _batched(self.flow.forward, x)

    def inverse(self, z: Array) -> Array:
        """T^{-1} at rows."""
        return _batched(self.flow.inverse, z)

    def log_det(self, x: Array) -> Array:
        """log |det DT| at rows."""
        return _batched(lambda points: self.flow.forward_and_log_det(points)[1], x)


def _batched(function: Callable[[Tensor], Tensor], points: Array) -> Array:
    with torch.no_grad():
        return torch.cat([function(chunk) for chunk in torch.split(torch.as_tensor(points), CHUNK)]).numpy()


def train_setting(setting: Setting, *, seed: int, callback: Callable[[float], None] | None = None) -> list[Trained]:
    """Train one network for each sigma, in one batched pass."""
    widths = torch.tensor(setting.sigmas)[:, None]
    reflection = torch.tensor(setting.reflection, dtype=torch.float32)

    def draw(n: int, generator: torch.Generator) -> Tensor:
        x = torch.randn(len(setting.sigmas), n, setting.dim, generator=generator)
        side = torch.ones(n)
        side[: n // 2] = -1.0  # stratified: the split of the mass is learned without sampling noise
        if setting.round:
            x = x * widths[..., None]
        first = x[..., 0] if setting.round else widths * x[..., 0]
        u = torch.cat(((side + first)[..., None], x[..., 1:]), dim=-1)
        if not setting.labels:
            return u @ reflection
        return torch.cat((u @ reflection, u[..., setting.dim - setting.labels :] + 0.5 * torch.cos(2 * u[..., :1])), dim=-1)

    flows = [
        coupling_flow(CouplingFlow(dim=setting.dim, blocks=3, hidden=48, activation="tanh"), seed=1000 * seed + index)
        for index in range(len(setting.sigmas))
    ]
    ensemble = Ensemble(flows)
    training = Training(
        objective="conditional" if setting.labels else "likelihood",
        steps=setting.steps,
        batch=256,
        learning_rate=2e-2 if setting.labels else 1e-2,
        label_scale=0.2,  # a smaller one makes T_y sharper and the law of z, on which the checks depend, worse
        first_spread=0.2,
        penalty=0.1 if setting.latent == "mixture" else 0.0,
    )

    def report(step: int, _: Tensor) -> None:
        if callback is not None:
            callback((step + 1) / setting.steps)

    train(ensemble, draw, setting.law_of_z, training, seed=seed, callback=report)
    doubles = [copy.deepcopy(flow).double().requires_grad_(False) for flow in ensemble.networks()]
    return [Trained(setting, sigma, flow) for sigma, flow in zip(setting.sigmas, doubles, strict=True)]


def relative_entropy(trained: Trained, n: int, seed: int) -> tuple[float, float]:
    r"""Return the mean and standard error of $\log\frac{dT_\#\mu}{d\nu}$ over data: an estimate of KL(T#mu || nu).

    nu is the latent law; the density of T#mu is that of the data over the Jacobian, both exact. For networks without labels.
    """
    x = trained.law.sample(n, np.random.default_rng(seed))
    latent = trained.setting.law_of_z.measure
    ratio = trained.law.log_density(x) - trained.log_det(x) - latent.log_density(trained.forward(x))
    return float(ratio.mean()), float(ratio.std()) / math.sqrt(n)
