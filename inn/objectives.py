r"""What a `ConditionalModel` minimises: the paper's weighted losses, and the likelihood of x given y."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from inn.compose import Composition
from inn.conditional import ConditionalModel
from inn.control import weight_penalty
from inn.invertible import Invertible
from inn.loop import Optimization, fit
from inn.losses import gaussian_misfit
from inn.metrics import Discrepancy, Metric
from inn.mixture import LearnedMixture, sparsity
from inn.padding import label_loss, padding_terms
from inn.schedules import Number, as_schedule
from lipbounds.errors import InvalidInput

__all__ = ["LikelihoodObjective", "PaperObjective", "first_bad_layer", "fit_conditional"]

Draw = Callable[[int, torch.Generator], tuple[Tensor, Tensor]]
"""From a number and a generator to that many fresh (x, y)."""


@dataclass(frozen=True)
class PaperObjective:
    r"""$\lambda_yL_y+\lambda_zL_z+\lambda_xL_x+L_{pad}+L_{reg}$ and the sparsity term; every weight a number or a schedule.

    A weight of 0 leaves its term out, and the passes that only it needs.

    Attributes:
        labels: Weight of $L_y$, the mean of $|T_y(x)-y|^2$.
        latent: Weight of $L_z=D(T_\#P_X,P_{(Y,Z)})$ on (y, z) jointly, with $T_y(x)$ held fixed: labels are $L_y$'s business.
        data: Weight of $L_x=D(T^{-1}_\#P_{(Y,Z)},P_X)$ on the data coordinates.
        image_padding: Weight of the first term of $L_{pad}$; the paper takes the three alike.
        reconstruction: Weight of the second.
        data_padding: Weight of the third.
        from_labels: Whether the second term starts at y instead of $T_y(x)$, the paper's variant for images.
        fixed_image: Whether it takes T(x) for a constant, padding included, with noise of `latent_noise` on it: the
            reconstruction of the authors' program.
        sparsity: Weight of $(\sum_ip_i^{1/2})^2$.
        regularisation: $\lambda_{reg}$ of $L_{reg}$, half the sum of squares of the weight matrices of T.
        latent_metric: D of $L_z$.
        data_metric: D of $L_x$.
        temperature: t of Algorithm 1.
        data_noise: Deviation of noise on the data coordinates of x.
        label_noise: Deviation of noise on y where it is an input of $T^{-1}$ and a target.
        latent_noise: Deviation of the noise for `fixed_image`.

    Source:
        Hagemann and Neumayer (2022), Sections 2 and 4; `reference-settings` of the experiments for the program's values.
    """

    labels: Number = 1.0
    latent: Number = 1.0
    data: Number = 1.0
    image_padding: Number = 0.0
    reconstruction: Number = 0.0
    data_padding: Number = 0.0
    from_labels: bool = False
    fixed_image: bool = False
    sparsity: Number = 0.0
    regularisation: Number = 0.0
    latent_metric: Metric = field(default_factory=Discrepancy)
    data_metric: Metric = field(default_factory=Discrepancy)
    temperature: Number = 0.1
    data_noise: float = 0.0
    label_noise: float = 0.0
    latent_noise: float = 0.0

    def __call__(
        self, model: ConditionalModel, x: Tensor, y: Tensor, done: float, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """The weighted terms for data x, shape (n, data), with labels y, shape (n, labels)."""
        names = ("labels", "latent", "data", "image_padding", "reconstruction", "data_padding", "sparsity", "regularisation")
        weight = {name: as_schedule(getattr(self, name))(done) for name in names}
        padding = model.padding
        padding.check_pairs(x, y)
        z = model.sample_latent(y, generator, temperature=as_schedule(self.temperature)(done))
        noisy_y = _noisy(y, self.label_noise, generator)
        padded = padding.pad_data(_noisy(x, self.data_noise, generator), generator)
        target = padding.pad_image(noisy_y, z, generator)
        image = model.flow(padded)
        own_y, _, own_z = padding.split(image)
        if self.fixed_image:
            start = _noisy(image.detach(), self.latent_noise, generator)
        else:
            start = torch.cat((noisy_y if self.from_labels else own_y, padding.split(target)[1], own_z), dim=1)
        # rows are independent: one pass for what comes back and what is generated
        need = {"again": weight["reconstruction"] > 0, "generated": weight["data"] > 0 or weight["data_padding"] > 0}
        starts = {"again": start, "generated": target}
        wanted = [starts[name] for name, needed in need.items() if needed]
        backward = iter(torch.split(model.flow.inverse(torch.cat(wanted)), len(x)) if wanted else ())
        again = next(backward) if need["again"] else padded
        generated = next(backward) if need["generated"] else padded
        terms = dict(
            zip(
                ("image_padding", "reconstruction", "data_padding"),
                padding_terms(padded, image, again, generated, target, padding),
                strict=True,
            )
        )
        terms["labels"] = label_loss(image, noisy_y, padding)
        if weight["latent"] > 0:
            terms["latent"] = self.latent_metric(torch.cat((own_y.detach(), own_z), dim=1), torch.cat((noisy_y, z), dim=1))
        if weight["data"] > 0:
            terms["data"] = self.data_metric(padding.data_of(generated), x)
        if weight["sparsity"] > 0:
            if not isinstance(model.latent, LearnedMixture):
                raise InvalidInput("sparsity", weight["sparsity"], "0 for a latent with fixed probabilities", "drop the term")
            terms["sparsity"] = sparsity(model.latent.probabilities(y))
        if weight["regularisation"] > 0:
            terms["regularisation"] = weight_penalty(model.flow)
        return {name: weight[name] * term for name, term in terms.items() if weight[name] > 0}


@dataclass(frozen=True)
class LikelihoodObjective:
    r"""The mean of $-\log p(x|y)$, where $T_y(x)\sim N(y,\tau^2I)$, the image's padding is normal and $T_z(x)$ of the latent law.

    By the change of variables; it scores the split of the mass between modes directly, which discrepancies see only through
    samples. $\tau$ that falls slowly is what makes it work for labels that are functions of x: at once small, $L_y$ would drown
    the rest.

    Attributes:
        label_scale: $\tau$, a number or a schedule.
        spread: Share of the distance of the latent means; drawn together at first, modes find their components while these
            overlap.
        data_noise: Deviation of noise on the data coordinates of x.
        probability_noise: Deviation of noise on the labels that p(y) sees. At its optimum p(y) is then the estimate of
            Algorithm 2 with weights $e^{-|y-y_i|^2/(2s^2)}$, as printed for $s=1/\sqrt2$: smoother than the truth.
        sparsity: Weight of $(\sum_ip_i^{1/2})^2$.
        reconstruction: Weight of $|x-T^{-1}(y,z_{pad},T_z(x))|^2$ on the data coordinates, the second term of $L_{pad}$ in the
            paper's variant for images. The likelihood does not see whether x is turned into z or into $T_y(x)-y$, which is
            noise to it; where a part of x has become that noise, $T^{-1}$ at y itself draws from too narrow a law.
    """

    label_scale: Number = 0.05
    spread: Number = 1.0
    data_noise: Number = 0.0
    probability_noise: Number = 0.0
    sparsity: Number = 0.0
    reconstruction: Number = 0.0

    def __call__(
        self, model: ConditionalModel, x: Tensor, y: Tensor, done: float, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """The terms for data x, shape (n, data), with labels y, shape (n, labels)."""
        padding = model.padding
        padding.check_pairs(x, y)
        x = _noisy(x, as_schedule(self.data_noise)(done), generator)
        image, log_det = model.flow.forward_and_log_det(padding.pad_data(x, generator))
        own_y, own_pad, own_z = padding.split(image)
        scale = as_schedule(self.label_scale)(done)
        seen_y = _noisy(y, as_schedule(self.probability_noise)(done), generator)
        terms = {
            "labels": gaussian_misfit(own_y - y, scale).mean(),
            "latent": -model.log_density(own_z, seen_y, spread=as_schedule(self.spread)(done)).mean(),
            "volume": -log_det.mean(),
        }
        if own_pad.shape[1]:
            if padding.noise == 0:
                raise InvalidInput("noise", 0.0, "a number > 0 where the image is padded", "zero padding has no density")
            terms["padding"] = gaussian_misfit(own_pad, padding.noise).mean()
        weight = as_schedule(self.sparsity)(done)
        if weight > 0 and isinstance(model.latent, LearnedMixture):
            terms["sparsity"] = weight * sparsity(model.latent.probabilities(y))
        weight = as_schedule(self.reconstruction)(done)
        if weight > 0:
            again = padding.data_of(model.flow.inverse(padding.pad_image(y, own_z, generator)))
            terms["reconstruction"] = weight * (again - x).square().sum(-1).mean()
        return terms


def _noisy(like: Tensor, size: float, generator: torch.Generator) -> Tensor:
    return like + size * torch.randn(like.shape, generator=generator).to(like) if size > 0 else like


Objective = Callable[[ConditionalModel, Tensor, Tensor, float, torch.Generator], Mapping[str, Tensor]]


def fit_conditional(  # noqa: PLR0913 (a user reads them one by one)
    model: ConditionalModel,
    draw: Draw,
    objective: Objective,
    optimization: Optimization,
    *,
    batch: int,
    seed: int,
    callback: Callable[[int, Mapping[str, Tensor]], None] | None = None,
    every: int = 50,
    after_step: Callable[[], None] | None = None,
    state: Path | None = None,
    stop: int | None = None,
) -> None:
    """Train a model in place on fresh pairs (x, y); on the device where its weights are.

    Args:
        model: T and its latent; names of parameters begin with `flow.` and `latent.` for the groups of `optimization`.
        draw: Gives x of shape (n, data) and y of shape (n, labels).
        objective: A `PaperObjective`, a `LikelihoodObjective`, or a function like theirs.
        optimization: All settings of the steps.
        batch: Pairs a step.
        seed: Of data, latent samples and paddings.
        callback: As in `fit`, and `every`, `after_step`, `state`.
        every: See there.
        after_step: See there.
        state: See there.
        stop: See there.

    Raises:
        NotConverged: If a loss is not finite; names step, term, and the first layer whose output is not finite.
    """
    seen: dict[str, Tensor] = {}

    def losses(done: float, generator: torch.Generator) -> Mapping[str, Tensor]:
        place = next(model.parameters())
        x, y = (part.to(place) for part in draw(batch, generator))
        seen["x"], seen["y"] = x, y
        return objective(model, x, y, done, generator)

    def explain() -> str:
        x, y = seen["x"], seen["y"]
        if not bool(torch.isfinite(x).all() and torch.isfinite(y).all()):
            return "the data are not finite"
        generator = torch.Generator().manual_seed(seed)
        forward = first_bad_layer(model.flow, model.padding.pad_data(x, generator))
        z = model.sample_latent(y, generator)
        backward = first_bad_layer(model.flow, model.padding.pad_image(y, z, generator), inverse=True)
        return f"first layer with an output that is not finite: {forward or 'none'} forward, {backward or 'none'} backward"

    fit(
        dict(model.named_parameters()),
        losses,
        optimization,
        seed=seed,
        callback=callback,
        every=every,
        after_step=after_step,
        explain=explain,
        state=state,
        memory=dict(model.named_buffers()),
        stop=stop,
    )


@torch.no_grad()
def first_bad_layer(flow: Invertible, points: Tensor, *, inverse: bool = False) -> str | None:
    """Name the first layer of T, or of its inverse, whose output at the points is not finite; None if all are.

    Args:
        flow: T; a `Composition` is searched layer by layer, anything else as one.
        points: Shape (n, dim).
        inverse: Whether T^{-1} is meant.
    """
    layers: list[tuple[str, Invertible]] = [("network", flow)]
    if isinstance(flow, Composition):
        layers = [(f"layers.{index}", cast(Invertible, layer)) for index, layer in enumerate(flow.layers)]
    for name, layer in reversed(layers) if inverse else layers:
        points, log_det = layer.inverse_and_log_det(points) if inverse else layer.forward_and_log_det(points)
        if not bool(torch.isfinite(points).all() and torch.isfinite(log_det).all()):
            return f"{name} ({type(layer).__name__})"
    return None
