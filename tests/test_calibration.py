"""The calibration uses none of the study's trainings, and its page says what the records say."""

import numpy as np
import pytest
from scipy.special import logit
from scipy.stats import t

from tinynet_book.analysis import calibration
from tinynet_core import Store
from tinynet_core.study.presets import load_preset, project_root


@pytest.fixture(scope="module")
def preset():
    return load_preset("creatures")


@pytest.fixture(scope="module")
def store():
    return Store(project_root() / "results" / "calibration")


def planned(preset):
    made = (calibration.graded, calibration.lengths, calibration.others, calibration.resnets)
    groups = [group(preset) for group in made]
    groups += calibration.variants(preset).values()
    return [e for group in groups for runs in group.values() for e in runs] + calibration.scattered(preset)


def test_no_training_of_the_study_has_a_seed_of_the_calibration(preset):
    assert {e.seed for e in planned(preset)} == set(calibration.SEEDS)
    most = max(preset.compared_seeds, preset.longer.seeds)
    assert min(calibration.SEEDS) >= most


def test_a_variant_changes_the_recipe_alone(preset):
    plain = calibration.graded(preset)
    for variant, networks in calibration.variants(preset).items():
        changes, _ = calibration.VARIANTS[variant]
        for name, runs in networks.items():
            for one, other in zip(runs, plain[name], strict=True):
                assert one == other.model_copy(update={"recipe": other.recipe.model_copy(update=dict(changes))})
                assert one != other


def test_the_page_has_the_pooled_spread_of_the_records(preset, store):
    """Pooled another way: the root of the mean variance of the log odds, for groups of one size."""
    accuracies = [[store.get(e).metrics["top1"] for e in runs] for runs in calibration.graded(preset).values()]
    pooled = np.sqrt(np.mean(np.var(logit(accuracies), axis=1, ddof=1)))
    assert f"| {pooled:.3f} [" in calibration.page(preset, store)
    plan = (project_root() / "book" / "plan.md").read_text(encoding="utf-8")
    assert f"The spread between seeds is {pooled:.3f} in log odds" in plan
    runs = {"The mean difference of two ways": (24, 40), "One budget alone": (6, 10), "a pair with three seeds": (3, 4)}
    for said, (n, freedom) in runs.items():
        half_width = 100 * 0.7 * 0.3 * pooled * np.sqrt(2 / n) * t.ppf(0.975, freedom)
        assert f"{half_width:.1f} points" in plan.partition(said)[2]


def test_a_page_without_records_says_so(preset, tmp_path):
    page = calibration.page(preset, Store(tmp_path))
    assert "not yet trained" in page
    assert "No training was made yet." in page
