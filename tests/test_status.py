import re
from importlib.metadata import version

import pytest
import yaml
from nbformat import write
from nbformat.v4 import new_notebook
from tiny_preset import TINY

from tinynet_book.site.status import status
from tinynet_core import Study


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY), encoding="utf-8")
    return str(path)


@pytest.fixture
def executed(tmp_path):
    """Two executed notebooks, the first on trained records, the second on none."""
    paths = []
    for name, about in (("01_fig1_random_sampling", {}), ("06_table3_costs", {"evidence": "recomputed"})):
        last = {"end_time": "2026-01-02T03:04:05.678901+00:00", "duration": 61.4}
        paths.append(tmp_path / f"{name}.ipynb")
        write(new_notebook(metadata={"papermill": last, "tinynet": about}), paths[-1])
    return paths


def test_every_notebook_has_its_last_run(executed, tiny, tmp_path):
    text = status(executed, Study(tiny, tmp_path / "store"), {}, {})
    link = "[Figure 1: random sampling against the inverse giant formula](notebooks/01_fig1_random_sampling.ipynb)"
    assert f"| {link} | 2026-01-02 03:04 | 0:01:01 | up to date |" in text
    assert f"torch {version('torch')}" in text
    assert "Records:" not in text


def test_what_is_stale_or_failed_is_in_plain_sight(executed, tiny, tmp_path):
    stale = {"": ["3 records: old"], "fig1": ["2 records: old"], "table3": ["1 record: old"]}
    failed = {"06_table3_costs.ipynb": "ValueError: no\nfurther lines"}
    lines = status(executed, Study(tiny, tmp_path / "store"), stale, failed).splitlines()
    assert [line.split(" | ")[-1] for line in lines if "ipynb" in line] == [
        "**stale**: 2 records: old |",
        "**failed**: `ValueError: no` |",
    ]


def test_records_are_counted(executed, made_up_study):
    text = status(executed, made_up_study, {}, {})
    count = len(made_up_study.store.frame())
    assert re.search(
        rf"Records: {count}, of which 1 failed\. Training time, detectors included: \d:\d\d:\d\d in all", text
    )
