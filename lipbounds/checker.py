r"""An independent checker of saved results: it shares no code with what made them, only numpy, and flint for ball arithmetic.

`python -m lipbounds check FILE` reads a file of `lipbounds.certify.saved` (arrays and a description, nothing is executed).
Of a certificate it checks that the boxes cover the domain, that every bound is at most the upper end, that the witness is in the
domain and its quotient at least the lower end, and that the norm of the derivative is at most the upper end over boxes, a random
choice or all, each bounded by interval derivatives of its own over as many pieces as that takes. Of a transport, that the
potentials are feasible for all pairs and worth the lower end, and that the plan has the marginals and costs no more than the
upper end.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from flint import arb, arb_mat, ctx

__all__ = ["Rejected", "check", "digest"]

Array = Any
Ball = Any

BITS = 80
MOST_PIECES = 20_000  # of one box
OUTER = 2.0**-50  # relative doubt about the factor of a scale, which is 2 alpha / pi rounded
GIVEN = 2.0**-51  # total variation of masses that are given rounded


class Rejected(Exception):
    """What a file claims is not what it shows."""


def digest(arrays: dict[str, Array], description: str) -> str:
    """Return a hash of arrays and of what describes them."""
    value = hashlib.sha256(description.encode())
    for name in sorted(arrays):
        value.update(name.encode() + str((arrays[name].dtype.str, arrays[name].shape)).encode() + arrays[name].tobytes())
    return value.hexdigest()


def check(path: Path, *, boxes: int | None = 50, seed: int = 0) -> str:
    """Check a file; return what was checked, in words.

    Args:
        path: File that was saved.
        boxes: How many boxes of a certificate are bounded anew, at random; None for all.
        seed: Of the choice.

    Raises:
        Rejected: If anything is not as claimed.
    """
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        description = str(arrays.pop("description"))
        stated = str(arrays.pop("digest"))
        header = json.loads(description)
        kind = header["kind"]
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile, zlib.error) as error:
        raise Rejected(f"{path}: not a file of this library ({type(error).__name__}: {error})") from error
    _demand(stated == digest(arrays, description), "the content is not what was saved")
    for name, values in arrays.items():
        _demand(values.dtype.kind in "if" and not np.isnan(values).any(), f"{name}: not numbers")
    before = ctx.prec
    ctx.prec = BITS
    try:
        if kind == "transport":
            return _transport(header, arrays)
        _demand(kind == "certificate", f"unknown kind {kind!r}")
        return _certificate(header, arrays, boxes, np.random.default_rng(seed))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise Rejected(f"{path}: incomplete ({type(error).__name__}: {error})") from error
    finally:
        ctx.prec = before


def _demand(holds: bool, text: str) -> None:
    if not holds:
        raise Rejected(text)


def _transport(header: dict[str, Any], arrays: dict[str, Array]) -> str:
    cost, f, g = (arrays[name] for name in ("cost", "f", "g"))
    i, j, mass, a, b = (arrays[name] for name in ("i", "j", "mass", "a", "b"))
    lower, upper = header["lower"], header["upper"]
    shares = [[Fraction(v) for v in values.tolist()] for values in (a, b)]
    _demand(all(v >= 0 for part in shares for v in part) and all(sum(part) > 0 for part in shares), "negative masses")
    masses = [[v / sum_ for v in part] for part, sum_ in ((part, sum(part)) for part in shares)]
    size = float(cost.max() - cost.min())
    # the potentials may be infeasible by roundings of the costs, which their value then pays for
    excess = max(
        (
            Fraction(u) + Fraction(v) - Fraction(c)
            for u, row in zip(f.tolist(), cost.tolist(), strict=True)
            for v, c in zip(g.tolist(), row, strict=True)
        ),
        default=Fraction(0),
    )
    value = sum(
        Fraction(u) * m for part, law in zip((f, g), masses, strict=True) for u, m in zip(part.tolist(), law, strict=True)
    )
    _demand(Fraction(lower) <= value - max(Fraction(0), excess) + Fraction(size) * Fraction(GIVEN), "the potentials prove less")
    _demand((mass >= 0).all(), "a negative entry of the plan")
    placed = [[Fraction(0)] * len(law) for law in masses]
    total = Fraction(0)
    for row, column, moved in zip(i.tolist(), j.tolist(), mass.tolist(), strict=True):
        placed[0][row] += Fraction(moved)
        placed[1][column] += Fraction(moved)
        total += Fraction(moved) * (Fraction(float(cost[row, column])) - Fraction(float(cost.min())))
    missing = (
        sum((abs(p - m) for part, law in zip(placed, masses, strict=True) for p, m in zip(part, law, strict=True)), Fraction(0))
        / 2
    )
    worth = Fraction(float(cost.min())) + total
    _demand(worth <= Fraction(upper), "the plan costs more than the upper end")
    _demand(missing <= Fraction(header["missing"]), "the plan misses mass")
    return f"transport: {len(f)} x {len(g)} pairs feasible, plan of {len(mass)} entries; cost in [{lower:.9g}, {upper:.9g}]"


def _certificate(header: dict[str, Any], arrays: dict[str, Array], boxes: int | None, rng: np.random.Generator) -> str:
    low, high, bounds = arrays["low"], arrays["high"], arrays["bounds"]
    lower, upper = header["lower"], header["upper"]
    _demand(low.shape == high.shape and len(bounds) == len(low) and bool((low <= high).all()), "boxes without order")
    _demand(0.0 <= lower <= upper < np.inf and bool((bounds <= upper).all()), "a bound above the upper end")
    domain = _Domain(header["domain"], header["radius"], arrays)
    steps = _steps(header, arrays)
    held, outputs = arrays["held"], arrays["outputs"]
    pair = arrays["pair"]
    _demand(all(domain.contains(point) for point in pair), "the witness is outside the domain")
    _demand(_quotient(steps, held, outputs, pair) >= lower, "the witness shows less than the lower end")
    domain.cover(low, high)
    # a box without a bound is claimed to miss the domain
    chosen = np.arange(len(low)) if boxes is None or boxes >= len(low) else rng.choice(len(low), boxes, replace=False)
    pieces = sum(_bounded(steps, held, outputs, domain, low[k], high[k], upper) for k in chosen.tolist())
    assumed = "; ".join(header["assumptions"]) or "nothing"
    return (
        f"certificate: {len(low)} boxes cover the domain, {len(chosen)} of them bounded anew over {pieces} pieces; "
        f"constant in [{lower:.9g}, {upper:.9g}], assuming {assumed}"
    )


class _Domain:
    """A ball, a capsule (the points near a segment) or a box."""

    def __init__(self, kind: str, radius: float, arrays: dict[str, Array]) -> None:
        self.kind, self.radius = kind, Fraction(radius)
        _demand(kind in ("ball", "capsule", "box"), f"unknown domain {kind!r}")
        self.parts = [[Fraction(v) for v in row] for row in np.atleast_2d(arrays["domain"]).tolist()]

    def bounds(self) -> tuple[list[Fraction], list[Fraction]]:
        if self.kind == "box":
            return self.parts[0], self.parts[1]
        columns = list(zip(*self.parts, strict=True))
        return [min(column) - self.radius for column in columns], [max(column) + self.radius for column in columns]

    def contains(self, point: Array) -> bool:
        p = [Fraction(v) for v in point.tolist()]
        if self.kind == "box":
            return all(a <= v <= b for a, v, b in zip(self.parts[0], p, self.parts[1], strict=True))
        return self._squared_distance(p) <= self.radius**2

    def _squared_distance(self, p: list[Fraction]) -> Fraction:
        start, end = self.parts[0], self.parts[-1]
        axis = [b - a for a, b in zip(start, end, strict=True)]
        length = sum(v * v for v in axis)
        along = sum((v - a) * u for v, a, u in zip(p, start, axis, strict=True)) / length if length else Fraction(0)
        along = min(max(along, Fraction(0)), Fraction(1))
        return sum(((v - a - along * u) ** 2 for v, a, u in zip(p, start, axis, strict=True)), Fraction(0))

    def misses(self, low: Array, high: Array) -> bool:
        """Whether a box is proven to have no point of the domain."""
        below, above = self.bounds()
        sides = list(zip(low, high, below, above, strict=True))
        if any(Fraction(b) < c or Fraction(a) > d for a, b, c, d in sides):
            return True
        if self.kind != "ball":
            return False
        gaps = (max(Fraction(a) - c, c - Fraction(b), Fraction(0)) for a, b, c in zip(low, high, self.parts[0], strict=True))
        return sum(gap * gap for gap in gaps) > self.radius**2

    def cover(self, low: Array, high: Array) -> None:
        """Cut the box about the domain at the sides of the given ones, until each part is in one or misses the domain."""
        first, last = self.bounds()
        todo = [([_down(v) for v in first], [_up(v) for v in last], np.arange(len(low)))]
        while todo:
            a, b, near = todo.pop()
            near = near[((high[near] >= a) & (low[near] <= b)).all(1)]
            if ((low[near] <= a) & (high[near] >= b)).all(1).any() or self.misses(a, b):
                continue
            cuts = []
            for axis in range(len(a)):
                edges = np.concatenate((low[near, axis], high[near, axis]))
                edges = edges[(edges > a[axis]) & (edges < b[axis])]
                if len(edges):
                    cuts.append((len(edges), axis, float(np.sort(edges)[len(edges) // 2])))
            _demand(bool(cuts), f"a part of the domain about {a} is in no box")
            _, axis, cut = max(cuts)
            todo += [(a, [*b[:axis], cut, *b[axis + 1 :]], near), ([*a[:axis], cut, *a[axis + 1 :]], b, near)]


def _down(value: Fraction) -> float:
    near = float(value)
    return near if Fraction(near) <= value else float(np.nextafter(near, -np.inf))


def _up(value: Fraction) -> float:
    return -_down(-value)


Step = Callable[[list[Ball], arb_mat], tuple[list[Ball], arb_mat]]


def _steps(header: dict[str, Any], arrays: dict[str, Array]) -> list[Step]:
    """The inverses of the layers, last one first: values and derivatives, from values and derivatives."""
    made = {"affine": _affine, "permutation": _permutation, "coupling": _coupling}
    return [made[layer["kind"]](layer, arrays) for layer in reversed(header["layers"])]


def _affine(layer: dict[str, Any], arrays: dict[str, Array]) -> Step:
    matrix, offset = arb_mat(arrays[layer["matrix"]].tolist()), arrays[layer["offset"]].tolist()
    inverse = matrix.inv()

    def step(x: list[Ball], slopes: arb_mat) -> tuple[list[Ball], arb_mat]:
        return _column(inverse * arb_mat([[v - b] for v, b in zip(x, offset, strict=True)])), inverse * slopes

    return step


def _permutation(layer: dict[str, Any], arrays: dict[str, Array]) -> Step:
    back = np.argsort(arrays[layer["order"]]).tolist()
    return lambda x, slopes: ([x[k] for k in back], arb_mat([_row(slopes, k) for k in back]))


def _coupling(layer: dict[str, Any], arrays: dict[str, Array]) -> Step:
    changed, seen = (arrays[layer[name]].tolist() for name in ("changed", "seen"))
    stages = [(arb_mat(arrays[m].tolist()), arrays[b].tolist(), name) for m, b, name in layer["stages"]]
    function, divisor, shift = layer["function"], arb(layer["divisor"]), arb(layer["shift"])
    outer = arb(layer["outer"]) * arb(1, OUTER)

    def step(x: list[Ball], slopes: arb_mat) -> tuple[list[Ball], arb_mat]:
        values, inner = [x[k] for k in seen], arb_mat([_row(slopes, k) for k in seen])
        for matrix, bias, name in stages:
            values = [v + b for v, b in zip(_column(matrix * arb_mat([[v] for v in values])), bias, strict=True)]
            values, inner = _activated(name, values, matrix * inner)
        n = len(changed)
        s, ds = _activated(
            function, [v / divisor + shift for v in values[:n]], arb_mat([_row(inner, k) for k in range(n)]) / divisor
        )
        x, rows = list(x), [_row(slopes, k) for k in range(len(x))]
        for k, place in enumerate(changed):
            factor, rest = (-outer * s[k]).exp(), x[place] - values[n + k]
            t_row, s_row = _row(inner, n + k), _row(ds, k)
            rows[place] = [factor * (d - t - rest * outer * u) for d, t, u in zip(rows[place], t_row, s_row, strict=True)]
            x[place] = factor * rest
        return x, arb_mat(rows)

    return step


def _activated(name: str, values: list[Ball], slopes: arb_mat) -> tuple[list[Ball], arb_mat]:
    pairs = [ACTIVATIONS[name](v) for v in values]
    rows = [[slope * d for d in _row(slopes, k)] for k, (_, slope) in enumerate(pairs)]
    return [value for value, _ in pairs], arb_mat(rows)


def _monotone(function: Callable[[Ball], Ball], x: Ball) -> Ball:
    return function(x.lower()).union(function(x.upper()))


def _sigmoid(x: Ball) -> Ball:
    return 1 / (1 + (-x).exp())


def _elu(x: Ball) -> tuple[Ball, Ball]:
    def value(t: Ball) -> Ball:
        return t if t >= 0 else t.expm1()

    return _monotone(value, x), _monotone(lambda t: arb(1) if t >= 0 else t.exp(), x)


def _gelu(x: Ball) -> tuple[Ball, Ball]:
    cdf = _monotone(lambda t: (-t / arb(2).sqrt()).erfc() / 2, x)
    return x * cdf, cdf + x * (-x * x / 2).exp() / (2 * arb.pi()).sqrt()


def _silu(x: Ball) -> tuple[Ball, Ball]:
    s = _monotone(_sigmoid, x)
    return x * s, s * (1 + x * (1 - s))


def _of_value(function: Callable[[Ball], Ball], slope: Callable[[Ball], Ball]) -> Callable[[Ball], tuple[Ball, Ball]]:
    def both(x: Ball) -> tuple[Ball, Ball]:
        value = _monotone(function, x)
        return value, slope(value)

    return both


ACTIVATIONS: dict[str, Callable[[Ball], tuple[Ball, Ball]]] = {
    "linear": lambda x: (x, arb(1)),
    "tanh": _of_value(lambda t: t.tanh(), lambda y: 1 - y * y),
    "sigmoid": _of_value(_sigmoid, lambda y: y * (1 - y)),
    "softplus": lambda x: (_monotone(lambda t: t.exp().log1p(), x), _monotone(_sigmoid, x)),
    "arctan": lambda x: (_monotone(lambda t: t.atan(), x), 1 / (1 + abs(x) * abs(x))),
    "softsign": lambda x: (_monotone(lambda t: t / (1 + abs(t)), x), 1 / ((1 + abs(x)) * (1 + abs(x)))),
    "elu": _elu,
    "gelu": _gelu,
    "silu": _silu,
}


def _column(matrix: arb_mat) -> list[Ball]:
    return [matrix[k, 0] for k in range(matrix.nrows())]


def _row(matrix: arb_mat, k: int) -> list[Ball]:
    return [matrix[k, c] for c in range(matrix.ncols())]


def _followed(steps: list[Step], held: Array, low: list[Ball], high: list[Ball]) -> tuple[list[Ball], arb_mat]:
    """Values and derivative by z over a box of z, the label held; values are cut by the mean value theorem after each layer."""
    n, k = len(held), len(low)
    box = [arb(v) for v in held.tolist()] + [a.union(b) for a, b in zip(low, high, strict=True)]
    middle = [value.mid() for value in box]
    radii = arb_mat([[value - value.mid()] for value in box[n:]])
    eye = arb_mat([[arb(int(row - n == column)) for column in range(k)] for row in range(n + k)])
    slopes, nothing = eye, arb_mat(n + k, k)
    for step in steps:
        box, slopes = step(box, slopes)
        middle, _ = step(middle, nothing)
        around = _column(slopes * radii)
        box = [x.intersection(m + r) for x, m, r in zip(box, middle, around, strict=True)]
    return box, slopes


def _quotient(steps: list[Step], held: Array, outputs: Array, pair: Array) -> float:
    """A lower bound of the quotient of two points."""
    ctx.prec = 8 * BITS
    rows = [[arb(v) for v in point.tolist()] for point in pair]
    values = [_followed(steps, held, row, row)[0] for row in rows]
    images = [[value[k] for k in outputs.tolist()] for value in values]
    moved = sum(((a - b) * (a - b) for a, b in zip(*images, strict=True)), arb(0)).sqrt()
    apart = sum(((arb(a) - arb(b)) ** 2 for a, b in zip(*pair.tolist(), strict=True)), arb(0)).sqrt()
    # compared with a lower end that was rounded down: what rounding can do is far below an ulp
    quotient = float((moved / apart).upper()) * (1 + 1e-15)
    ctx.prec = BITS
    return quotient


def _norm(slopes: arb_mat) -> float:
    """An upper bound of the spectral norm of all matrices in a ball matrix M.

    For V near orthogonal |M| <= |MV| / (1 - |V^T V - 1|)^(1/2), and |MV|^2 is at most the largest sum of a row of |(MV)^T MV|.
    """
    middle = np.array([[float(v.mid()) for v in _row(slopes, k)] for k in range(slopes.nrows())])
    if not np.isfinite(middle).all():
        return float("inf")
    v = arb_mat(np.linalg.svd(middle)[2].T.tolist())
    turned = slopes * v
    gram, skew = turned.transpose() * turned, v.transpose() * v
    size, off = (
        max(
            (sum((abs(m[i, j]).upper() for j in range(m.ncols())), arb(0)) for i in range(m.nrows())),
            key=lambda t: float(t.upper()),
        )
        for m in (gram, skew - arb_mat(np.eye(v.ncols()).tolist()))
    )
    bound = float((size.upper() / (1 - off.upper())).sqrt().upper()) * (1 + 1e-15)
    return float("inf") if np.isnan(bound) else bound


def _bounded(steps: list[Step], held: Array, outputs: Array, domain: _Domain, low: Array, high: Array, upper: float) -> int:
    """Show that the norm is at most the upper end over a box, in pieces; return how many that took."""
    todo, count = [(low.tolist(), high.tolist())], 0
    while todo:
        a, b = todo.pop()
        count += 1
        _demand(
            count <= MOST_PIECES, f"a box about {low.tolist()} is not shown to be below the upper end in {MOST_PIECES} pieces"
        )
        if domain.misses(a, b):
            continue
        _, slopes = _followed(steps, held, [arb(v) for v in a], [arb(v) for v in b])
        rows = arb_mat([_row(slopes, k) for k in outputs.tolist()])
        if _norm(rows) <= upper:
            continue
        axis = int(np.argmax(np.array(b) - np.array(a)))
        cut = 0.5 * (a[axis] + b[axis])
        _demand(a[axis] < cut < b[axis], "a box that cannot be halved is above the upper end")
        todo += [(a, [*b[:axis], cut, *b[axis + 1 :]]), ([*a[:axis], cut, *a[axis + 1 :]], b)]
    return count
