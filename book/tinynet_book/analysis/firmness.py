"""What a study can tell at all: how far seeds differ, and what the tiny formula knows of models it has not seen."""

from tinynet_book.analysis.comparison import ENOUGH_SEEDS
from tinynet_book.analysis.robustness import FEWEST, coverage, leave_one_out, prediction_errors
from tinynet_book.analysis.spread import study_spread, told_apart
from tinynet_book.figures import DIMENSIONS
from tinynet_book.site.conclusions import page_link
from tinynet_core.scaling.formula import TinyFormula
from tinynet_core.study.study import Study

NEAR = 0.8
"""Accuracy of the network that another is to be told from."""


def firmness(study: Study) -> str:
    """A Markdown list for the page of conclusions."""
    return "\n".join([_seeds(study.sampled), *_formula(study.sampled)])


def _seeds(study: Study) -> str:
    spread = study_spread(study)
    if not spread.known:
        return "- *Seeds:* every network has one, so nothing can be told of the luck in an accuracy."
    below, above = told_apart(NEAR, spread.sd, ENOUGH_SEEDS, spread.freedom)
    return (
        f"- *Seeds:* the standard deviation between the seeds of one network is {spread.at(0.5)} at 50% top-1, "
        f"{spread.at(0.8)} at 80% and {spread.at(0.95)} at 95% ({spread.runs} runs of {spread.networks} networks). "
        f"Beside a network at {NEAR:.0%}, {ENOUGH_SEEDS} seeds of each show a difference in four of five studies only "
        f"where the other is truly below {below:.1%} or above {above:.1%} ({page_link('22_spread_of_seeds')})."
    )


def _formula(study: Study) -> list[str]:
    if study.preset.random_sample is None:
        return ["- *The formula:* this preset has no random sample to fit one on."]
    models = study.random_sample()
    kept = models[models.frontier].sort_values("macs")
    if len(kept) <= FEWEST:
        return [f"- *The formula:* {len(kept)} frontier models are too few to leave one out."]
    left = leave_one_out(kept, TinyFormula(restarts=1))
    errors, bands = prediction_errors(left), coverage(left, (0.95,)).set_index("dimension").inside
    lines = []
    for x in "rd":
        gain = 1 - (errors[x]["formula"] / errors[x]["mean of the others"]) ** 2
        lines.append(
            f"- *The formula, {DIMENSIONS[x]}:* for a frontier model left out of the fit its squared error is "
            f"{abs(gain):.0%} {'less' if gain > 0 else 'more'} than that of taking the mean of the others; "
            f"{bands[x]} of {len(left)} lie in its 95% band ({page_link('23_robustness_of_the_formula')})."
        )
    return lines
