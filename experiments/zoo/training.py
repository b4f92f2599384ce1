"""Training of the zoo's networks, by what their libraries propose, and their stored weights."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from experiments.zoo.data import SAMPLERS
from experiments.zoo.networks import Network

__all__ = ["WEIGHTS", "load", "train_network"]

WEIGHTS = Path(__file__).parent / "weights"
BATCH = 256
CONTEXT = 0.5  # the label at which conditional flows are read
PROJECTIONS = 64
MISFIT = 0.05  # deviation of a decoder's pixels


def _likelihood(module: Any, x: Tensor, context: Tensor | None) -> Tensor:
    """Minus the mean log-likelihood, as each library computes it."""
    package = type(module).__module__.split(".")[0]
    if package == "normflows":
        loss: Tensor = module.forward_kld(x)
    elif package == "FrEIA":
        z, log_det = module(x)
        loss = (0.5 * z.square().sum(1) - log_det).mean()
    elif package == "nflows":
        loss = -module.log_prob(x).mean()
    else:
        loss = -(module() if context is None else module(context)).log_prob(x).mean()
    return loss


def _flow_matching(module: Any, x: Tensor, _: Tensor | None) -> Tensor:
    noise, t = torch.randn_like(x), torch.rand(len(x), 1)
    loss: Tensor = (module.velocity((1 - t) * noise + t * x, t) - (x - noise)).square().sum(1).mean()
    return loss


def _sliced(module: Any, x: Tensor, _: Tensor | None) -> Tensor:
    """The squared sliced Wasserstein distance of a batch."""
    directions = nn.functional.normalize(torch.randn(x.shape[1], PROJECTIONS), dim=0)
    generated = module(torch.randn(len(x), x.shape[1]))
    loss: Tensor = ((generated @ directions).sort(0).values - (x @ directions).sort(0).values).square().mean()
    return loss


def _autoencoder(module: Any, x: Tensor, _: Tensor | None) -> Tensor:
    code = module.encode(x)
    penalty = code.new_zeros(())
    if module.variational:
        mean, log_scale = code.chunk(2, 1)
        code = mean + log_scale.exp() * torch.randn_like(mean)
        penalty = (0.5 * (mean.square() + (2 * log_scale).exp() - 1) - log_scale).sum(1).mean()
    else:
        penalty = 0.01 * code.square().sum(1).mean()
    loss: Tensor = (module(code) - x).square().sum(1).mean() / (2 * MISFIT if module.variational else 1.0) + penalty
    return loss


LOSSES: dict[str, Callable[[Any, Tensor, Tensor | None], Tensor]] = {
    "likelihood": _likelihood,
    "flow matching": _flow_matching,
    "sliced": _sliced,
    "autoencoder": _autoencoder,
}


def _file(network: Network) -> Path:
    return WEIGHTS / (re.sub(r"[^a-z0-9]+", "-", network.name.lower()) + ".safetensors")


def train_network(network: Network) -> float:
    """Train a network from scratch and store its weights; returns the mean of its last losses."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    module = network.build()
    losses = [float("nan")]
    if network.train != "none":
        adam = torch.optim.Adam(module.parameters(), lr=1e-3)
        for _ in range(network.steps):
            x = torch.as_tensor(SAMPLERS[network.data](BATCH, rng), dtype=torch.float32)
            context = torch.rand(len(x), network.context) if network.context else None
            if context is not None:
                x = x * (0.5 + context)  # what the label does
            loss = LOSSES[network.train](module, x, context)
            adam.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(module.parameters(), 10.0)
            adam.step()
            if hasattr(module, "flows"):
                import normflows

                normflows.utils.update_lipschitz(module, 5)
            losses.append(loss.item())
    WEIGHTS.mkdir(exist_ok=True)
    save_file({name: value.contiguous().clone() for name, value in module.state_dict().items()}, _file(network))
    return float(np.mean(losses[-100:]))


def load(network: Network) -> Any:
    """Return a network with its stored weights, as a user hands it over: at its label if it has one, in float64."""
    module = network.build()
    module.load_state_dict(load_file(_file(network)))
    module = module.double().eval().requires_grad_(False)
    if network.context:
        transform = module(torch.full((network.context,), CONTEXT, dtype=torch.float64)).transform
        return lambda z: transform.inv(z)
    return module
