import json

import pytest
from golden import FILE, RUNS, TOLERANCES, measured

from tinynet_core.study.record import provenance
from tinynet_core.training.loop import TRAINING_VERSION

GOLDEN = json.loads(FILE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", RUNS)
def test_training_gives_what_it_gave(name, one_thread):
    """Where the meaning of a training changed, raise TRAINING_VERSION and run ``python tests/golden.py``."""
    expected, found = GOLDEN["runs"][name], measured(RUNS[name])
    packages = f"golden.json was made with {GOLDEN['packages']}, here are {provenance('cpu')['packages']}"
    assert GOLDEN["training_version"] == TRAINING_VERSION
    assert found["key"] == expected["key"], "no record is found any more"
    assert found["dataset_sha256"] == expected["dataset_sha256"], packages
    for split, losses in expected["losses"].items():
        assert found["losses"][split] == pytest.approx(losses, rel=TOLERANCES[name]), packages
