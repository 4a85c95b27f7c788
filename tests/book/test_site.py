import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from bs4 import BeautifulSoup

from tinynet_book.paper import rows
from tinynet_book.paper.claims import claims, ledger
from tinynet_book.site.build import Built, _jupyter_book, make_book
from tinynet_core import MissingRecords, UserError
from tinynet_core.study.pages import PAGES, lacking, page_of, stages
from tinynet_core.study.presets import load_preset, project_root

ROOT = project_root()
LACKING = {page.notebook for name, page in PAGES.items() if lacking(load_preset("reduced"), name)}
"""Pages for which the published preset has not what they need."""
NOTEBOOKS = sorted({p.stem for p in (ROOT / "notebooks").glob("*.ipynb")} - LACKING)
FILES = ROOT / "_build" / "src" / "notebooks" / "files"
"""Of all figures and tables, in a folder for each page."""
RAW = re.compile(r"_|\b(top1|macs|flops|params|std|ema|wall)\b")
LONG = re.compile(r"[+−]?\d(?=[\d,.]*\.\d)[\d,.]*%?")
"""A number with decimals."""


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_page_names_its_evidence_and_its_figures_and_tables_explain_themselves(site, name):
    text = (site / "notebooks" / f"{name}.html").read_text(encoding="utf-8")
    assert f"Evidence: {page_of(name).evidence or 'proxy'}" in text
    assert "tag_remove-cell" not in text
    assert "MAC/s" not in text  # a progress bar
    page = BeautifulSoup(text, "html.parser")
    pictures, tables = page.select(".cell_output img"), page.select(".cell_output table")
    assert all(" " in picture["alt"] for picture in pictures)  # without a text it is the name of a file
    captions = [x.get_text(" ", strip=True) for x in page.select(".numbered")]
    wanted = [
        f"{kind} {int(name[:2])}.{i + 1} ."
        for kind, found in (("Figure", pictures), ("Table", tables))
        for i in range(len(found))
    ]
    assert pictures
    assert sorted(re.match(r"\S+ \S+ \.", caption)[0] for caption in captions) == sorted(wanted)
    assert len(page.select("details.origin")) == len(captions) >= 2
    assert all(len(caption) > 40 and caption.endswith(".") for caption in captions)
    for table in page.select(".cell_output table.dataframe"):
        check_table(table)


def check_table(table):
    """Words for headings, and few digits."""
    heads = [cell.get_text() for cell in table.select("thead th")]
    assert not [head for head in heads if RAW.search(head)]
    for row in table.select("tbody tr"):
        for head, cell in zip(heads, row.find_all(["th", "td"]), strict=True):
            text = cell.get_text()
            assert text not in ("nan", "None", "<NA>"), head
            assert "^" not in text
            if LONG.fullmatch(text):
                assert len(re.sub(r"[^\d]", "", text).lstrip("0")) <= 4, (head, text)
            if re.match(r"top-1.*\(%", head) and re.fullmatch(r"[\d.,]+", text):
                assert 0 <= float(text.replace(",", "")) <= 100, (head, text)


def test_the_numbers_of_every_figure_can_be_had_but_of_pictures(site):
    figures, numbers = ({path.stem for path in FILES.rglob(f"figure-*.{kind}")} for kind in ("png", "csv"))
    assert len(numbers) > 20
    # two of pictures, one empty with one seed
    assert figures - numbers <= {"figure-14-1", "figure-16-2", "figure-22-1"}


def test_a_printed_number_in_a_table_is_in_the_ledger(site):
    """Derived columns, such as differences, aside; Figure 7 has three systems that no table prints."""
    known = {float(claim.paper) for claim in claims().values() if not isinstance(claim.paper, bool)}
    known |= {float(row[key]) for row in rows("others") for key in ("macs", "top1")}
    seen = 0
    for path in FILES.rglob("table-*.csv"):
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        for name in table.columns[table.columns.str.contains(r"\bprinted\b|paper \(|quoted")]:
            if not re.search("points|ratio|off|left|check", name):
                numbers = re.findall(r"\d[\d,]*(?:\.\d+)?", " ".join(table[name]))
                assert {float(x.replace(",", "")) for x in numbers} <= known, (path.name, name)
                seen += len(numbers)
    assert seen > 300


