import numpy as np
import pytest
from fake_study import without

import tinynet_core as tn
from tinynet_book.dataset import LATENCY, classifiers, has_role, label, latencies_run, model_id, tables
from tinynet_core import Base, MissingRecords, Scale
from tinynet_core.networks import SCALABLE


@pytest.fixture(scope="module")
def study(made_up_study):
    return made_up_study


@pytest.fixture(scope="module")
def found(study):
    return tables(study)


def rebuilt(x):
    scale = Scale(x.r, x.d, x.w) if x.network in SCALABLE else None
    base = Base(int(x.base_resolution), float(x.base_width), int(x.base_divisor))
    return tn.network(x.network, scale, x.classes, None if x["head"] == "default" else x["head"], base)


def test_every_cost_counted_anew_from_the_row_alone(found):
    for _, x in found.models.iterrows():
        spec = rebuilt(x)
        cost = spec.complexity()
        assert (x.resolution, x.macs, x.params) == (spec.resolution, cost.macs, cost.params)
        assert x.activations == cost.activations


def test_every_training_that_the_pages_compare_is_there_once(study, found):
    wanted = {e.key for series in classifiers(study).values() for e in series.all()}
    assert sorted(found.runs.key) == sorted(wanted)
    assert set(found.models.model) == set(found.runs.model)
    assert found.models.model.is_unique
    first = study.preset.random_experiments()[0]
    assert found.runs.set_index("key").model[first.key] == model_id(first) == first.key[:12]


def test_means_by_numpy(found):
    models = found.models.set_index("model")
    for model, runs in found.runs.groupby("model"):
        top1 = list(runs.top1[runs.status == "done"])
        assert (models.seeds[model], models.failed[model]) == (len(top1), (runs.status == "failed").sum())
        if top1:
            assert models.top1_mean[model] == pytest.approx(np.mean(top1), abs=1e-12)
        sd = np.std(top1, ddof=1) if len(top1) > 1 else np.nan
        assert models.top1_sd[model] == pytest.approx(sd, nan_ok=True)


def test_a_failed_training_stays_in(found):
    (row,) = found.runs[found.runs.status == "failed"].itertuples()
    assert row.reason == "loss is nan"
    assert np.isnan(row.top1)
    model = found.models.set_index("model").loc[row.model]
    assert (model.seeds, model.failed) == (0, 1)
    assert np.isnan(model.top1_mean)
    assert row.key not in set(found.epochs.key)


def test_roles(study, found):
    models = found.models
    assert has_role(models, "random sample").sum() == study.preset.random_sample.models
    assert has_role(models, "equal-cost sample").sum() == study.preset.equal_cost_sample.models
    (whole,) = models[has_role(models, "table3: Baseline EfficientNet-B0")].itertuples()
    assert "fig6: EfficientNet-B0" in whole.roles
    assert (whole.r, whole.d, whole.w) == (1, 1, 1)
    assert not has_role(models, "table3").any()


def test_the_frontier_is_that_of_the_sample(study, found):
    sample = study.random_sample()
    kept = found.models[found.models.frontier]
    assert len(kept) == 6
    assert set(kept.macs) == set(sample.macs[sample.frontier])
    assert has_role(kept, "random sample").all()


def test_latencies_belong_to_the_networks_that_were_timed(study, found):
    models = found.models
    timed = models[models.latency_ms.notna()]
    assert len(latencies_run(study).networks) == study.preset.latency.models == 22
    assert set(models[has_role(models, "random sample")].model) <= set(timed.model)
    middle, low, high = (timed[name] for name in LATENCY)
    np.testing.assert_allclose(middle, timed.resolution / 10)
    np.testing.assert_allclose(middle - low, 0.1)
    np.testing.assert_allclose(high - middle, 0.2)
    assert 0 < models.latency_ms.isna().sum() < len(models)


def test_epochs_are_the_curves(study, found):
    runs = found.runs[found.runs.status == "done"]
    assert len(found.epochs) == 2 * len(runs)
    first = study.preset.random_experiments()[0]
    rows = found.epochs[found.epochs.key == first.key].drop(columns=["key", "model", "seed"])
    assert rows.to_dict("records") == study.store.get(first).curve


def test_labels_name_content(study, found):
    dataset, recipe = study.preset.dataset, study.preset.recipe
    assert found.data[label(dataset)] == dataset
    assert found.recipes[label(recipe)] == recipe
    assert label(recipe) != label(recipe.model_copy(update={"lr": 1.0}))
    assert set(found.models.data) == set(found.data)
    assert set(found.models.recipe) == set(found.recipes)


def test_missing_records_are_named_with_the_command(study, tmp_path):
    with pytest.raises(MissingRecords, match=r"2 of \d+ records are not in .*\n(.*\n){2}make them with: tinynet sweep"):
        tables(without(study, tmp_path, trainings=2))
