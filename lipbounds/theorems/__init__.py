"""The paper's statements, printed and sharp, as code that computes both sides."""

from lipbounds.theorems.black_box import BlackBoxBound, TwoThresholds
from lipbounds.theorems.catalogue import FAILING, STATEMENTS
from lipbounds.theorems.corollary_1 import Corollary1, SharpCorollary1, forced_as_printed, forced_in_latent_space
from lipbounds.theorems.corollary_2 import ConditionalSets, Corollary2, SharpCorollary2, forced_for_condition
from lipbounds.theorems.data_space import DataSets, TwoSetBound, forced_by_two_sets
from lipbounds.theorems.domain_restriction import RestrictedProposition1, RestrictedSets, restricted
from lipbounds.theorems.example_1 import (
    Example1First,
    Example1Second,
    exact_lipschitz,
    exact_lipschitz_from,
    forced_by_two_points,
    latent_of_example_1,
    two_modes,
    two_modes_in_plane,
)
from lipbounds.theorems.from_data import Forced, forced_lipschitz
from lipbounds.theorems.frontier import FrontierBound, StatisticLaw, forced_by_frontier
from lipbounds.theorems.inequality_7 import Inequality7, TwoSets
from lipbounds.theorems.k_modes import (
    KModes,
    ModeSets,
    StarBound,
    forced_by_modes,
    forced_by_modes_in_total_variation,
    perimeter_of_intervals,
    simplicial_cost,
    simplicial_perimeter,
)
from lipbounds.theorems.proposition_1 import (
    Proposition1,
    SeparatedSets,
    SharpProposition1,
    printed_constant,
    printed_distance,
)
from lipbounds.theorems.separation import Masses, least_stretch, separation, separation_cost
from lipbounds.theorems.statement import Hypothesis, Outcome, Statement, Verdict, Version
from lipbounds.theorems.sufficient import Enough, MixtureAt, forced_at, sufficient_lipschitz
from lipbounds.theorems.theorem_2 import AffinePosterior, Theorem2, Theorem2Printed
from lipbounds.theorems.total_variation_bound import (
    DistantSets,
    TotalVariationBound,
    forced_by_kl,
    forced_by_total_variation,
    separation_in_total_variation,
)

__all__ = [
    "FAILING",
    "STATEMENTS",
    "AffinePosterior",
    "BlackBoxBound",
    "ConditionalSets",
    "Corollary1",
    "Corollary2",
    "DataSets",
    "DistantSets",
    "Enough",
    "Example1First",
    "Example1Second",
    "Forced",
    "FrontierBound",
    "Hypothesis",
    "Inequality7",
    "KModes",
    "Masses",
    "MixtureAt",
    "ModeSets",
    "Outcome",
    "Proposition1",
    "RestrictedProposition1",
    "RestrictedSets",
    "SeparatedSets",
    "SharpCorollary1",
    "SharpCorollary2",
    "SharpProposition1",
    "StarBound",
    "Statement",
    "StatisticLaw",
    "Theorem2",
    "Theorem2Printed",
    "TotalVariationBound",
    "TwoSetBound",
    "TwoSets",
    "TwoThresholds",
    "Verdict",
    "Version",
    "exact_lipschitz",
    "exact_lipschitz_from",
    "forced_as_printed",
    "forced_at",
    "forced_by_frontier",
    "forced_by_kl",
    "forced_by_modes",
    "forced_by_modes_in_total_variation",
    "forced_by_total_variation",
    "forced_by_two_points",
    "forced_by_two_sets",
    "forced_for_condition",
    "forced_in_latent_space",
    "forced_lipschitz",
    "latent_of_example_1",
    "least_stretch",
    "perimeter_of_intervals",
    "printed_constant",
    "printed_distance",
    "restricted",
    "separation",
    "separation_cost",
    "separation_in_total_variation",
    "simplicial_cost",
    "simplicial_perimeter",
    "sufficient_lipschitz",
    "two_modes",
    "two_modes_in_plane",
]
