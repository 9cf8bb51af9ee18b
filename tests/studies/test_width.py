"""The width study: what it returns, what it says while it runs, and what it refuses."""

import jax.random as jr
import matplotlib.pyplot as plt
import numpy as np
import pytest

import jaxflow as jf
from jaxflow.studies.width import JUDGING

WIDTHS = [8, 16, 32]
SAID = []


@pytest.fixture(scope="module")
def study():
    # In the shapes of the sweeps of tests/test_cli.py and tests/report.
    X, Y = (np.asarray(jr.normal(jr.key(k), (4, n))) for k, n in ((0, 8), (1, 1)))
    data = jf.Regression(X - X.mean(axis=0), Y - Y.mean(axis=0))
    yield jf.studies.width(
        data, WIDTHS, seeds=8, chunk=16, title="mine", progress=lambda *said: SAID.append(said)
    )
    plt.close("all")


def test_dataset_verdict_fit_and_figure(study):
    assert dict(study.dataset.sizes) == {"width": 3, "seed": 8, "time": 257}
    assert (study.dataset["status"] == 1).all()
    assert study.verdict.id == "min2021.rate"
    assert study.verdict.preset == "own"
    assert study.verdict.holds is True
    assert study.verdict.mutant["holds"] is False
    assert study.verdict.trajectories == 24
    assert study.fit.low < -0.5 < study.fit.high
    assert -0.8 < study.fit.slope < -0.3
    assert study.why == ""
    assert [row.width for row in study.rows] == WIDTHS
    law = study.dataset["off_span_law"].values
    assert np.all(np.abs(np.log([row.off_span for row in study.rows] / law)) < 0.5)
    assert study.figure.get_suptitle().startswith("mine: 4 samples, D = 8, m = 1, rank 3")
    assert 0 < study.time.compile <= study.time.seconds


def test_it_says_what_it_does_from_the_beginning(study):
    assert SAID[0] == ("preparing", 0, 24)
    assert ("solving", 24, 24) in SAID
    assert SAID[-1][0] == JUDGING
    assert "finer" in JUDGING


def test_it_prints_itself(study):
    shown = repr(study)
    assert "3 widths, 8 seeds per width" in shown
    assert "the rate bound holds" in shown
    assert f"h^{study.fit.slope:.3f}" in shown
    assert "24 trajectories of gradient flow" in repr(study.sweep)
    assert "width [8, 16, 32] x 8 seeds" in repr(study.sweep)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"data": "digits"}, "jf.Regression"),
        ({"widths": []}, "no values"),
        ({"alpha": 0.6}, "alpha"),
        ({"seeds": 0}, "seeds"),
        ({"rtol": 1e-20}, "rtol"),
    ],
)
def test_bad_input_gets_a_sentence(study, unchecked, changes, word):
    data = changes.pop("data", study.sweep.data)
    before = len(plt.get_fignums())
    with pytest.raises(ValueError, match=word):
        jf.studies.width(data, **{"widths": WIDTHS, **changes})
    assert len(plt.get_fignums()) == before
