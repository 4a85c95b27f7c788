import copy
import json

import golden
import pytest
import torch
from click.testing import CliRunner
from golden import FILE, RUNS, TOLERANCES, measured, problem, worst

from tinynet_core.training import augment, loop
from tinynet_core.training.recipe import Recipe

GOLDEN = json.loads(FILE.read_text(encoding="utf-8"))
PRESETS, EFFICIENTNET, RESNET, GHOSTNET, DETECTOR = RUNS


@pytest.fixture(scope="module", params=RUNS)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def found(name):
    return measured(RUNS[name])


def test_training_gives_what_it_gave(name, found):
    if message := problem(name, GOLDEN, found):
        pytest.fail(message, pytrace=False)


def test_the_runs_together_set_every_field_of_a_recipe():
    recipes = {run: task.recipe for run, task in RUNS.items()}
    of = {field: {getattr(recipe, field) for recipe in recipes.values()} for field in Recipe.model_fields}
    assert of["optimizer"] == {"adamw", "sgd", "rmsprop"}
    assert of["schedule"] == {"cosine", "step"}
    assert of["interpolation"] == {"bilinear", "bicubic"}
    for switch in ("nesterov", "zero_init_residual", "zero_init_classifier", "ema_warmup"):
        assert of[switch] == {False, True}
    for amount in ("label_smoothing", "dropout", "mirror", "jitter", "rand_augment", "ema_decay", "warmup_epochs"):
        assert min(of[amount]) == 0
        assert max(of[amount]) > 0
    assert None in of["norm_batch"]
    assert len(of["norm_batch"] | of["eval_crop"]) == 4


# It can fail: small changes of what is asked for, and of the code


def by(run, factor=1.0, **fields):
    """The run with another value in its recipe."""
    recipe = RUNS[run].recipe
    values = {name: getattr(recipe, name) * factor if value is None else value for name, value in fields.items()}
    return run, {"recipe": recipe.model_copy(update=values)}


CHANGES = {
    "learning rate by 2%": by(PRESETS, 1.02, lr=None),
    "label smoothing": by(PRESETS, label_smoothing=0.11),
    "dropout": by(PRESETS, dropout=0.19),
    "momentum of RMSProp": by(EFFICIENTNET, momentum=0.89),
    "magnitude of RandAugment": by(RESNET, rand_augment=8.5),
    "decay of the EMA": by(GHOSTNET, ema_decay=0.19),
    "crops of scenes": by(DETECTOR, crop_area=(0.79, 1.0)),
}
CLEARLY = 3
"""By how many tolerances a change must show."""


@pytest.mark.parametrize("change", CHANGES)
def test_a_small_change_of_meaning_shows(change):
    run, fields = CHANGES[change]
    where, off = worst(GOLDEN["runs"][run], measured(RUNS[run].model_copy(update=fields)))
    assert off > CLEARLY * TOLERANCES[run], f"{change} moves {where} by {off:.1e} only"


def _late(recipe, epoch, right=Recipe.learning_rate):
    """The learning rate of the step before."""
    return right(recipe, epoch - 1 / (48 // recipe.batch_size))


def _aliased(low, high, size, side, interpolation):
    """Resizing without antialiasing: pixels between the samples are left out."""
    at = low[:, None] + (torch.arange(side) + 0.5) * ((high - low) / side)[:, None]
    distance = (torch.arange(size)[None, None] + 0.5 - at[:, :, None]).abs()
    weights = (1 - distance).clamp(min=0)
    return weights / weights.sum(2, keepdim=True)


@pytest.mark.parametrize(
    ("place", "attribute", "other"),
    [
        (Recipe, "learning_rate", _late),
        (loop, "_DROPOUT", 5),
        (augment, "_filter", _aliased),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_change_of_the_code_shows(monkeypatch, place, attribute, other):
    monkeypatch.setattr(place, attribute, other)
    message = problem(PRESETS, GOLDEN, measured(RUNS[PRESETS]))
    assert message.startswith(f"{PRESETS}: training gives another loss although TRAINING_VERSION is still ")


# What a person is told


@pytest.fixture(scope="module")
def as_recorded():
    return copy.deepcopy(GOLDEN["runs"][PRESETS])


def test_each_kind_of_difference_has_a_message(as_recorded, monkeypatch):
    assert problem(PRESETS, GOLDEN, as_recorded) == ""
    losses = as_recorded["losses"] | {"ema": [x * 1.001 for x in as_recorded["losses"]["ema"]]}
    assert "raise TRAINING_VERSION" in problem(PRESETS, GOLDEN, as_recorded | {"losses": losses})
    assert "other images" in problem(PRESETS, GOLDEN, as_recorded | {"dataset_sha256": "0"})
    assert "the experiment has another key" in problem(PRESETS, GOLDEN, as_recorded | {"key": "0"})
    monkeypatch.setattr(golden, "TRAINING_VERSION", GOLDEN["training_version"] + 1)
    assert "run python tests/golden.py" in problem(PRESETS, GOLDEN, as_recorded)


def test_the_file_is_not_written_over_a_silent_change(as_recorded, monkeypatch, tmp_path):
    file = tmp_path / "golden.json"
    monkeypatch.setattr(golden, "FILE", file)
    monkeypatch.setattr(golden, "RUNS", {PRESETS: RUNS[PRESETS]})
    monkeypatch.setattr(golden, "measured", lambda _: as_recorded)

    def write(*arguments):
        return CliRunner().invoke(golden.golden, list(arguments))

    assert write().exit_code == 0
    assert json.loads(file.read_text(encoding="utf-8"))["runs"] == {PRESETS: as_recorded}
    before = file.read_bytes()
    changed = as_recorded | {
        "losses": as_recorded["losses"] | {"raw": [x + 0.01 for x in as_recorded["losses"]["raw"]]}
    }
    monkeypatch.setattr(golden, "measured", lambda _: changed)
    refused = write()
    assert refused.exit_code == 1
    assert "raise TRAINING_VERSION in tinynet_core/training/loop.py" in refused.output
    assert file.read_bytes() == before
    assert write("--accept").exit_code == 0
    assert json.loads(file.read_text(encoding="utf-8"))["runs"] == {PRESETS: changed}
