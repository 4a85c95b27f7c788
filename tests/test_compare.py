"""Several budgets and all methods side by side."""

import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from tinynet_core import UnreachableBudget, shrink
from tinynet_core.cli import compared_text, tinynet
from tinynet_core.scaling.shrink import METHODS, compare

pytestmark = pytest.mark.filterwarnings("ignore::tinynet_core.scaling.shrink.BudgetWarning")
BUDGETS = [300e6, 2e9]


@pytest.fixture(scope="module")
def found():
    return compare("resnet50", BUDGETS)


def test_every_row_is_what_shrink_gives(found):
    assert [*zip(found.wanted, found.method, strict=True)] == [(wanted, x) for wanted in BUDGETS for x in METHODS]
    for row in found.itertuples():
        if row.reason:
            with pytest.raises(UnreachableBudget, match="below the smallest reachable cost"):
                shrink("resnet50", row.wanted, row.method)
            continue
        answer = shrink("resnet50", row.wanted, row.method)
        scale, cost = answer.scale, answer.complexity
        assert (row.r, row.d, row.w, row.macs, row.params) == (scale.r, scale.d, scale.w, cost.macs, cost.params)
        assert row.off == answer.error
    assert [x.method for x in found.itertuples() if x.reason] == ["d"]


def test_the_command_prints_writes_and_draws_it(found, tmp_path):
    csv, picture = tmp_path / "x.csv", tmp_path / "x.png"
    asked = ["shrink", "resnet50", "--macs", "300M, 2G", "--csv", str(csv), "--plot", str(picture)]
    done = CliRunner().invoke(tinynet, asked, catch_exceptions=False)
    assert done.output.strip() == compared_text(found)
    assert "none: resnet50 shrunk by d: budget 3e+08 is below" in done.output
    pd.testing.assert_frame_equal(
        pd.read_csv(csv, keep_default_na=True).drop(columns="reason"), found.drop(columns="reason"), check_dtype=False
    )
    assert Image.open(picture).size[0] > 600


@pytest.mark.parametrize(
    "extra", [["--params", "3M"], ["--json"], ["--fix", "r=1"], ["--resolution", "96"], ["--latency", "3"]]
)
def test_what_a_table_does_not_take(extra):
    done = CliRunner().invoke(tinynet, ["shrink", "resnet50", "--macs", "1G,2G", *extra])
    assert done.exit_code == 2
    assert (
        "a table takes --macs alone as its budgets, and none of --fix, --resolution, --init and --json" in done.output
    )
