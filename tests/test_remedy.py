"""What the last line of a build says of records that are missing or stale."""

import pytest
from click.testing import CliRunner

from tinynet_book.site import build as site
from tinynet_core.cli import tinynet


@pytest.fixture
def built(made_up_study, tmp_path, monkeypatch):
    """``tinynet book smoke`` without papermill and Jupyter Book, on a store without its last ten records."""
    from fake_study import without

    store = without(made_up_study, tmp_path / "store", 10).store.root
    monkeypatch.setattr("tinynet_core.study.record.probe_hash", lambda dataset: dataset.key)
    for step in ("stage", "_jupyter_book", "write_sitemap"):
        monkeypatch.setattr(site, step, lambda *_, **__: None)

    def build(failed):
        monkeypatch.setattr(site, "execute_all", lambda *_: ([], failed))
        (tmp_path / "build").mkdir(exist_ok=True)
        arguments = ["book", "smoke", "--store", str(store), "--build", str(tmp_path / "build")]
        return CliRunner().invoke(tinynet, arguments), store

    return build


def test_missing_records_are_counted_and_named_with_the_command(built):
    done, store = built({"05_table1_tinynet.ipynb": "MissingRecords: 3 of 9 records are not in x"})
    assert done.exit_code == 1
    last = done.output.strip().splitlines()[-1]
    assert last.endswith(f"make them with: tinynet sweep smoke --store {store}")
    assert " missing records, such as " in last
    assert "05_table1_tinynet.ipynb: MissingRecords" in done.output


def test_another_failure_needs_no_records(built):
    done, _ = built({"05_table1_tinynet.ipynb": "ValueError: no"})
    assert done.exit_code == 1
    assert "make them with" not in done.output
