"""Certificates and transport plans on disk, for `python -m lipbounds check`: arrays and a description, nothing to execute."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lipbounds.certify.problem import Problem
from lipbounds.checker import ACTIVATIONS, digest
from lipbounds.distances.transport import Transport
from lipbounds.domains import Ball, Box, Capsule
from lipbounds.enclosure import Enclosure
from lipbounds.errors import InvalidInput
from lipbounds.maps.layers import Affine, Layer, PartialCoupling, Permutation
from lipbounds.maps.structure import expanded
from lipbounds.search import Found

__all__ = ["Boxes", "save_certificate", "save_transport"]

Array = NDArray[np.float64]


class Boxes:
    """Collects boxes of z with their bounds as they are done."""

    def __init__(self) -> None:
        self._low: list[Array] = []
        self._high: list[Array] = []
        self._bounds: list[Array] = []

    def add(self, low: Array, high: Array, bounds: Array) -> None:
        """Add boxes by their corners, shape (n, k), with bounds of shape (n,)."""
        self._low.append(low)
        self._high.append(high)
        self._bounds.append(bounds)

    def all(self) -> tuple[Array, Array, Array]:
        """All corners and bounds."""
        return np.concatenate(self._low), np.concatenate(self._high), np.concatenate(self._bounds)


def save_certificate(path: Path, problem: Problem, certificate: Enclosure, found: Found, boxes: Boxes) -> None:
    """Write a certificate by branch and bound over boxes of z; the file appears whole or not at all.

    Raises:
        InvalidInput: For a domain, a layer or an activation that the checker does not know.
    """
    low, high, bounds = boxes.all()
    arrays: dict[str, NDArray[Any]] = {
        "low": low,
        "high": high,
        "bounds": bounds,
        "held": problem.held,
        "pair": np.stack(found.pair),
    }
    arrays["outputs"] = np.arange(problem.layers[0].dim) if problem.outputs is None else problem.outputs
    kind, radius = _domain(problem, arrays)
    layers = [_layer(layer, index, arrays) for index, layer in enumerate(expanded(problem.layers))]
    header = {
        "kind": "certificate",
        "domain": kind,
        "radius": radius,
        "layers": layers,
        "assumptions": list(certificate.assumptions),
    }
    _write(path, header | {"lower": certificate.lower, "upper": certificate.upper}, arrays)


def _domain(problem: Problem, arrays: dict[str, NDArray[Any]]) -> tuple[str, float]:
    domain = problem.domain
    if isinstance(domain, Box):
        arrays["domain"] = np.stack((domain.lower.numpy(), domain.upper.numpy()))
        return "box", 0.0
    if not isinstance(domain, Ball | Capsule):
        raise InvalidInput("save", type(domain).__name__, "a ball, a capsule or a box", "certify on one that contains it")
    ends = (domain.center,) if isinstance(domain, Ball) else (domain.start, domain.end)
    arrays["domain"] = np.stack([end.numpy() for end in ends])
    return "ball" if isinstance(domain, Ball) else "capsule", domain.radius


def _layer(layer: Layer, index: int, arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    def kept(name: str, values: Any) -> str:
        arrays[f"{index}.{name}"] = np.asarray(values)
        return f"{index}.{name}"

    if isinstance(layer, Affine):
        return {"kind": "affine", "matrix": kept("matrix", layer.matrix), "offset": kept("offset", layer.offset)}
    if isinstance(layer, Permutation):
        return {"kind": "permutation", "order": kept("order", layer.order)}
    if not isinstance(layer, PartialCoupling):
        raise InvalidInput("save", type(layer).__name__, "couplings, affine layers and permutations", "leave save out")
    stages = [
        (kept(f"matrix.{k}", stage.matrix), kept(f"bias.{k}", stage.bias), stage.activation.name)
        for k, stage in enumerate(layer.network.stages)
    ]
    function = layer.scale.function.name
    for name in (function, *(stage[2] for stage in stages)):
        if name not in ACTIVATIONS:
            wanted = f"a smooth one that the checker knows, {sorted(ACTIVATIONS)}"
            raise InvalidInput("save", f"activation {name}", wanted, "leave save out")
    places = {"changed": kept("changed", layer.changed), "seen": kept("seen", layer.seen)}
    scale = {"function": function, "outer": layer.scale.outer, "divisor": layer.scale.divisor, "shift": layer.scale.shift}
    return {"kind": "coupling", "stages": stages, **places, **scale}


def save_transport(
    path: Path,
    transport: Transport,
    cost: ArrayLike,
    *,
    x_weights: Sequence[float] | Array | None = None,
    y_weights: Sequence[float] | Array | None = None,
) -> None:
    """Write a solution of `optimal_transport` with its costs; the file appears whole or not at all.

    Args:
        path: File to write; its folder exists.
        transport: The solution.
        cost: The matrix of costs, shape (n, m).
        x_weights: As they were given.
        y_weights: As they were given.

    Example:
        >>> import tempfile
        >>> from lipbounds.checker import check
        >>> from lipbounds.distances import optimal_transport
        >>> cost = np.array([[1.0, 2.0], [0.0, 1.0]])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_transport(Path(folder, "plan"), optimal_transport([[0.0], [1.0]], [[1.0], [2.0]], cost), cost)
        ...     print(check(Path(folder, "plan")))
        transport: 2 x 2 pairs feasible, plan of 2 entries; cost in [1, 1]
    """
    matrix = np.asarray(cost, dtype=np.float64)
    plan, (f, g) = transport.plan, transport.potentials
    shares = [np.ones(n) if w is None else np.asarray(w, dtype=np.float64) for w, n in ((x_weights, len(f)), (y_weights, len(g)))]
    arrays = {"cost": matrix, "f": f, "g": g, "a": shares[0], "b": shares[1]}
    arrays |= {"i": np.asarray(plan.row), "j": np.asarray(plan.col), "mass": np.asarray(plan.data)}
    header = {"kind": "transport", "lower": transport.lower, "upper": transport.upper, "missing": transport.missing}
    _write(path, header, arrays)


def _write(path: Path, header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
    description = json.dumps(header)
    contiguous = {name: np.ascontiguousarray(values) for name, values in arrays.items()}
    data = io.BytesIO()
    np.savez_compressed(data, description=description, digest=digest(contiguous, description), **contiguous)  # type: ignore[arg-type]
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(data.getvalue())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
