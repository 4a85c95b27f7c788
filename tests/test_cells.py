from pathlib import Path

import pytest
import yaml

import tinynet_book.paper
from tinynet_book.paper import costs
from tinynet_book.paper.cells import TABLES, cells
from tinynet_book.paper.claims import claims, verdict

PRINTED = yaml.safe_load((Path(tinynet_book.paper.__file__).parent / "tables.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", TABLES)
def test_every_number_of_a_table_is_a_claim(name):
    """Read from the file without the package: what is a number there has a claim of that number."""
    by_place = {(cell.row, cell.column): cell for cell in cells(name)}
    count = 0
    for i, row in enumerate(PRINTED[name]):
        for column, number in row.items():
            if isinstance(number, (bool, int, float)):
                claim = claims()[by_place[i, column].id]
                assert claim.paper == number
                assert claim.source == f"Table {name[-1]}"
                assert claim.statement.endswith(".")
                count += 1
    assert count == len(by_place) > 10


def test_rows_that_share_a_network_share_its_costs_and_nothing_else():
    plain, augmented = ({c.column: c.id for c in cells("table3") if c.row == row} for row in (3, 5))
    assert plain["macs"] == augmented["macs"] == "table3-tinynet_a-macs"
    assert plain["top1"] == "table3-tinynet_a-top1"
    assert augmented["top1"] == "table3-tinynet_a_ra-top1"
    rule = [c.id for c in cells("table2") if c.row in (2, 5) and c.column == "top1"]
    assert rule == ["table2-resnet50_giant_a-top1", "table2-resnet50_giant_b-top1"]


def test_a_row_matches_where_none_of_its_costs_differs():
    for name in TABLES[:-1]:
        frame = costs(name)
        for cell in (c for c in cells(name) if c.column in ("params", "macs")):
            same = verdict(claims()[cell.id], frame[cell.column][cell.row] / 1e6) != "differs"
            assert same or not frame["match"][cell.row]
        for i, row in frame[~frame["match"]].iterrows():
            judged = [
                verdict(claims()[c.id], row[c.column] / 1e6) for c in cells(name) if c.row == i and c.column in row
            ]
            assert "differs" in judged, row.model


def test_a_printed_expansion_holds_to_half_a_step_of_the_inner_channels():
    claim = claims()["table7-row_3-exp"]  # from 28 channels, of which three times is 84, between 80 and 88
    assert verdict(claim, 88 / 28) == "within tolerance"
    assert verdict(claim, 96 / 28) == "differs"
