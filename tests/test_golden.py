import json

import pytest
from golden import FILE, RUNS, measured, problem

from tinynet_core.training.recipe import Recipe

GOLDEN = json.loads(FILE.read_text(encoding="utf-8"))
PRESETS = next(iter(RUNS))


@pytest.mark.parametrize("name", RUNS)
def test_training_gives_what_it_gave(name):
    if message := problem(name, GOLDEN, measured(RUNS[name])):
        pytest.fail(message, pytrace=False)


def test_a_change_of_the_code_shows(monkeypatch):
    """The learning rate of the step before."""
    right = Recipe.learning_rate
    monkeypatch.setattr(Recipe, "learning_rate", lambda self, epoch: right(self, epoch - 1 / (48 // self.batch_size)))
    message = problem(PRESETS, GOLDEN, measured(RUNS[PRESETS]))
    assert message.startswith(f"{PRESETS}: training gives another loss although TRAINING_VERSION is still ")
