"""What the page of conclusions says of seeds and of the formula, on made-up records."""

import re

import numpy as np
import pytest

from tinynet_book.analysis.spread import power
from tinynet_book.site.conclusions import firmness
from tinynet_core import TinyFormula
from tinynet_core.study.spread import seed_spread


def test_a_study_with_one_seed(made_up_study):
    seeds, r, d = firmness(made_up_study).splitlines()
    assert seeds == "- *Seeds:* every network has one, so nothing can be told of the luck in an accuracy."
    kept = made_up_study.random_sample().query("frontier").sort_values("macs")
    for x, line in (("r", r), ("d", d)):
        by_formula, by_mean = [], []
        for i in range(len(kept)):
            others = kept.drop(index=kept.index[i])
            predicted = TinyFormula(restarts=1).fit(others.c, others.r, others.d).predict([kept.c.iloc[i]])[0]
            by_formula.append(predicted["rd".index(x)] - kept[x].iloc[i])
            by_mean.append(others[x].mean() - kept[x].iloc[i])
        gain = 1 - np.square(by_formula).sum() / np.square(by_mean).sum()
        assert f"its squared error is {abs(gain):.0%} {'less' if gain > 0 else 'more'} than that of" in line
        assert re.search(rf"\d of {len(kept)} lie in its 95% band", line)


def test_a_study_with_seeds(made_up_study, monkeypatch):
    """Two networks with log odds one standard deviation of 0.2 either side of 80%: 0.2 * 0.8 * 0.2 is 3.2 points."""
    odds = np.log(4) + 0.2 * np.array([-1, 1]) / np.sqrt(2)
    monkeypatch.setattr("tinynet_book.site.conclusions.study_spread", lambda study: seed_spread({"a": odds, "b": odds}))
    seeds, *_ = firmness(made_up_study).splitlines()
    assert "3.20 points [" in seeds
    assert "(4 runs of 2 networks)" in seeds
    for word, sign in (("below", -1), ("above", 1)):
        top1 = float(re.search(rf"{word} ([\d.]+)%", seeds)[1]) / 100
        assert sign * (top1 - 0.8) > 0
        assert power(np.log(top1 / (1 - top1)) - np.log(4), 0.2, 3, freedom=2) == pytest.approx(0.8, abs=0.01)
