"""Boxes in frames of their own: what is split, replaced and dropped stays covered."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lipbounds.certify.preimage.oriented_boxes import Frames, OrientedBoxes

CPU = torch.device("cpu")


def boxes_of(middles, radii, frames):
    """Boxes whose longest side counts most."""
    return OrientedBoxes(middles, radii, frames, radii)


def orthogonal(rng, dim):
    return torch.linalg.qr(torch.as_tensor(rng.standard_normal((dim, dim)))).Q


def frames_with(matrix):
    """The axes and one more frame, which replaces everything."""
    frames = Frames(len(matrix), CPU)
    frames._matrices = torch.cat((frames._matrices, matrix[None]))
    frames._middles, frames._radii = frames._middles.repeat(2, 1), frames._radii.repeat(2, 1)
    return frames


def coordinates(matrix, vector):
    """The solution h of matrix h = vector, exactly."""
    rows = [[Fraction(float(a)) for a in row] + [b] for row, b in zip(matrix, vector, strict=True)]
    for i in range(len(rows)):
        pivot = max(range(i, len(rows)), key=lambda k: abs(rows[k][i]))
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [a / rows[i][i] for a in rows[i]]
        for k in range(len(rows)):
            if k != i:
                rows[k] = [a - rows[k][i] * b for a, b in zip(rows[k], rows[i], strict=True)]
    return [row[-1] for row in rows]


def exactly_in(matrix, middle, radii, point):
    offset = [p - Fraction(float(c)) for p, c in zip(point, middle, strict=True)]
    return all(abs(h) <= Fraction(float(r)) for h, r in zip(coordinates(matrix, offset), radii, strict=True))


def plane_rotation(dim, angle):
    matrix = torch.eye(dim, dtype=torch.float64)
    matrix[:2, :2] = torch.tensor([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return matrix


@given(st.integers(0, 2**32 - 1), st.integers(2, 4), st.integers(-12, 3), st.sampled_from(["axes", "turned", "hardly turned"]))
def test_every_point_of_a_box_is_in_one_of_its_halves(seed, dim, exponent, kind):
    rng = np.random.default_rng(seed)
    # little slack in the sides that hardly move is lost in sums if it is not cared for
    angle = {"axes": 0.0, "turned": rng.uniform(0, 7), "hardly turned": 10.0 ** rng.uniform(-15, -1)}[kind]
    matrix = orthogonal(rng, dim) if kind == "turned" and seed % 2 else plane_rotation(dim, angle)
    frames, middle = frames_with(matrix), rng.choice([0.0, 1.0]) * rng.standard_normal(dim)
    radii = 10.0**exponent * rng.uniform(0.01, 1, dim)
    box = boxes_of(torch.as_tensor(middle)[None], torch.as_tensor(radii)[None], torch.ones(1, dtype=torch.long))
    halves = frames.halves(box)
    for _ in range(8):
        # corners of the box, and of what both halves share
        sides = [
            Fraction(float(r)) * int(sign)
            for r, sign in zip(radii, rng.choice([-1, 0, 1], dim, p=[0.45, 0.1, 0.45]), strict=True)
        ]
        turned = [sum(Fraction(float(a)) * h for a, h in zip(row, sides, strict=True)) for row in matrix]
        point = [Fraction(float(c)) + v for c, v in zip(middle, turned, strict=True)]
        assert any(exactly_in(matrix, *half, point) for half in zip(halves.middles, halves.radii, strict=True))
    assert halves.radii.amax(1).max() <= float(radii.max()) * (1 + 1e-14) + 1e-14 * (1 + np.abs(middle).max())


def test_halves_without_what_rounding_needs_are_found_out():
    # negative control of the exact test above
    rng, missed = np.random.default_rng(0), 0
    for _ in range(40):
        matrix, middle, radii = orthogonal(rng, 3), 100 * rng.standard_normal(3), rng.uniform(0.01, 1, 3)
        box = boxes_of(torch.as_tensor(middle)[None], torch.as_tensor(radii)[None], torch.ones(1, dtype=torch.long))
        halves = frames_with(matrix).halves(box)
        side = radii.argmax()
        bare = torch.as_tensor(np.where(np.arange(3) == side, 0.5 * radii, radii))
        sides = [Fraction(float(r)) for r in radii]
        turned = [sum(Fraction(float(a)) * h for a, h in zip(row, sides, strict=True)) for row in matrix]
        point = [Fraction(float(c)) + v for c, v in zip(middle, turned, strict=True)]
        missed += not any(exactly_in(matrix, half, bare, point) for half in halves.middles)
    assert missed > 0


def bend_along(direction, rates):
    """Bends whose largest eigenvector is the direction."""
    basis = torch.linalg.qr(torch.cat((direction[:, None], torch.eye(len(direction), dtype=torch.float64)), 1)).Q[
        :, : len(direction)
    ]
    return basis @ torch.diag(torch.as_tensor(rates, dtype=torch.float64) ** 4) @ basis.T


def inside(frames, boxes, points):
    """Which points are in some box, up to rounding."""
    offsets = points[:, None] - boxes.middles
    sides = torch.einsum("pbi,biv->pbv", offsets, frames.of(boxes)).abs()
    return (sides <= boxes.radii * (1 + 1e-12) + 1e-13).all(2).any(1)


def replaced_and_points(seed, dim):
    """What `oriented` makes of a box that bends along some direction, with points of the box."""
    rng = np.random.default_rng(seed)
    radii = torch.as_tensor(10.0 ** rng.uniform(-1, 0, (1, dim)))
    box = boxes_of(torch.as_tensor(rng.standard_normal((1, dim))), radii, torch.zeros(1, dtype=torch.long))
    direction = torch.as_tensor(rng.standard_normal(dim))
    bends = bend_along(direction / direction.norm(), [100.0] + (dim - 1) * [1.0])
    frames = Frames(dim, CPU)
    points = box.middles + radii * torch.as_tensor(np.clip(rng.uniform(-1.5, 1.5, (200, dim)), -1, 1))
    return box, frames, frames.oriented(box, bends[None]), points


@given(st.integers(0, 2**32 - 1), st.integers(2, 6))
def test_what_replaces_a_box_covers_it(seed, dim):
    box, frames, (rows, pieces, origins), points = replaced_and_points(seed, dim)
    if len(rows):
        assert (origins == 0).all()
        assert (pieces.radii.prod(1) <= box.radii.prod()).all()
        assert (pieces.smear > 0).all()
        assert inside(frames, pieces, points).all()
        assert not frames.outside(pieces).any()


@pytest.mark.parametrize("dim", [2, 3, 4])
def test_many_boxes_are_replaced_and_no_piece_is_there_for_nothing(dim):
    # negative control: without its largest piece a cover leaves points out
    replaced, uncovered = 0, 0
    for seed in range(40):
        _, frames, (rows, pieces, _), points = replaced_and_points(seed, dim)
        if len(rows):
            replaced += 1
            largest = torch.arange(len(pieces.middles)) == pieces.radii.prod(1).argmax()
            uncovered += not inside(frames, pieces.at(~largest), points).all()
    assert replaced >= 10
    assert uncovered > 0.5 * replaced


def test_boxes_that_bend_along_a_diagonal_are_turned_and_others_are_not():
    diagonal = torch.ones(3, dtype=torch.float64) / 3**0.5
    boxes = boxes_of(
        torch.zeros((3, 3), dtype=torch.float64), torch.ones((3, 3), dtype=torch.float64), torch.zeros(3, dtype=torch.long)
    )
    bends = torch.stack(
        (bend_along(diagonal, [50.0, 1.0, 1.0]), torch.eye(3, dtype=torch.float64), bend_along(diagonal, [1.1, 1.0, 1.0]))
    )
    frames = Frames(3, CPU)
    rows, pieces, _ = frames.oriented(boxes, bends)
    assert rows.tolist() == [0]
    assert len(frames) == 2
    turned = frames.of(pieces)[0]
    steepest = int((diagonal @ turned).abs().argmax())
    assert float((diagonal @ turned)[steepest].abs()) == pytest.approx(1.0, abs=1e-6)
    assert (pieces.smear.argmax(1) == steepest).sum() > 0
    again, none, _ = frames.oriented(pieces, bends[:1].repeat(len(pieces.middles), 1, 1))
    assert not len(again)  # once turned they stay
    assert not len(none.middles)


def test_only_what_is_apart_from_the_replaced_box_is_dropped():
    rng = np.random.default_rng(1)
    diagonal = torch.ones(3, dtype=torch.float64) / 3**0.5
    box = boxes_of(
        torch.zeros((1, 3), dtype=torch.float64), torch.ones((1, 3), dtype=torch.float64), torch.zeros(1, dtype=torch.long)
    )
    frames = Frames(3, CPU)
    frames.oriented(box, bend_along(diagonal, [50.0, 1.0, 1.0])[None])
    some = boxes_of(
        torch.as_tensor(rng.uniform(-2, 2, (2000, 3))),
        torch.as_tensor(rng.uniform(0.01, 0.5, (2000, 3))),
        torch.ones(2000, dtype=torch.long),
    )
    points = some.middles[:, None] + torch.einsum(
        "biv,bpv->bpi", frames.of(some), some.radii[:, None] * torch.as_tensor(rng.uniform(-1, 1, (2000, 200, 3)))
    )
    meets, dropped = (points.abs() <= 1).all(2).any(1), frames.outside(some)
    assert not (meets & dropped).any()
    assert dropped.double().mean() > 0.3
    # boxes beside it that nearly touch, or just do
    reach = (frames.of(some).abs() * some.radii[:, None]).sum(2)[:, 0]
    for share, apart in ((1 - 1e-5, False), (1 + 1e-5, True)):
        middles = torch.zeros_like(some.middles)
        middles[:, 0] = (1.0 + reach) * share
        assert (frames.outside(boxes_of(middles, some.radii, some.frames)) == apart).all()


@pytest.mark.parametrize("bends", [0.0, torch.inf, torch.nan])
def test_bends_that_say_nothing_turn_nothing(bends):
    box = boxes_of(
        torch.zeros((1, 3), dtype=torch.float64), torch.ones((1, 3), dtype=torch.float64), torch.zeros(1, dtype=torch.long)
    )
    rows, pieces, _ = Frames(3, CPU).oriented(box, torch.full((1, 3, 3), bends, dtype=torch.float64))
    assert not len(rows)
    assert not len(pieces.middles)
