import html
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from bs4 import BeautifulSoup

from tinynet_book.paper.claims import claims, ledger
from tinynet_book.site.build import _jupyter_book, make_book
from tinynet_book.site.conclusions import questions
from tinynet_core import MissingRecords, UserError
from tinynet_core.study.pages import PAGES, lacking, page_of, stages
from tinynet_core.study.pages import stale as stale_of
from tinynet_core.study.presets import load_preset, project_root

ROOT = project_root()
LACKING = {page.notebook for name, page in PAGES.items() if lacking(load_preset("reduced"), name)}
"""Pages for which the published preset has not what they need."""
NOTEBOOKS = sorted({p.stem for p in (ROOT / "notebooks").glob("*.ipynb")} - LACKING)


SAYS = {
    "recomputed": "Nothing on this page was trained",
    "proxy": "with the preset",
    "quoted": "no GPU was timed",
    "measured": "Times are of the machine that the page names",
    "third party": "Others measured and published these numbers",
}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_notebook_is_a_page_with_its_figures_and_evidence_and_without_an_error(site, study, name):
    page = (site / "notebooks" / f"{name}.html").read_text(encoding="utf-8")
    evidence = page_of(name).evidence or "proxy"
    assert f"Evidence: {evidence}" in page
    assert SAYS[evidence] in page
    for wrong in ("tag_remove-cell", "Traceback", "MAC/s"):  # the last: a progress bar
        assert wrong not in page
    executed = nbformat.read(ROOT / "_build" / "executed" / study.preset.name / f"{name}.ipynb", as_version=4)
    cells = [c for c in executed.cells if c.cell_type == "code"]
    assert not [o for c in cells for o in c.outputs if o.output_type == "error"]
    described = ["alt" in c.metadata.get("mystnb", {}).get("image", {}) for c in cells]
    drawn = [sum("image/png" in o.get("data", {}) for o in c.outputs) for c in cells]
    assert sum(drawn) >= 1
    assert drawn == described


RAW = re.compile(r"_|\b(top1|macs|flops|params|std|ema|wall)\b")
LONG = re.compile(r"[+−]?\d(?=[\d,.]*\.\d)[\d,.]*%?")
"""A number with decimals."""


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_tables_have_words_for_headings_and_few_digits(site, name):
    page = BeautifulSoup((site / "notebooks" / f"{name}.html").read_bytes(), "html.parser")
    for table in page.select(".cell_output table.dataframe"):
        heads = [cell.get_text() for cell in table.select("thead th")]
        assert not [head for head in heads if RAW.search(head)]
        for row in table.select("tbody tr"):
            for head, cell in zip(heads, row.find_all(["th", "td"]), strict=True):
                text = cell.get_text()
                assert text not in ("nan", "None", "<NA>"), head
                assert "^" not in text
                if LONG.fullmatch(text):
                    digits = re.sub(r"[^\d]", "", text).lstrip("0")
                    assert len(digits) <= 4, (head, text)
                if re.match(r"top-1.*\(%", head) and re.fullmatch(r"[\d.,]+", text):
                    assert 0 <= float(text.replace(",", "")) <= 100, (head, text)


def test_the_figures_rest_on_records_of_trained_models(study):
    frame = study.random_sample()
    assert len(frame) == study.preset.random_sample.models
    assert frame.top1.max() > 3 / study.preset.dataset.classes
    records = study.store.records()
    assert all(record.done or record.reason for record in records)
    trained = [r for r in records if r.done and r.experiment.kind in ("training", "detection")]
    assert all(r.wall_s > 0 and len(r.curve) == r.experiment.recipe.epochs for r in trained)
    learned = [r.curve[-1]["train_loss"] < r.curve[0]["train_loss"] for r in trained]
    assert sum(learned) > 0.95 * len(learned)


def test_a_sweep_of_all_pages_finds_nothing_left_to_train_and_nothing_is_stale(study):
    assert [task for stage in stages(study) for task in study.store.missing(stage)] == []
    assert stale_of(study) == []
    assert ":class: danger" not in (ROOT / "_build" / "src" / "claims.md").read_text(encoding="utf-8")


def test_the_page_of_conclusions_answers_every_question_and_says_what_is_next(site):
    page, gpu = (
        html.unescape(re.sub("<[^>]+>", "", (site / f"{name}.html").read_text(encoding="utf-8")))
        for name in ("conclusions", "gpu")
    )
    for question in questions():
        assert question.question.replace("'", "’") in page
    assert "tinynet sweep imagenet100 --page fig1" in gpu


def test_the_data_set_can_be_downloaded(site, study):
    page = (site / "dataset.html").read_text(encoding="utf-8")
    files = {Path(link).name: site / link for link in re.findall(r'href="(_downloads/[^"]+)"', page)}
    assert sorted(files) == ["epochs.csv", "models.csv", "runs.csv"]
    assert len(pd.read_csv(files["models.csv"])) > study.preset.random_sample.models


def test_every_claim_is_answered(site, study):
    table = ledger(study.store)
    assert table.id.nunique() == len(claims())
    assert not (table.note == "its notebook was not run").any()
    exact = table[table.id.str.startswith("eq-tinynet")]
    assert set(exact.verdict) <= {"matches", "within tolerance"}
    page = (site / "claims.html").read_text(encoding="utf-8")
    assert all(f"{row.verdict}" in page for row in table.itertuples())


def test_a_second_build_repeats_nothing(site, study, capsys):
    def state():
        paths = [*study.store.root.glob("*.jsonl"), *(ROOT / "_build" / "executed").rglob("*.ipynb"), *site.rglob("*")]
        return {path: path.stat().st_mtime_ns for path in paths if path.is_file()}

    before = state()
    assert make_book(study.preset.name).index == site / "index.html"
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


def test_a_book_without_any_record_says_what_makes_them_before_any_work(tmp_path, capsys):
    with pytest.raises(MissingRecords) as raised:
        make_book("smoke", str(tmp_path / "store"), tmp_path / "build")
    assert re.match(r"(\d+) of \1 records are not in", str(raised.value))
    assert f"tinynet sweep smoke --store {tmp_path / 'store'}" in str(raised.value)
    assert "executed" not in capsys.readouterr().err
    assert not (tmp_path / "build" / "html").exists()


def test_a_warning_of_the_site_builder_is_an_error(tmp_path):
    for name, text in (("_toc.yml", "format: jb-book\nroot: intro\n"), ("references.bib", ""), ("_static/x.css", "")):
        path = tmp_path / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (tmp_path / "src" / "intro.md").write_text("# Title\n\n[nowhere](nowhere.md)\n", encoding="utf-8")
    with pytest.raises(UserError, match="nowhere"):
        _jupyter_book(ROOT, tmp_path / "src", tmp_path, "", whole=True)
    assert not (tmp_path / "html").exists()
    assert "WARNING" in (tmp_path / "jupyter-book.log").read_text(encoding="utf-8")


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
