# ruff: noqa: E501 (lines of code are quoted)
"""The falsifications: what is replaced, by what, and which test fails then."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["MUTANTS", "Mutant"]


class Mutant(NamedTuple):
    """One falsification.

    Args:
        name: In words.
        path: File, from the root of the repository.
        old: Text that occurs there exactly once.
        new: What stands there instead.
        test: What pytest runs; it has to fail.
        quick: Whether the suite itself applies it.
    """

    name: str
    path: str
    old: str
    new: str
    test: str
    quick: bool = False


CONFIDENCE = "tests/lipbounds/test_confidence.py"
STRATEGIES = "tests/lipbounds/test_search_strategies.py"
STEEPNESS = "tests/lipbounds/test_steepness.py"
TRUTH = "tests/lipbounds/test_truth.py"
CERTIFY = "tests/lipbounds/test_certify.py"
SEARCH = "tests/lipbounds/test_search.py"

FROM_DATA = "lipbounds/theorems/from_data.py"
POPULATION = "lipbounds/distances/population.py"
LINE = "lipbounds/distances/line.py"
SPACE = "lipbounds/distances/wasserstein.py"
TRANSPORT = "lipbounds/distances/transport.py"
LARGE = "lipbounds/distances/large.py"
PLANE = "lipbounds/certify/planar/kernel.py"

MUTANTS = [
    # error probabilities, bands and limits
    Mutant(
        "alpha of two limits not divided",
        FROM_DATA,
        "clopper_pearson([below, above], n, alpha=alpha / 3)",
        "clopper_pearson([below, above], n, alpha=alpha)",
        f"{CONFIDENCE}::test_the_three_limits_of_forced_lipschitz_share_alpha",
        True,
    ),
    Mutant(
        "alpha of the gap not divided",
        FROM_DATA,
        "clopper_pearson(between, n, alpha=alpha / 3)",
        "clopper_pearson(between, n, alpha=alpha)",
        f"{CONFIDENCE}::test_the_three_limits_of_forced_lipschitz_share_alpha",
    ),
    Mutant(
        "1 / alpha in the band",
        FROM_DATA,
        "math.log(2 / alpha) / (2 * len(clipped))",
        "math.log(1 / alpha) / (2 * len(clipped))",
        f"{CONFIDENCE}::test_the_frontier_adds_the_band_and_the_rounding_to_epsilon",
        True,
    ),
    Mutant(
        "band dropped",
        FROM_DATA,
        "(epsilon + band + error)",
        "(epsilon + error)",
        f"{CONFIDENCE}::test_the_frontier_adds_the_band_and_the_rounding_to_epsilon",
    ),
    Mutant(
        "rounding of the statistic dropped from the accuracy",
        FROM_DATA,
        "(epsilon + band + error)",
        "(epsilon + band)",
        f"{CONFIDENCE}::test_the_frontier_adds_the_band_and_the_rounding_to_epsilon",
    ),
    Mutant(
        "second of the least favourable masses dropped",
        FROM_DATA,
        "for first, second in ((a, 1 - gap - a), (1 - gap - b, b)):",
        "for first, second in ((a, 1 - gap - a),):",
        f"{CONFIDENCE}::test_two_sets_take_the_least_favourable_of_the_masses_that_the_limits_allow",
    ),
    Mutant(
        "first of the least favourable masses dropped",
        FROM_DATA,
        "for first, second in ((a, 1 - gap - a), (1 - gap - b, b)):",
        "for first, second in ((1 - gap - b, b),):",
        f"{CONFIDENCE}::test_two_sets_take_the_least_favourable_of_the_masses_that_the_limits_allow",
    ),
    Mutant(
        "rounding of thresholds dropped",
        FROM_DATA,
        "* (1 - 4 * EPS) - 2 * error",
        "* (1 - 4 * EPS)",
        f"{CONFIDENCE}::test_two_sets_take_the_least_favourable_of_the_masses_that_the_limits_allow",
    ),
    Mutant(
        "what is forced forgets what epsilon rests on",
        FROM_DATA,
        "known = combined(found, given)",
        "known = combined(found)",
        f"{CONFIDENCE}::test_what_forces_rests_on_what_epsilon_rests_on",
    ),
    Mutant(
        "selection and evaluation on the same half",
        FROM_DATA,
        "scaled[order if alpha is None else order[half:]]",
        "scaled[order if alpha is None else order[:half]]",
        "tests/theorems/test_from_data.py",
    ),
    Mutant(
        "2 / alpha for two samples",
        POPULATION,
        "log = math.log(4 / alpha)",
        "log = math.log(2 / alpha)",
        f"{CONFIDENCE}::test_the_bounds_of_a_held_out_function",
        True,
    ),
    Mutant(
        "1 / alpha for both ends",
        POPULATION,
        "math.sqrt(2 * math.log(2 / alpha) * (sigma_x",
        "math.sqrt(2 * math.log(1 / alpha) * (sigma_x",
        f"{CONFIDENCE}::test_both_ends_of_the_population_distance_share_alpha",
        True,
    ),
    Mutant(
        "whole alpha for the lower end",
        POPULATION,
        "lower = _lower(mu, nu, alpha / 2, constants, seed)",
        "lower = _lower(mu, nu, alpha, constants, seed)",
        f"{CONFIDENCE}::test_both_ends_of_the_population_distance_share_alpha",
    ),
    Mutant(
        "7/3 for 7",
        POPULATION,
        "7 * (critic.high - critic.low)",
        "7 / 3 * (critic.high - critic.low)",
        f"{CONFIDENCE}::test_the_bounds_of_a_held_out_function",
    ),
    Mutant(
        "variance of n for n - 1",
        POPULATION,
        "sample.var(ddof=1)",
        "sample.var()",
        f"{CONFIDENCE}::test_the_bounds_of_a_held_out_function",
    ),
    Mutant(
        "a constant of one sample only",
        POPULATION,
        "(sigma_x**2 / sizes[0] + sigma_y**2 / sizes[1])",
        "(sigma_x**2 / sizes[0])",
        f"{CONFIDENCE}::test_the_bounds_of_a_held_out_function",
    ),
    Mutant(
        "2 / alpha dropped from the band of a statistic",
        "lipbounds/distances/confidence.py",
        "math.log(2.0 / alpha)",
        "math.log(1.0 / alpha)",
        f"{CONFIDENCE}::test_the_band_of_a_statistic",
    ),
    Mutant(
        "half the width of the clip",
        "lipbounds/distances/confidence.py",
        "width = 2.0 * clip",
        "width = clip",
        f"{CONFIDENCE}::test_the_band_of_a_statistic",
    ),
    Mutant(
        "lower limit of one success fewer",
        "lipbounds/distances/confidence.py",
        "beta.ppf(alpha, k, trials - k + 1)",
        "beta.ppf(alpha, k + 1, trials - k)",
        f"{CONFIDENCE}::test_clopper_pearson",
    ),
    Mutant(
        "upper limit of one success fewer",
        "lipbounds/distances/confidence.py",
        "beta.ppf(1 - alpha, k + 1, trials - k)",
        "beta.ppf(1 - alpha, k, trials - k + 1)",
        f"{CONFIDENCE}::test_clopper_pearson",
    ),
    Mutant(
        "alpha of the lower threshold not halved",
        "lipbounds/search/from_samples.py",
        "g_low, _ = clopper_pearson(below_low, n, alpha=alpha / 2)",
        "g_low, _ = clopper_pearson(below_low, n, alpha=alpha)",
        f"{CONFIDENCE}::test_both_thresholds_have_half_of_alpha",
    ),
    Mutant(
        "alpha of components not divided",
        "lipbounds/search/from_samples.py",
        "alpha=alpha / len(samples)",
        "alpha=alpha",
        f"{CONFIDENCE}::test_black_box_bounds_share_alpha_between_both_thresholds_and_all_components",
    ),
    Mutant(
        "alpha of a classifier not halved",
        "lipbounds/distances/classifier.py",
        "lower_x, _ = clopper_pearson(inside[0], len(held_x), alpha=alpha / 2)",
        "lower_x, _ = clopper_pearson(inside[0], len(held_x), alpha=alpha)",
        f"{CONFIDENCE}::test_a_classifier_shares_alpha_between_both_limits",
    ),
    # distances
    Mutant(
        "largest gap for the nearest power",
        LINE,
        "powers = gaps / largest\n",
        "powers = gaps / max(largest, farthest)\n",
        f"{TRUTH}::test_lines_against_fractions",
    ),
    Mutant(
        "no scale of the powers",
        LINE,
        "largest = float((gaps if isinstance(masses, float) else gaps[masses > 0]).max(initial=0.0))",
        "largest = min(1.0, float(gaps.max(initial=0.0)))",
        f"{TRUTH}::test_lines_against_fractions",
    ),
    Mutant(
        "doubt about masses dropped below",
        LINE,
        "low = max(0.0, low - _cost(doubt, farthest / largest, p))",
        "low = max(0.0, low)",
        f"{TRUTH}::test_planes_with_masses_against_permutations_of_copies tests/lipbounds/test_wasserstein.py::test_slivers_of_decimal_weights",
    ),
    Mutant(
        "missing mass dropped above",
        LINE,
        "rest = _cost(missing + doubt, farthest / largest, p)",
        "rest = _cost(doubt, farthest / largest, p)",
        "tests/lipbounds/test_rounding.py::test_what_a_plan_does_not_place_is_charged",
    ),
    Mutant(
        "levels in the wrong unit",
        LINE,
        "levels_y = [total_x * level for level in itertools.accumulate(second)]",
        "levels_y = [total_y * level for level in itertools.accumulate(second)]",
        f"{TRUTH}::test_lines_against_fractions",
    ),
    Mutant(
        "sorted by the other law",
        LINE,
        "np.abs(np.sort(x) - np.sort(y)), 1.0 / len(x)",
        "np.abs(np.sort(x) - y), 1.0 / len(x)",
        f"{TRUTH}::test_lines_against_fractions tests/lipbounds/test_wasserstein.py",
    ),
    Mutant(
        "error of projections charged once",
        LINE,
        "return max(0.0, low - 2 * error), high + 2 * error",
        "return max(0.0, low), high",
        "tests/lipbounds/test_rounding.py::test_errors_of_points_are_charged_at_both_ends",
        True,
    ),
    Mutant(
        "crossing put at the wrong end",
        LINE,
        "crossing = np.where(levels <= f[:-1], low, high)",
        "crossing = np.where(levels > f[:-1], low, high)",
        "tests/lipbounds/test_wasserstein.py",
    ),
    Mutant(
        "noise of integrals dropped",
        LINE,
        "return max(0.0, below - error), above + error",
        "return max(0.0, below), above",
        "tests/lipbounds/test_rounding.py::test_atoms_against_a_mixture_in_balls tests/lipbounds/test_rounding.py::test_many_atoms_against_a_gaussian_in_balls",
    ),
    Mutant(
        "difference of roots for their quotient",
        LINE,
        "/ (first.sqrt() + second.sqrt())",
        "/ (first.sqrt() + second.sqrt() + first.sqrt())",
        "tests/lipbounds/test_wasserstein.py",
    ),
    Mutant(
        "mean shift from one law",
        SPACE,
        "parts.append(max(0.0, c - b, a - d))",
        "parts.append(max(0.0, c, a))",
        f"{TRUTH}::test_planes_against_permutations",
    ),
    Mutant(
        "rounding of costs dropped",
        SPACE,
        "dual = max(0.0, dual * (1.0 - power_error(p, error + gamma(2))) - mu.doubt - nu.doubt)",
        "dual = max(0.0, dual * (1.0 + 1e-9))",
        f"{TRUTH}::test_planes_against_permutations",
    ),
    Mutant(
        "cap not undone",
        SPACE,
        "root(cap * dual, cap * dual, p)",
        "root(cap * cap * dual, cap * cap * dual, p)",
        f"{TRUTH}::test_planes_against_permutations",
    ),
    Mutant(
        "equal laws by points alone",
        SPACE,
        "np.column_stack((law.points + 0.0, law.shares)) for law",
        "np.column_stack((law.points + 0.0, law.points)) for law",
        "tests/lipbounds/test_rounding.py::test_laws_are_the_same_only_with_their_masses",
        True,
    ),
    Mutant(
        "slack of potentials dropped",
        TRANSPORT,
        "slack = gamma(3) * size * (1 + 1e-9) + gamma(8) * (1.0 + largest)",
        "slack = 0.0",
        "tests/lipbounds/test_rounding.py::test_potentials_are_charged_for_their_rounding",
    ),
    Mutant(
        "potentials by means for least differences",
        TRANSPORT,
        "np.concatenate([(cost[start : start + rows] - g).min(1)",
        "np.concatenate([(cost[start : start + rows] - g).mean(1)",
        f"{TRUTH}::test_planes_against_permutations",
    ),
    Mutant(
        "a forest with negative masses",
        TRANSPORT,
        "        if left[point] < 0:\n            return None\n",
        "",
        "tests/lipbounds/test_rounding.py::test_exact_flows_are_those_of_a_forest",
    ),
    Mutant(
        "a part of the forest that does not balance",
        TRANSPORT,
        "if taken < len(places) or any(left):",
        "if taken < len(places):",
        "tests/lipbounds/test_rounding.py::test_exact_flows_are_those_of_a_forest",
    ),
    Mutant(
        "missing mass of a plan not counted",
        TRANSPORT,
        "missing += float(np.abs(placed - law.weights).sum()) / 2",
        "missing += 0.0 * float(np.abs(placed - law.weights).sum()) / 2",
        "tests/lipbounds/test_rounding.py::test_exact_flows_are_those_of_a_forest",
    ),
    Mutant(
        "least cost forgotten",
        TRANSPORT,
        "lower = least + product(",
        "lower = product(",
        "tests/lipbounds/test_rounding.py::test_costs_that_are_negative",
    ),
    Mutant(
        "marginal defect dropped",
        LARGE,
        "missing += float(np.abs(placed - law.weights).sum()) / 2",
        "missing += 0.0 * float(np.abs(placed - law.weights).sum())",
        "tests/lipbounds/test_rounding.py::test_a_large_plan_that_misses_mass_is_charged",
    ),
    Mutant(
        "rounding of functions dropped",
        LARGE,
        "- mass - doubt - 2 * critic.error(radius)",
        "",
        "tests/lipbounds/test_rounding.py::test_functions_are_charged_for_their_rounding",
    ),
    Mutant(
        "centring dropped",
        LARGE,
        "law.with_points(law.points - (low / 2 + high / 2))",
        "law.with_points(law.points)",
        f"{TRUTH}::test_offsets_of_1e8",
    ),
    Mutant(
        "projections not centred",
        "lipbounds/distances/sliced.py",
        "mu.with_points(mu.points / scale - centre), nu.with_points(nu.points / scale - centre)",
        "mu.with_points(mu.points / scale), nu.with_points(nu.points / scale)",
        f"{TRUTH}::test_projections_far_from_0_lose_little",
    ),
    Mutant(
        "norm of the direction not divided by",
        "lipbounds/distances/sliced.py",
        "lower / max(1.0, norm)",
        "lower",
        "tests/lipbounds/test_rounding.py::test_a_direction_that_is_too_long_is_shortened",
        True,
    ),
    Mutant(
        "one root for two laws",
        "lipbounds/distances/total_variation.py",
        "return sum((abs(mass) for mass in masses.values()), Fraction(0)) / 2",
        "return max(abs(mass) for mass in masses.values())",
        f"{TRUTH}::test_total_variation_of_atoms_against_fractions",
    ),
    Mutant(
        "sums of atoms without error",
        "lipbounds/distances/total_variation.py",
        "error = (3 * len(points) + 6) * EXTENDED + UNIT + doubt",
        "error = 0.0",
        "tests/lipbounds/test_rounding.py::test_total_variation_of_many_atoms_is_charged_for_sums",
    ),
    Mutant(
        "noise dropped from the sign test",
        "lipbounds/distances/signed.py",
        "sure &= left + right - 2 * (noise_a + noise_b) > drop",
        "sure &= left + right > drop",
        "tests/lipbounds/test_rounding.py::test_a_sign_within_the_noise_is_not_known",
    ),
    Mutant(
        "noise of integrals of a signed mixture dropped",
        "lipbounds/distances/signed.py",
        "return np.maximum(value - noise, 0.0), value + noise",
        "return value, value",
        "tests/lipbounds/test_rounding.py::test_signed_integrals_in_balls",
    ),
    Mutant(
        "trace forgotten",
        "lipbounds/distances/gaussians.py",
        "return (trace - d - s.det().log()",
        "return (trace - s.det().log()",
        "tests/lipbounds/test_total_variation.py",
    ),
    Mutant(
        "root error of a Gaussian dropped",
        "lipbounds/distances/gaussians.py",
        "error = _root_error(first) + _root_error(second)",
        "error = 0.0",
        "tests/lipbounds/test_rounding.py::test_gaussian_distances_in_balls",
    ),
    # laws and masses
    Mutant(
        "thin slabs with 128 bits",
        "lipbounds/measures.py",
        "if high - low <= AGREED * high or high <= SMALLEST_MASS:",
        "if True:",
        f"{TRUTH}::test_the_thinnest_slabs",
    ),
    Mutant(
        "no reflection at the mean",
        "lipbounds/measures.py",
        "                a, b = -b, -a\n",
        "                a, b = -b, b\n",
        f"{TRUTH}::test_masses_of_slabs_against_balls_of_many_bits",
        True,
    ),
    Mutant(
        "weights not divided by their sum",
        "lipbounds/measures.py",
        "return [share / whole for share in given]",
        "return given",
        "tests/lipbounds/test_measures.py tests/lipbounds/test_rounding.py::test_weights_of_mixtures_are_normalised_exactly",
    ),
    Mutant(
        "weights of a short type held to that of doubles",
        "lipbounds/measures.py",
        "return float(np.finfo(dtype).eps) / 2",
        "return UNIT",
        f"{TRUTH}::test_weights_normalised_in_a_shorter_type",
        True,
    ),
    Mutant(
        "a series that ends too early",
        "lipbounds/arb.py",
        "if beyond <= 2.0**-ctx.prec * ends(mass)[0]",
        "if beyond <= 0.1 * ends(mass)[0]",
        "tests/lipbounds/test_rounding.py::test_masses_of_balls_far_from_the_mean",
    ),
    # theorems
    Mutant(
        "gap from above taken from below",
        "lipbounds/theorems/separation.py",
        "return cls(a.lower, b.lower, gap.upper, *combined(a, b, gap))",
        "return cls(a.lower, b.lower, gap.lower, *combined(a, b, gap))",
        "tests/lipbounds/test_rounding.py::test_masses_of_enclosures_are_the_safe_ends",
        True,
    ),
    Mutant(
        "masses of enclosures from above",
        "lipbounds/theorems/separation.py",
        "return cls(a.lower, b.lower, gap.upper, *combined(a, b, gap))",
        "return cls(a.upper, b.upper, gap.upper, *combined(a, b, gap))",
        "tests/lipbounds/test_rounding.py::test_masses_of_enclosures_are_the_safe_ends",
    ),
    Mutant(
        "quotient rounded inwards",
        "lipbounds/theorems/separation.py",
        "low = math.nextafter(distance / width.upper, 0.0)",
        "low = math.nextafter(distance / width.lower, 0.0)",
        "tests/theorems/test_separation.py tests/theorems/test_sharp_bounds.py",
    ),
    Mutant(
        "strict comparison of both sides",
        "lipbounds/theorems/statement.py",
        "elif left.lower > right.upper:",
        "elif left.upper > right.lower:",
        f"{TRUTH}::test_repaired_theorem_2_at_equality_for_random_maps tests/theorems",
    ),
    Mutant(
        "diameter of Z alone",
        "lipbounds/theorems/theorem_2.py",
        "points |= {image[n:] for",
        "points = points or {image[n:] for",
        "tests/theorems/test_theorem_2.py",
    ),
    Mutant(
        "no division by the mass of A",
        "lipbounds/theorems/theorem_2.py",
        "as_ball(instance.delta) / mass)",
        "as_ball(instance.delta))",
        "tests/theorems/test_theorem_2.py",
    ),
    Mutant(
        "assumptions forgotten",
        "lipbounds/enclosure.py",
        "return Enclosure(lower, upper, known.guarantee, method, known.alpha, known.assumptions)",
        "return Enclosure(lower, upper, known.guarantee, method, known.alpha)",
        "tests/lipbounds/test_enclosure.py",
        True,
    ),
    Mutant(
        "the strongest guarantee wins",
        "lipbounds/enclosure.py",
        "guarantee = min(enclosure.guarantee",
        "guarantee = max(enclosure.guarantee",
        "tests/lipbounds/test_enclosure.py",
        True,
    ),
    # search, domains and layers
    Mutant(
        "rounding of the map not charged",
        "lipbounds/search/pairs.py",
        "max(0.0, moved - noise) / apart) * own, noise",
        "moved / apart) * own, noise",
        f"{TRUTH}::test_found_charges_the_rounding_of_the_map",
    ),
    Mutant(
        "noise by a tenth",
        "lipbounds/search/rounding_noise.py",
        "SAFETY = 8.0",
        "SAFETY = 0.1",
        f"{TRUTH}::test_found_charges_the_rounding_of_the_map",
    ),
    Mutant(
        "types not looked at",
        "lipbounds/search/rounding_noise.py",
        "unit = unit_of(images.flatten(0, 1))",
        "unit = 2.0**-53",
        f"{STRATEGIES}::test_images_of_a_short_type_are_charged_eight_of_its_roundings",
    ),
    Mutant(
        "seed of the search ignored",
        "lipbounds/search/rounds.py",
        "rng = np.random.default_rng([seed, number])",
        "rng = np.random.default_rng([0, number])",
        "tests/lipbounds/test_rounding.py::test_seeds_are_used",
    ),
    Mutant(
        "seed of the inversion error ignored",
        "lipbounds/search/inversion_error.py",
        "rng = np.random.default_rng(seed)",
        "rng = np.random.default_rng(0)",
        "tests/lipbounds/test_rounding.py::test_seeds_are_used",
    ),
    Mutant(
        "witness not pulled inside",
        "lipbounds/search/pairs.py",
        "while not evaluation.domain.contains(within) and share < LARGEST_PULL:",
        "while False:",
        f"{TRUTH}::test_witnesses_lie_in_their_domain",
    ),
    Mutant(
        "rounds agree more easily",
        "lipbounds/search/rounds.py",
        "AGREE = 0.005",
        "AGREE = 0.006",
        f"{STRATEGIES}::test_ends_seen_once_are_what_a_search_may_miss",
    ),
    Mutant(
        "ends of one place counted as new",
        "lipbounds/search/rounds.py",
        "(same.sum(1) == 1)",
        "(same.sum(1) <= 2)",
        f"{STRATEGIES}::test_ends_seen_once_are_what_a_search_may_miss",
    ),
    Mutant(
        "a known pair of another map counts",
        "lipbounds/search/find.py",
        "one.lower > found.lower and quotient(self._f, one.pair) >= one.lower",
        "one.lower > found.lower",
        f"{STRATEGIES}::test_what_is_known_of_another_map_does_not_count",
    ),
    Mutant(
        "rounding of images forgotten in the search",
        "lipbounds/search/evaluation.py",
        "(self._known * moved > ROUNDINGS * self.unit * size)",
        "(moved > 0)",
        f"{STRATEGIES}::test_quotients_that_rounding_could_change_count_as_nothing",
    ),
    Mutant(
        "errors of quantiles not shared out",
        "lipbounds/search/steepness.py",
        "each = alpha / (2 * len(shares))",
        "each = alpha / len(shares)",
        f"{STEEPNESS}::test_all_ends_share_one_error_probability",
    ),
    Mutant(
        "one draw too many below a quantile",
        "lipbounds/search/steepness.py",
        "lower = float(norms[below - 1])",
        "lower = float(norms[below])",
        f"{STEEPNESS}::test_ends_are_the_nearest_order_statistics_that_hold",
    ),
    Mutant(
        "balls a millionth larger",
        "lipbounds/domains.py",
        "return bool(squares <= arb(radius) * arb(radius))",
        "return bool(squares <= arb(radius) * arb(radius) * arb(1.000001))",
        f"{TRUTH}::test_witnesses_lie_in_their_domain",
    ),
    Mutant(
        "slope of the activations forgotten",
        "lipbounds/maps/layer_constants.py",
        "c = arb(activation.slope) ** (len(weights) - 1)",
        "c = arb(1)",
        "tests/lipbounds/test_layer_constants.py",
    ),
    Mutant(
        "rest of a spectral norm dropped",
        "lipbounds/arb.py",
        "return arb(ends(skew.sqrt() * arb(float(values[0])) + rest)[1])",
        "return arb(float(values[0])) * (1 - arb(2) ** -50)",
        f"{CERTIFY}::test_the_spectral_norm_is_enclosed_where_power_iteration_is_below",
    ),
    Mutant(
        "singular value for the sum of (13)",
        "lipbounds/maps/layer_constants.py",
        "squares = 1 + below * below + self.c * self.c",
        "squares = below * below + self.c * self.c",
        "tests/lipbounds/test_layer_constants.py tests/theorems/test_catalogue.py",
    ),
    Mutant(
        "contraction not divided by",
        "lipbounds/maps/layers/residual.py",
        "bounds.append(high_end(squares.sqrt() / contraction))",
        "bounds.append(high_end(squares.sqrt()))",
        f"{TRUTH}::test_the_inversion_error_of_a_residual_layer_in_float32_covers_the_error",
    ),
    # certificates
    Mutant(
        "second derivative of tanh at most 0.70",
        "lipbounds/maps/activations/tanh.py",
        "float(np.abs(polynomials.values[n][critical]).max(initial=0.0))) * UP",
        "0.9 * float(np.abs(polynomials.values[n][critical]).max(initial=0.0))) * UP",
        "tests/lipbounds/test_activations.py",
    ),
    Mutant(
        "rounding of activations dropped",
        "lipbounds/rounding.py",
        "FUNCTION_ERROR = 256 * UNIT",
        "FUNCTION_ERROR = 0.0",
        "tests/lipbounds/test_activations.py tests/lipbounds/test_certify.py",
    ),
    Mutant(
        "error of u dropped from s",
        PLANE,
        "s_e += ds * e[seen]  # u itself is known to e",
        "s_e += 0.0",
        f"{CERTIFY}::test_tables_with_errors_bound_every_map_within_them",
    ),
    Mutant(
        "error of u dropped from t",
        PLANE,
        "t_e += dt * e[seen]",
        "t_e += 0.0",
        f"{CERTIFY}::test_tables_with_errors_bound_every_map_within_them",
    ),
    Mutant(
        "error of u dropped from the reach",
        PLANE,
        "reach = e[seen] + (abs",
        "reach = (abs",
        f"{CERTIFY}::test_an_error_of_the_middle_reaches_other_cells",
    ),
    Mutant(
        "error of t dropped",
        PLANE,
        "e[which] + t_e + 4 * EPS",
        "e[which] + 4 * EPS",
        f"{CERTIFY}::test_tables_with_errors_bound_every_map_within_them",
    ),
    Mutant(
        "error of the factor dropped",
        PLANE,
        "e[which] = (factor * y_e + factor_e * (abs(y) + y_e))",
        "e[which] = (factor * y_e)",
        f"{CERTIFY}::test_tables_with_errors_bound_every_map_within_them",
    ),
    Mutant(
        "radius of the factor dropped",
        PLANE,
        "(fm * hr + fr * (abs(hm) + hr))",
        "(fm * hr)",
        f"{CERTIFY}::test_no_sampled_norm_is_above_the_bound_of_its_box",
    ),
    Mutant(
        "half of the corners",
        PLANE,
        "for corner in range(16):",
        "for corner in range(2):",
        f"{CERTIFY}::test_no_sampled_norm_is_above_the_bound_of_its_box",
    ),
    Mutant(
        "halves do not overlap",
        "lipbounds/certify/planar/bounder.py",
        "radii = np.concatenate((half, half)) * (1 + 4 * EPS) + EPS * np.abs(both)",
        "radii = np.concatenate((half, half))",
        f"{CERTIFY}::test_halves_cover_their_box_at_any_offset",
    ),
    Mutant(
        "slack of oriented halves dropped",
        "lipbounds/certify/preimage/oriented_boxes.py",
        "torch.where(here, 0.5 * boxes.radii, boxes.radii) + slack",
        "torch.where(here, 0.5 * boxes.radii, boxes.radii)",
        "tests/lipbounds/test_oriented_boxes.py",
    ),
    Mutant(
        "rounding of what is apart dropped",
        "lipbounds/certify/preimage/oriented_boxes.py",
        "- 64 * EPS * size > reach + radii",
        "> 0.999 * (reach + radii)",
        "tests/lipbounds/test_oriented_boxes.py",
    ),
    Mutant(
        "ends that cross are exchanged",
        "lipbounds/certify/certificate.py",
        "        if bound.upper < witness.lower:\n",
        "        if bound.upper < 0.5 * witness.lower:\n",
        f"{CERTIFY}::test_bounds_below_the_witness_are_an_error",
    ),
    # networks
    Mutant(
        "label noise ignored",
        "inn/objectives.py",
        "noisy_y = _noisy(y, self.label_noise, generator)",
        "noisy_y = y",
        "tests/inn/test_objectives.py",
    ),
    Mutant(
        "data noise ignored",
        "inn/objectives.py",
        "padded = padding.pad_data(_noisy(x, self.data_noise, generator), generator)",
        "padded = padding.pad_data(x, generator)",
        "tests/inn/test_objectives.py",
    ),
    Mutant(
        "sizes of checkpoints not looked at",
        "inn/checkpoint.py",
        "        _check_sizes(fields, state)\n",
        "",
        f"{TRUTH}::test_sizes_that_the_tensors_cannot_have_are_refused_before_anything_is_built",
    ),
    Mutant(
        "values of checkpoints not looked at",
        "inn/checkpoint.py",
        "        _check_values(state)\n",
        "",
        f"{TRUTH}::test_checkpoints_that_lie_are_refused",
        True,
    ),
    Mutant(
        "types of checkpoints not looked at",
        "inn/checkpoint.py",
        "        _check_types(module, state)\n",
        "",
        f"{TRUTH}::test_checkpoints_that_lie_are_refused",
    ),
]
