"""The paper's statements, printed and sharp, as code that computes both sides."""

from lipbounds.theorems.corollary_1 import Corollary1, forced_as_printed, forced_in_latent_space
from lipbounds.theorems.data_space import forced_by_two_sets
from lipbounds.theorems.example_1 import exact_lipschitz, two_modes, two_modes_in_plane
from lipbounds.theorems.frontier import forced_by_frontier
from lipbounds.theorems.inequality_7 import Inequality7, TwoSets
from lipbounds.theorems.proposition_1 import Proposition1, SeparatedSets
from lipbounds.theorems.separation import Masses, separation, separation_cost
from lipbounds.theorems.statement import Hypothesis, Outcome, Statement, Verdict
from lipbounds.theorems.theorem_2 import AffinePosterior, Theorem2, Theorem2Printed

__all__ = [
    "AffinePosterior",
    "Corollary1",
    "Hypothesis",
    "Inequality7",
    "Masses",
    "Outcome",
    "Proposition1",
    "SeparatedSets",
    "Statement",
    "Theorem2",
    "Theorem2Printed",
    "TwoSets",
    "Verdict",
    "exact_lipschitz",
    "forced_as_printed",
    "forced_by_frontier",
    "forced_by_two_sets",
    "forced_in_latent_space",
    "separation",
    "separation_cost",
    "two_modes",
    "two_modes_in_plane",
]
