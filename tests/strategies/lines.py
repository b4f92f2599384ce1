"""Laws on the line with integer atoms and weights, so that shrunk failures can be read."""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from scipy.special import ndtri

from lipbounds.measures import Discrete, GaussianMixture


@st.composite
def discrete_lines(draw, max_atoms=8):
    """A discrete law with integer atoms (ties allowed) and integer weights."""
    n = draw(st.integers(1, max_atoms))
    atoms = draw(st.lists(st.integers(-20, 20), min_size=n, max_size=n))
    weights = draw(st.lists(st.integers(1, 10), min_size=n, max_size=n))
    return Discrete(np.array(atoms, float)[:, None], np.array(weights) / sum(weights))


@st.composite
def mixtures(draw):
    """A Gaussian mixture on the line with well separated numbers."""
    r = draw(st.integers(1, 3))
    means = draw(st.lists(st.integers(-5, 5), min_size=r, max_size=r))
    tenths = draw(st.lists(st.integers(1, 20), min_size=r, max_size=r))
    weights = draw(st.lists(st.integers(1, 5), min_size=r, max_size=r))
    variances = (np.array(tenths) / 10.0) ** 2
    return GaussianMixture(np.array(means, float)[:, None], variances[:, None, None], np.array(weights) / sum(weights))


@dataclass(frozen=True)
class MonotoneMap:
    """A strictly increasing map on the atoms of a law, and the cut between the sets Q and R.

    Q is the first `left` atoms, R the last `right` ones.
    """

    atoms: np.ndarray
    weights: np.ndarray
    images: np.ndarray
    left: int
    right: int

    @property
    def image_law(self):
        return Discrete(self.images[:, None], self.weights)

    @property
    def lipschitz_of_inverse(self):
        """Exact: the largest slope of the inverse over the support, attained by neighbours."""
        return float((np.diff(self.atoms) / np.diff(self.images)).max())

    @property
    def distance(self):
        return float(self.atoms[-self.right] - self.atoms[self.left - 1])

    @property
    def image_distance(self):
        return float(self.images[-self.right] - self.images[self.left - 1])


@st.composite
def monotone_maps(draw):
    """Random atoms, weights and images; Q and R are chosen disjoint by construction."""
    n = draw(st.integers(2, 10))
    steps = draw(st.lists(st.integers(1, 20), min_size=n - 1, max_size=n - 1))
    image_steps = draw(st.lists(st.integers(1, 20), min_size=n - 1, max_size=n - 1))
    weights = np.array(draw(st.lists(st.integers(1, 10), min_size=n, max_size=n)), float)
    unit = draw(st.sampled_from([0.02, 0.1, 0.3]))
    atoms = np.concatenate(([0.0], np.cumsum(steps))).astype(float)
    images = unit * np.concatenate(([0.0], np.cumsum(image_steps)))
    images -= images[n // 2]
    left = draw(st.integers(1, n - 1))
    right = draw(st.integers(1, n - left))
    return MonotoneMap(atoms, weights / weights.sum(), images, left, right)


@st.composite
def near_normal_maps(draw):
    """Maps to nearly normal laws whose sets leave less than a quarter of the mass between them, as the printed statements ask.

    The images are quantiles of N(0, 1), jittered; the atoms are arbitrary.
    """
    n = draw(st.integers(12, 40))
    images = ndtri((np.arange(n) + 0.5) / n)
    images += 0.3 / n * np.array(draw(st.lists(st.integers(-1, 1), min_size=n, max_size=n)))
    steps = draw(st.lists(st.integers(1, 20), min_size=n - 1, max_size=n - 1))
    atoms = np.concatenate(([0.0], np.cumsum(steps))).astype(float)
    between = draw(st.integers(0, n // 9))
    left = (n - between) // 2
    return MonotoneMap(atoms, np.full(n, 1.0 / n), images, left, n - between - left)
