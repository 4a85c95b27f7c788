"""What a build says: of records that are missing or stale, of the notebooks' runs, and where the site is published."""

import pytest
from click.testing import CliRunner
from fake_study import without
from nbformat import write
from nbformat.v4 import new_notebook

from tinynet_book.site import build as site
from tinynet_book.site.stage import source
from tinynet_book.site.status import status
from tinynet_core.cli import tinynet
from tinynet_core.files import UserError


def test_missing_records_are_counted_and_named_with_the_command(made_up_study, tmp_path, monkeypatch):
    """``tinynet book smoke`` without papermill and Jupyter Book, on a store without its last ten records."""
    store = without(made_up_study, tmp_path / "store", 10).store.root
    monkeypatch.setattr("tinynet_core.study.record.probe_hash", lambda dataset: dataset.key)
    for step in ("stage", "_jupyter_book"):
        monkeypatch.setattr(site, step, lambda *_, **__: None)

    def build(failed):
        monkeypatch.setattr(site, "execute_all", lambda *_: ([], failed))
        (tmp_path / "build").mkdir(exist_ok=True)
        arguments = ["book", "smoke", "--store", str(store), "--build", str(tmp_path / "build")]
        done = CliRunner().invoke(tinynet, arguments)
        assert done.exit_code == 1
        return done.output.strip()

    said = build({"05_table1_tinynet.ipynb": "MissingRecords: 3 of 9 records are not in x"})
    assert said.endswith(f"make them with: tinynet sweep smoke --store {store}")
    assert "05_table1_tinynet.ipynb: MissingRecords" in said
    assert "make them with" not in build({"05_table1_tinynet.ipynb": "ValueError: no"})


def test_an_address_is_a_setting(monkeypatch):
    monkeypatch.setenv(site.SITE, " https://example.org/book/ ")
    assert site.published_at(site.SITE) == "https://example.org/book"
    monkeypatch.setenv(site.SITE, "https://e.org/?a=1")
    with pytest.raises(UserError, match=f"{site.SITE} must be an address such as "):
        site.published_at(site.SITE)


def test_every_notebook_has_its_last_run_and_what_is_stale_or_failed_and_records_are_counted(made_up_study, tmp_path):
    names = ("01_fig1_random_sampling", "06_table3_costs", "18_fig6_dimensions")
    paths = [tmp_path / f"{name}.ipynb" for name in names]
    for path in paths:
        last = {"end_time": "2026-01-02T03:04:05.678901+00:00", "duration": 61.4}
        write(new_notebook(metadata={"papermill": last}), path)
    stale = {"": ["3 records: old"], "fig1": ["2 records: old"]}
    text = status(paths, made_up_study, stale, {"06_table3_costs.ipynb": "ValueError: no\nfurther lines"})
    assert [line.partition(" | ")[2] for line in text.splitlines() if "ipynb" in line] == [
        "2026-01-02 03:04 | 0:01:01 | **stale**: 2 records: old |",
        "2026-01-02 03:04 | 0:01:01 | **failed**: `ValueError: no` |",
        "2026-01-02 03:04 | 0:01:01 | up to date |",
    ]
    assert f"Records: {len(made_up_study.store.frame())}, of which 1 failed." in text


def test_a_page_links_its_source_and_a_notebook_on_github_where_it_runs():
    notebook, own, github = "notebooks/05_x.ipynb", "https://example.org/o/p", "https://github.com/o/p"
    assert source("", notebook) == ""
    assert f"[{notebook}]({own}/blob/main/{notebook}), [edit it]({own}/edit/main/{notebook})" in source(own, notebook)
    assert f"(https://mybinder.org/v2/gh/o/p/main?urlpath=lab/tree/{notebook})" in source(github, notebook)
    assert f"(https://colab.research.google.com/github/o/p/blob/main/{notebook})" in source(github, notebook)
    assert "Colab" not in source(own, notebook) + source(github, "book/intro.md")
