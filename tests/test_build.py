"""What a build says: of records that are missing or stale, and where the site is published."""

import re

import pytest
from click.testing import CliRunner
from fake_study import without

from tinynet_book.site import build as site
from tinynet_book.site import stage
from tinynet_core.cli import tinynet
from tinynet_core.files import UserError


@pytest.fixture
def built(made_up_study, tmp_path, monkeypatch):
    """``tinynet book smoke`` without papermill and Jupyter Book, on a store without its last ten records."""
    store = without(made_up_study, tmp_path / "store", 10).store.root
    monkeypatch.setattr("tinynet_core.study.record.probe_hash", lambda dataset: dataset.key)
    for step in ("stage", "_jupyter_book"):
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
    done, _ = built({"05_table1_tinynet.ipynb": "ValueError: no"})
    assert done.exit_code == 1
    assert "make them with" not in done.output


@pytest.mark.parametrize("setting", [site.SITE, site.REPOSITORY])
def test_an_address_is_a_setting(monkeypatch, setting):
    monkeypatch.delenv(setting, raising=False)
    assert site.published_at(setting) == ""
    for given in ("https://example.org/book/", " https://example.org ", ""):
        monkeypatch.setenv(setting, given)
        assert site.published_at(setting) == given.strip().removesuffix("/")
    for given in ("example.org/book", "ftp://example.org", "https://", "https://e.org/?a=1", "https://e.org/#a"):
        monkeypatch.setenv(setting, given)
        with pytest.raises(UserError, match=rf"{setting} must be an address such as .*, got {re.escape(repr(given))}"):
            site.published_at(setting)


def test_addresses_are_used_where_they_are_known():
    line = stage._source("https://example.org/o/p", "notebooks/01_x.ipynb")
    assert "[notebooks/01_x.ipynb](https://example.org/o/p/blob/main/notebooks/01_x.ipynb)" in line
    assert "[edit it](https://example.org/o/p/edit/main/notebooks/01_x.ipynb)" in line
    assert stage._source("", "notebooks/01_x.ipynb") == ""
    page = '<head><meta property="og:image" content="_static/card.png"/></head>'
    assert site._finished(page, "") == page
    assert 'content="https://example.org/b/_static/card.png"' in site._finished(page, "https://example.org/b")
