"""All statements, in the order of the paper; the sharp versions follow what they sharpen."""

from __future__ import annotations

from typing import Any

from lipbounds.theorems.black_box import BlackBoxBound
from lipbounds.theorems.conditional_laws import Equation1, Equation2, Equation3
from lipbounds.theorems.corollary_1 import Corollary1, SharpCorollary1
from lipbounds.theorems.corollary_2 import Corollary2, SharpCorollary2
from lipbounds.theorems.data_space import TwoSetBound
from lipbounds.theorems.domain_restriction import RestrictedProposition1
from lipbounds.theorems.equation_9 import Equation9
from lipbounds.theorems.equation_13 import Inequality13, MatrixProduct, SharpInequality13
from lipbounds.theorems.example_1 import Example1First, Example1Second
from lipbounds.theorems.frontier import FrontierBound
from lipbounds.theorems.gumbel_max import GumbelMax
from lipbounds.theorems.inequality_7 import Inequality7
from lipbounds.theorems.k_modes import StarBound
from lipbounds.theorems.proposition_1 import Proposition1, SharpProposition1
from lipbounds.theorems.remark_2 import Remark1, Remark1Repaired, Remark2Lower, Remark2Upper
from lipbounds.theorems.remark_3 import Remark3
from lipbounds.theorems.statement import Statement
from lipbounds.theorems.sufficient import Enough
from lipbounds.theorems.theorem_1 import Theorem1, Theorem1Gaussian
from lipbounds.theorems.theorem_2 import Theorem2, Theorem2Printed
from lipbounds.theorems.total_variation_bound import TotalVariationBound

__all__ = ["FAILING", "STATEMENTS"]

STATEMENTS: tuple[Statement[Any], ...] = (
    Equation1(),
    Equation2(),
    Equation3(),
    Remark1(),
    Remark1Repaired(),
    Inequality7(),
    Remark2Upper(),
    Remark2Lower(),
    Equation9(),
    Remark3(),
    Theorem1(),
    Theorem1Gaussian(),
    Theorem2Printed(),
    Theorem2(),
    Proposition1(),
    SharpProposition1(),
    Corollary1(),
    SharpCorollary1(),
    Corollary2(),
    SharpCorollary2(),
    TwoSetBound(),
    FrontierBound(),
    TotalVariationBound(),
    BlackBoxBound(),
    RestrictedProposition1(),
    StarBound(),
    Enough(),
    Example1First(),
    Example1Second(),
    GumbelMax(),
    MatrixProduct(),
    Inequality13(),
    SharpInequality13(),
)

FAILING = (Theorem2Printed, Example1First, Example1Second)
"""Those that are false as printed: `extremal` of these is a counterexample."""
