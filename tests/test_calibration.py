"""The calibration uses none of the study's trainings, and its page says what the records say."""

import sys

import numpy as np
import pytest
from scipy.special import logit
from scipy.stats import t

from tinynet_core import Store
from tinynet_core.study.presets import load_preset, project_root

sys.path.insert(0, str(project_root() / "benchmarks"))  # as Python does for a script
import calibrate

PRESET = load_preset("creatures")


def test_no_training_of_the_study_has_a_seed_of_the_calibration():
    planned = [e for part in calibrate.PARTS.values() for runs in part(PRESET).values() for e in runs]
    assert {e.seed for e in planned} == set(calibrate.SEEDS)
    assert min(calibrate.SEEDS) >= max(PRESET.compared_seeds, PRESET.longer.seeds)


def test_a_variant_changes_the_recipe_alone():
    plain, tried = calibrate.graded(PRESET), calibrate.variants(PRESET)
    for variant, (changes, networks) in calibrate.VARIANTS.items():
        for name in networks:
            for one, other in zip(tried[f"{name}, {variant}"], plain[name], strict=True):
                assert one == other.model_copy(update={"recipe": other.recipe.model_copy(update=changes)})
                assert one != other


def test_the_page_is_filled_with_the_records_of_now_and_has_their_pooled_spread():
    """Pooled another way: the root of the mean variance of the log odds, for groups of one size."""
    store, page = Store(calibrate.STORE), calibrate.PAGE.read_text(encoding="utf-8")
    assert calibrate.filled(page, calibrate.tables(PRESET, store)) == page, "python benchmarks/calibrate.py show"
    accuracies = [[store.get(e).metrics["top1"] for e in runs] for runs in calibrate.graded(PRESET).values()]
    pooled = np.sqrt(np.mean(np.var(logit(accuracies), axis=1, ddof=1)))
    assert f"| {pooled:.3f} [" in page
    plan = (project_root() / "book" / "plan.md").read_text(encoding="utf-8")
    assert f"The spread between seeds is {pooled:.3f} in log odds" in plan
    runs = {"The mean difference of two ways": (24, 40), "One budget alone": (6, 10), "a pair with three seeds": (3, 4)}
    for said, (n, freedom) in runs.items():
        half_width = 100 * 0.7 * 0.3 * pooled * np.sqrt(2 / n) * t.ppf(0.975, freedom)
        assert f"{half_width:.1f} points" in plan.partition(said)[2]


@pytest.mark.parametrize("name", ["c = 1", "r = 0.43"])
def test_a_network_that_was_not_trained_says_so(tmp_path, name):
    line = calibrate._line(PRESET, name, [], calibrate.graded(PRESET)[name][0])
    assert "not yet trained" in line
