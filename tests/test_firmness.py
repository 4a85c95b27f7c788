"""What the page of conclusions says of seeds and of the formula, on made-up records."""

import re

import numpy as np

from tinynet_core import TinyFormula
from tinynet_core.book.firmness import firmness


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
        assert f"explains {gain:+.0%} of the squared error" in line
        assert re.search(rf"\d of {len(kept)} lie in its 95% band", line)


def test_a_study_with_seeds(made_up_study, monkeypatch):
    """Two networks with log odds one standard deviation of 0.2 either side of 80%: 0.2 * 0.8 * 0.2 is 3.2 points."""
    runs = made_up_study.named_frame(made_up_study.series("table3"))
    tops = 1 / (1 + np.exp(-(np.log(4) + 0.2 * np.array([-1, 1]) / np.sqrt(2))))
    two = runs.head(4).assign(model=["a", "a", "b", "b"], top1=[*tops, *tops], status="done")
    monkeypatch.setattr(type(made_up_study), "named_frame", lambda self, series: two)
    seeds, *_ = firmness(made_up_study).splitlines()
    assert "3.20 points [" in seeds
    assert "(4 runs of 2 networks)" in seeds