def test_a_sweep_of_all_pages_finds_nothing_left_to_train(study):
    assert [task for stage in stages(study) for task in study.store.missing(stage)] == []


def test_the_data_set_can_be_downloaded(site, study):
    page = (site / "dataset.html").read_text(encoding="utf-8")
    files = {Path(link).name: site / link for link in re.findall(r'href="(_downloads/[^"]+)"', page)}
    assert sorted(files) == ["epochs.csv", "models.csv", "runs.csv"]
    assert len(pd.read_csv(files["models.csv"])) > study.preset.random_sample.models


def test_a_second_build_repeats_nothing_and_nothing_is_stale_or_failed(site, study, capsys):
    def state():
        paths = [*study.store.root.glob("*.jsonl"), *(ROOT / "_build" / "executed").rglob("*.ipynb"), *site.rglob("*")]
        return {path: path.stat().st_mtime_ns for path in paths if path.is_file()}

    before = state()
    assert make_book(study.preset.name) == Built(site / "index.html", stale=[], failed=[])
    said = capsys.readouterr().err
    assert "executed" not in said
    assert "building" not in said
    assert state() == before


def test_papermill_works_alone_from_another_folder(study, tmp_path):
    notebook = ROOT / "notebooks" / "05_table1_tinynet.ipynb"
    command = [sys.executable, "-m", "papermill", str(notebook), "out.ipynb", "-p", "preset", study.preset.name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert [p.name for p in tmp_path.iterdir()] == ["out.ipynb"]


def test_a_book_without_any_record_says_what_makes_them_before_any_work(tmp_path):
    with pytest.raises(MissingRecords) as raised:
        make_book("smoke", str(tmp_path / "store"), tmp_path / "build")
    assert re.match(r"(\d+) of \1 records are not in", str(raised.value))
    assert f"tinynet sweep smoke --store {tmp_path / 'store'}" in str(raised.value)
    assert not (tmp_path / "build").exists()


def test_a_warning_of_the_site_builder_is_an_error(tmp_path):
    for name, text in (
        ("_toc.yml", "format: jb-book\nroot: intro\n"),
        ("references.bib", ""),
        ("_static/x.css", ""),
        ("intro.md", "# Title\n\n[nowhere](nowhere.md)\n"),
    ):
        path = tmp_path / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="nowhere"):
        _jupyter_book(ROOT, tmp_path / "src", tmp_path, "", whole=True)
    assert not (tmp_path / "html").exists()


def test_the_verdicts_are_the_published_ones(study):
    """No verdict, number or interval of the ledger depends on the machine that executed the notebooks.

    After a change of the pages' rules the file is the ledger's columns of now.
    """
    published = (ROOT / "results" / study.preset.name / "verdicts.csv").read_text(encoding="utf-8")
    columns = published.partition("\n")[0].split(",")
    assert {"id", "evidence", "ours", "interval", "verdict"} == set(columns)
    assert ledger(study.store)[columns].to_csv(index=False) == published


FOUND = {
    "duel-formula-beats-giant": ("proxy", "−1.8 points [−7.8, +4.1]"),
    "duel-formula-beats-random": ("proxy", "7.6 points [3.5, 11.7]"),
    "table4-a-faster": ("measured", "11.2% less time than EfficientNet-B0 on one thread [11.0, 11.3]"),
    "table1-resolution-loses-more": ("third party", "−0.16, −0.17 and −0.41 points"),
    "table3-outperform-others": ("third party", "0.7 points [0.1, 1.3], TinyNet-D by 0.1 [−0.4, 0.7]"),
}


def test_what_the_readme_says_was_found_is_in_the_ledger(study):
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    table = ledger(study.store)
    exact = table[table.evidence == "recomputed"]
    hold = exact.verdict.isin(["matches", "within tolerance"]).sum()
    assert f"{hold} of {len(exact)} claims about costs and arithmetic hold" in readme
    numbers = re.compile(r"\d+\.\d")
    for key, (evidence, said) in FOUND.items():
        (row,) = table[(table.id == key) & (table.evidence == evidence)].itertuples()
        assert said in readme, key
        assert {*numbers.findall(said)} <= {*numbers.findall(f"{row.ours} {row.interval} {row.note}")}, key
