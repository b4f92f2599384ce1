"""Range queries: ranges of a conditioner's derivatives, and of the coupling x e^s + t and its slopes, over a box of inputs.

A window is a run of cells along each input. Derivatives are looked up in the fewest joined cells that make it up. The joint
ranges of scale and shift are narrower than those from separate ranges only on small cells, so they are taken cell by cell.

"""

from __future__ import annotations

import math

from lipbounds.compiled import compiled
from lipbounds.rounding import EPS, TINY, UP_KERNEL

__all__ = ["MOST_INPUTS", "WINDOW_INTEGERS", "WINDOW_NUMBERS", "look_up"]

MOST_INPUTS = 4  # of a conditioner
MOST_CELLS = (64, 64, 16, 8)  # cells of a window along each input, by the number of inputs, for joint ranges
MOST_RUNS = max(cells**inputs for inputs, cells in enumerate(MOST_CELLS))  # of these cells
STACK = 32  # joined cells that wait: each halving adds one, and of a table of n cells there are log2(n) of them in a row
WINDOW_INTEGERS = 2 * MOST_INPUTS + max(2 * STACK * MOST_INPUTS, 2 * MOST_INPUTS + MOST_RUNS)  # that `look_up` works with
WINDOW_NUMBERS = max(MOST_CELLS)  # likewise
FAR = 1e100  # coordinates beyond are not looked at together with scale and shift


@compiled(error_model="numpy")
def _cell(edges, begin, count, u):
    """The cell of an input, by bisection; the first and the last have what is beyond."""
    low, high = 0, count
    while high - low > 1:
        middle = (low + high) // 2
        if edges[begin + middle] <= u:
            low = middle
        else:
            high = middle
    return low


@compiled(error_model="numpy")
def _window(table, step, middle, away, window):
    """First and last cells of inputs at most `away` from their middles; False outside the table."""
    for i in range(len(middle)):
        radius = away[i] * UP_KERNEL
        low, high = middle[i] - radius, middle[i] + radius
        count, begin = table.counts[step, i], table.begins[step, i]
        if not (low > table.edges[begin] and high < table.edges[begin + count]):
            return False
        window[0, i], window[1, i] = _cell(table.edges, begin, count, low), _cell(table.edges, begin, count, high)
    return True


@compiled(error_model="numpy")
def _place(table, step, k, joined):
    """Where the numbers of a joined cell begin, counted in cells, and which row of the places that counts from."""
    combination, cell = 0, 0
    for i in range(k):
        level, count, levels = joined[0, i], table.counts[step, i], 1
        while (1 << levels) <= count:
            levels += 1
        combination, cell = combination * levels + level, cell * (count >> level) + joined[1, i]
    return table.first[step] + combination, cell


@compiled(error_model="numpy")
def _about(window, k, joined):
    """The smallest joined cell that contains the window."""
    for i in range(k):
        level = 0
        while window[0, i] >> level != window[1, i] >> level:
            level += 1
        joined[0, i], joined[1, i] = level, window[0, i] >> level


@compiled(error_model="numpy")
def _halve(window, k, stack, place, axis):
    """Replace a joined cell by those of its halves that meet the window; how many there are."""
    level = stack[place, 0, axis] - 1
    first, last = window[0, axis] >> level, window[1, axis] >> level
    half = 2 * stack[place, 1, axis]
    stack[place, 0, axis] = level
    if half < first or half == last:
        stack[place, 1, axis] = max(half, first)
        return 1
    for i in range(k):
        stack[place + 1, 0, i], stack[place + 1, 1, i] = stack[place, 0, i], stack[place, 1, i]
    stack[place, 1, axis], stack[place + 1, 1, axis] = half, half + 1
    return 2


@compiled(error_model="numpy")
def _hull(table, step, k, width, further, window, stack, ends):
    """Ranges of numbers on a window: lower and upper ends, and the largest absolute values of those of the fourth order."""
    least, greatest, steepest = ends[0], ends[1], ends[2]
    for q in range(width):
        least[q], greatest[q] = math.inf, -math.inf
    for q in range(further):
        steepest[q] = 0.0
    _about(window, k, stack[0])
    waiting = 1
    while waiting:
        joined, axis = stack[waiting - 1], -1
        for i in range(k):
            level, number = joined[0, i], joined[1, i]
            if number << level < window[0, i] or (number + 1) << level > window[1, i] + 1:
                axis = i
        if axis >= 0:
            waiting += _halve(window, k, stack, waiting - 1, axis) - 1
            continue
        row, cell = _place(table, step, k, joined)
        waiting -= 1
        place = table.places[row, 0] + cell * width
        lower, upper = table.least[place : place + width], table.greatest[place : place + width]
        for q in range(width):
            least[q] = lower[q] if lower[q] < least[q] else least[q]
        for q in range(width):
            greatest[q] = upper[q] if upper[q] > greatest[q] else greatest[q]
        place = table.places[row, 1] + cell * further
        most = table.steepest[place : place + further]
        for q in range(further):
            steepest[q] = most[q] if most[q] > steepest[q] else steepest[q]


@compiled(error_model="numpy")
def _runs(table, step, k, window, levels, starts):
    """Of a window, in cells joined to given levels: where its runs along the last input start, and how long they are."""
    rows, size = 1, 1
    starts[0] = 0
    for i in range(k):
        level = levels[i]
        first, number, count = window[0, i] >> level, (window[1, i] >> level) - (window[0, i] >> level) + 1, table.counts[step, i]
        if i == k - 1:
            number = 1
        for row in range(rows - 1, -1, -1):  # the last first: their places are taken by those that grow of them
            begin = starts[row] * (count >> level) + first
            for j in range(number):
                starts[row * number + j] = begin + j
        rows, size = rows * number, size * (count >> level)
    return rows, size


