"""The table of all networks against the study that it is made from, each number another way."""

import math

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from tinynet_book.analysis.models import JOINT, all_models, classifiers, model_id
from tinynet_core import Base, Scale, network
from tinynet_core.cli import tinynet


@pytest.fixture(scope="module")
def found(made_up_study):
    return all_models(made_up_study)


def test_every_training_that_the_pages_compare_is_there_once_with_its_cost_counted_anew(made_up_study, found):
    wanted = {e.key: e for page in classifiers(made_up_study).values() for row in page.values() for e in row}
    assert sorted(found["runs"].key) == sorted(wanted)
    assert set(found["models"].model) == set(found["runs"].model)
    assert found["models"].model.is_unique
    first = made_up_study.preset.random_experiments()[0]
    assert found["runs"].set_index("key").model[first.key] == model_id(first) == first.key[:12]
    for x in found["models"].itertuples():
        base = None if math.isnan(x.base_width) else Base(int(x.base_resolution), x.base_width, int(x.base_divisor))
        scale = Scale(x.r, x.d, x.w) if network(x.network).scale in (None, Scale()) and not math.isnan(x.r) else None
        head = None if x.head == "default" else x.head
        spec = network(x.network, scale, made_up_study.preset.dataset.classes, head, base)
        cost = spec.complexity()
        counted = (spec.resolution, cost.macs, cost.params, cost.activations)
        assert (x.resolution, x.macs, x.params, x.activations) == counted


def test_means_by_numpy_with_failed_trainings_kept(found):
    models = found["models"].set_index("model")
    for model, runs in found["runs"].groupby("model"):
        top1 = list(runs.top1[runs.status == "done"])
        assert (models.seeds[model], models.failed[model]) == (len(top1), (runs.status == "failed").sum())
        mean = np.mean(top1) if top1 else np.nan
        assert models.top1_mean[model] == pytest.approx(mean, abs=1e-12, nan_ok=True)
        sd = np.std(top1, ddof=1) if len(top1) > 1 else np.nan
        assert models.top1_sd[model] == pytest.approx(sd, nan_ok=True)
    (row,) = found["runs"][found["runs"].status == "failed"].itertuples()
    assert row.reason == "loss is nan"
    assert row.key not in set(found["epochs"].key)


def has_role(models, role):
    return models.roles.str.split(JOINT).map(lambda roles: role in roles)


def test_roles_and_the_frontier(made_up_study, found):
    models = found["models"]
    assert has_role(models, "random sample").sum() == made_up_study.preset.random_sample.models
    (whole,) = models[has_role(models, "table3: Baseline EfficientNet-B0")].itertuples()
    assert "fig6: EfficientNet-B0" in whole.roles
    assert (whole.r, whole.d, whole.w) == (1, 1, 1)
    sample, kept = made_up_study.random_sample(), models[models.frontier]
    assert set(kept.macs) == set(sample.macs[sample.frontier])
    assert has_role(kept, "random sample").all()


def test_epochs_are_the_curves_and_files_the_tables(made_up_study, found, tmp_path):
    first = made_up_study.preset.random_experiments()[0]
    rows = found["epochs"][found["epochs"].key == first.key].drop(columns=["key", "model", "seed"])
    assert rows.to_dict("records") == made_up_study.store.get(first).curve
    arguments = ["dataset", "smoke", str(tmp_path / "new"), "--store", str(made_up_study.store.root)]
    assert CliRunner().invoke(tinynet, arguments).exit_code == 0
    for name in ("models", "runs", "epochs"):
        assert len(pd.read_csv(tmp_path / "new" / f"{name}.csv")) == len(found[name])
