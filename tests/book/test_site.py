import html
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from tinynet_book.paper.claims import claims, ledger
from tinynet_book.paper.questions import questions
from tinynet_core.study.pages import page_of, stages
from tinynet_core.study.pages import stale as stale_of
from tinynet_core.study.presets import project_root

ROOT = project_root()
NOTEBOOKS = sorted(p.stem for p in (ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_notebook_has_a_page_with_its_evidence(site, name):
    page = (site / "notebooks" / f"{name}.html").read_text(encoding="utf-8")
    evidence = page_of(name).evidence or "proxy"
    assert f"Evidence: {evidence}" in page
    says = {
        "recomputed": "Nothing on this page was trained",
        "proxy": "with the preset",
        "quoted": "no GPU was timed",
        "measured": "Times are of the machine that the page names",
        "third party": "Others measured and published these numbers",
    }
    assert says[evidence] in page
    assert "tag_remove-cell" not in page
    assert "Traceback" not in page
    assert "MAC/s" not in page  # a progress bar


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_executed_notebook_shows_its_figures_and_no_error(study, name):
    executed = nbformat.read(ROOT / "_build" / "executed" / study.preset.name / f"{name}.ipynb", as_version=4)
    cells = [c for c in executed.cells if c.cell_type == "code"]
    assert not [o for c in cells for o in c.outputs if o.output_type == "error"]
    described = ["alt" in c.metadata.get("mystnb", {}).get("image", {}) for c in cells]
    drawn = [sum("image/png" in o.get("data", {}) for o in c.outputs) for c in cells]
    assert sum(drawn) >= 1
    assert drawn == described


def test_the_figures_rest_on_records_of_trained_models(study):
    frame = study.random_sample()
    assert len(frame) == study.preset.random_sample.models
    records = study.store.records()
    assert all(record.done or record.reason for record in records)
    trained = [r for r in records if r.done and r.experiment.kind in ("training", "detection")]
    assert all(r.wall_s > 0 and len(r.curve) == r.experiment.recipe.epochs for r in trained)
    learned = [r.curve[-1]["train_loss"] < r.curve[0]["train_loss"] for r in trained]
    assert sum(learned) > 0.95 * len(learned)


def test_a_sweep_of_all_pages_finds_nothing_left_to_train(study):
    for stage in stages(study):
        assert study.store.missing(stage) == []


def test_some_models_learn(study):
    assert study.random_sample().top1.max() > 3 / study.preset.dataset.classes


def test_nothing_is_stale(study):
    assert stale_of(study) == []
    assert ":class: danger" not in (ROOT / "_build" / "src" / "claims.md").read_text(encoding="utf-8")


def test_the_page_of_conclusions_answers_every_question_and_says_what_is_next(site):
    page = html.unescape(re.sub("<[^>]+>", "", (site / "conclusions.html").read_text(encoding="utf-8")))
    for question in questions():
        assert question.question.replace("'", "’") in page
    assert "tinynet sweep imagenet100 --page fig1" in page


def test_the_data_set_can_be_downloaded(site, study):
    page = (site / "dataset.html").read_text(encoding="utf-8")
    files = {Path(link).name: site / link for link in re.findall(r'href="(_downloads/[^"]+)"', page)}
    assert sorted(files) == [
        *("README.md", "epochs.csv", "epochs.parquet", "models.csv", "models.parquet", "runs.csv", "runs.parquet"),
        "settings.json",
    ]
    models = pd.read_parquet(files["models.parquet"])
    assert len(models) > study.preset.random_sample.models


def test_every_claim_is_answered(site, study):
    table = ledger(study.store)
    assert table.id.nunique() == len(claims())
    assert not (table.note == "its notebook was not run").any()
    exact = table[table.id.str.startswith("eq-tinynet")]
    assert set(exact.verdict) <= {"matches", "within tolerance"}
    page = (site / "claims.html").read_text(encoding="utf-8")
    assert all(f"{row.verdict}" in page for row in table.itertuples())


def test_a_second_build_repeats_nothing(site, study):
    def state():
        paths = [
            *study.store.root.rglob("*.jsonl"),
            *(ROOT / "_build" / "executed").rglob("*"),
            *site.rglob("*"),
        ]
        return {p: p.stat().st_mtime_ns for p in paths if "claims" not in p.parts and p.is_file()}

    before = state()
    command = [sys.executable, "-m", "tinynet_core.cli", "book", study.preset.name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    assert "executed" not in done.stderr
    assert "building" not in done.stderr
    after = state()
    assert {p: t for p, t in after.items() if p.name != "inputs.json"} == {
        p: t for p, t in before.items() if p.name != "inputs.json"
    }


@pytest.mark.parametrize("name", NOTEBOOKS[:1])
def test_papermill_works_alone_from_another_folder(study, name, tmp_path):
    command = [sys.executable, "-m", "papermill", str(ROOT / "notebooks" / f"{name}.ipynb"), "out.ipynb"]
    done = subprocess.run(
        [*command, "-p", "preset", study.preset.name], cwd=tmp_path, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert [p.name for p in tmp_path.iterdir()] == ["out.ipynb"]


def test_papermill_with_a_misspelt_parameter_says_so(tmp_path):
    command = [sys.executable, "-m", "papermill", str(ROOT / "notebooks" / f"{NOTEBOOKS[0]}.ipynb"), "out.ipynb"]
    done = subprocess.run(
        [*command, "-p", "prest", "smoke"], cwd=tmp_path, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode != 0
    assert "unknown notebook parameter 'prest', known: preset, store, train" in done.stderr


def test_a_book_without_any_record_says_what_makes_them_before_any_work(tmp_path):
    command = [sys.executable, "-m", "tinynet_core.cli", "book", "smoke"]
    where = ["--store", str(tmp_path / "store"), "--build", str(tmp_path / "build")]
    done = subprocess.run([*command, *where], cwd=tmp_path, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 2
    assert re.search(r"error: (\d+) of \1 records are not in", done.stderr)
    assert "executed" not in done.stderr
    assert f"tinynet sweep smoke --store {tmp_path / 'store'}" in done.stderr
    assert not (tmp_path / "build" / "html").exists()
    assert "Traceback" not in done.stderr


def test_a_warning_of_the_site_builder_is_an_error(site, tmp_path):
    from tinynet_book.site.build import BookError, _jupyter_book

    sources = tmp_path / "src"
    sources.mkdir()
    (sources / "_toc.yml").write_text("format: jb-book\nroot: intro\n", encoding="utf-8")
    (sources / "references.bib").write_text("", encoding="utf-8")
    (sources / "_static").mkdir()
    (sources / "intro.md").write_text("# Title\n\n[nowhere](nowhere.md)\n", encoding="utf-8")
    with pytest.raises(BookError, match="nowhere"):
        _jupyter_book(ROOT, sources, tmp_path, "", whole=True)
    assert not (tmp_path / "html").exists()
    assert "WARNING" in (tmp_path / "jupyter-book.log").read_text(encoding="utf-8")
    _jupyter_book(ROOT, sources, tmp_path, "", whole=False)
    assert (tmp_path / "html" / "intro.html").exists()


def test_the_verdicts_are_the_published_ones(study):
    """No verdict, number or interval of the ledger depends on the machine that executed the notebooks.

    After a change of the pages' rules the file is the ledger's columns of now.
    """
    published = (ROOT / "results" / study.preset.name / "verdicts.csv").read_text(encoding="utf-8")
    columns = published.partition("\n")[0].split(",")
    assert {"id", "evidence", "ours", "interval", "verdict"} == set(columns)
    assert ledger(study.store)[columns].to_csv(index=False) == published