@compiled(error_model="numpy")
def _largest(most, run):
    """The largest of the first `run` numbers of `most`."""
    result = most[0]
    for j in range(1, run):
        result = max(result, most[j])
    return result


@compiled(error_model="numpy")
def _farthest_image(numbers, grown, shift, starts, rows, run, sign, x, most):
    """Upper bound, rounding included, of sign (x e^s + t) on cells, from one end each of e^s and t."""
    for j in range(run):
        most[j] = -math.inf
    size = 4 * EPS * abs(x)
    for row in range(rows):
        start = starts[row]
        factors, shifts = numbers[grown + start : grown + start + run], numbers[shift + start : shift + start + run]
        for j in range(run):
            one = sign * (x * factors[j] + shifts[j]) + (size * factors[j] + 4 * EPS * abs(shifts[j]))
            most[j] = one if one > most[j] else most[j]
    return _largest(most, run)


@compiled(error_model="numpy")
def _farthest_slope(numbers, shrunk, scale, shift, size, starts, rows, run, sign, low, high, most):
    """Upper bound, rounding included, of sign (x s' + e^{-s} t') on cells, from both ends of x, s', e^{-s} and one of t'."""
    for j in range(run):
        most[j] = -math.inf
    low, high = sign * low, sign * high
    for row in range(rows):
        start = starts[row]
        small, large = (
            numbers[shrunk + start : shrunk + start + run],
            numbers[shrunk + size + start : shrunk + size + start + run],
        )
        least, greatest = numbers[scale + start : scale + start + run], numbers[scale + size + start : scale + size + start + run]
        shifts = numbers[shift + start : shift + start + run]
        for j in range(run):
            one, two = max(low * least[j], low * greatest[j]), max(high * least[j], high * greatest[j])
            moved = sign * shifts[j]
            turned, slid = max(one, two), max(moved * small[j], moved * large[j])
            one = turned + slid + 8 * EPS * (abs(turned) + abs(slid))
            most[j] = one if one > most[j] else most[j]
    return _largest(most, run)


@compiled(error_model="numpy")
def _together(table, step, k, changed, spread, window, with_jacobian, integers, most, lowest, highest):
    """Ranges of x e^s + t, and if `with_jacobian` of x s' + e^{-s} t' for k inputs, on a window.

    There s and t may go far and these not: what scale and shift do together is known cell by cell.
    """
    joined, starts = integers[: 2 * MOST_INPUTS].reshape((2, MOST_INPUTS)), integers[2 * MOST_INPUTS :]
    for i in range(k):
        level = 0
        while (window[1, i] >> level) - (window[0, i] >> level) >= MOST_CELLS[k - 1]:
            level += 1
        joined[0, i], joined[1, i] = level, 0
    run = (window[1, k - 1] >> joined[0, k - 1]) - (window[0, k - 1] >> joined[0, k - 1]) + 1
    rows, size = _runs(table, step, k, window, joined[0], starts)
    begin = table.places[_place(table, step, k, joined)[0], 2]
    for c in range(len(changed)):
        q, place = c * (1 + k), begin + c * 2 * (3 + 2 * k) * size
        low, high = changed[c] - spread[c], changed[c] + spread[c]
        low, high = low - EPS * abs(low), high + EPS * abs(high)
        if not (low > -FAR and high < FAR):
            for g in range(1 + k):
                lowest[q + g], highest[q + g] = -math.inf, math.inf
            continue
        grown, shrunk, shift = place, place + 2 * size, place + 4 * size
        one = _farthest_image(table.joint, grown + (size if low < 0.0 else 0), shift, starts, rows, run, -1.0, low, most)
        lowest[q] = -one - TINY
        one = _farthest_image(table.joint, grown + (size if high > 0.0 else 0), shift + size, starts, rows, run, 1.0, high, most)
        highest[q] = one + TINY
        for g in range(k if with_jacobian else 0):
            scale, shift = place + (6 + 2 * g) * size, place + (6 + 2 * k + 2 * g) * size
            one = _farthest_slope(table.joint, shrunk, scale, shift, size, starts, rows, run, -1.0, low, high, most)
            lowest[q + 1 + g] = -one - TINY
            one = _farthest_slope(table.joint, shrunk, scale, shift + size, size, starts, rows, run, 1.0, low, high, most)
            highest[q + 1 + g] = one + TINY


@compiled(error_model="numpy")
def look_up(program, table, step, with_jacobian, ends, most, integers):
    """Ranges of a conditioner and of its coupling over a box, rounded outwards; False outside the table.

    `ends` has shape (9, numbers). Rows 5 and 6 are middles and radii of the k inputs, rows 7 and 8 of the m coordinates that
    are changed. Results are in rows 0 to 4: lower and upper ends of the conditioner's numbers, the largest absolute
    values of those of the fourth order, and lower and upper ends of images of what is changed, if `with_jacobian` with the
    slopes of their couplings.
    """
    m, k, count, further = program.sizes[step, 0], program.sizes[step, 1], program.sizes[step, 2], program.sizes[step, 3]
    window = integers[: 2 * MOST_INPUTS].reshape((2, MOST_INPUTS))
    rest = integers[2 * MOST_INPUTS :]
    if not _window(table, step, ends[5, :k], ends[6, :k], window):
        return False
    _hull(
        table,
        step,
        k,
        2 * m * count,
        2 * m * further,
        window,
        rest[: 2 * STACK * MOST_INPUTS].reshape((STACK, 2, MOST_INPUTS)),
        ends,
    )
    _together(table, step, k, ends[7, :m], ends[8, :m], window, with_jacobian, rest, most, ends[3], ends[4])
    return True
