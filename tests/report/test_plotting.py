"""Figures and numbers of a sweep over widths, against the dataset they are made from."""

import dataclasses
import os

import jax.random as jr
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

import jaxflow as jf
from jaxflow import report as plotting
from jaxflow.claims import find
from jaxflow.papers.min2021 import rate_sweep
from jaxflow.report.verdict import verdict_figure
from jaxflow.sweeps.summary import by_width, exponent, settled, width_exponent

WIDTHS = [8, 16, 32]


@pytest.fixture(scope="module")
def dataset():
    # In the shapes of the sweep of tests/test_cli.py: centred, four samples have rank three.
    X, Y = (np.asarray(jr.normal(jr.key(k), (4, n))) for k, n in ((0, 8), (1, 1)))
    data = jf.Regression(X - X.mean(axis=0), Y - Y.mean(axis=0))
    kept = (*jf.measures.standard(), *jf.measures.curves())
    options = {"widths": WIDTHS, "seeds": 8, "chunk": 16, "measures": kept}
    return jf.run(rate_sweep(data, jf.init.Gaussian(), **options))


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def drawn(dataset, **options):
    figure = plotting.sweep_figure(dataset, **options)
    figure.draw_without_rendering()
    return figure


def labels(ax):
    return {line.get_label() for line in ax.lines}


def bars(ax):
    return {bar.get_label(): bar for bar in ax.containers}


def broken(dataset, where):
    """The dataset with the trajectories `where` not finite."""
    names = ["log_excess_end", "log_excess", "slack", "measured_rate", "off_span_distance"]
    bad = dataset.assign({name: dataset[name].where(~where) for name in names})
    return bad.assign(status=dataset["status"].where(~where, 3))


def powers(slope, *, widths=WIDTHS, seeds=16, noise=0.0, rng=0):
    rng = np.random.default_rng(rng)
    clean = 3.0 * np.asarray(widths, float)[:, None] ** slope
    return clean * (1 + noise * rng.standard_normal((len(widths), seeds)))


# The figure


def test_every_panel_is_labelled_and_titled(dataset):
    figure = drawn(dataset, title="four samples")
    assert len(figure.axes) == 3
    for ax in figure.axes:
        assert ax.get_xlabel()
        assert ax.get_ylabel()
        assert ax.get_title(loc="left")
    assert figure.get_suptitle() == "four samples"


def test_one_line_a_width_and_the_envelope(dataset):
    ax = drawn(dataset).axes[0]
    assert {line.get_label() for line in ax.lines} == {"8", "16", "32", "bound"}
    colours = {line.get_color() if isinstance(line.get_color(), str) else tuple(line.get_color())
               for line in ax.lines}  # fmt: skip
    assert len(colours) == 4
    lines = {line.get_label(): np.asarray(line.get_data()) for line in ax.lines}
    clock, bound = lines.pop("bound")
    np.testing.assert_allclose(bound, -clock / np.log(10))
    np.testing.assert_allclose(bound[-1], -20, atol=0.1)  # followed to 1e-20
    for x, y in lines.values():
        assert len(x) > 20  # as long as it runs
        np.testing.assert_allclose(x, clock[: len(x)])
        assert y[0] == pytest.approx(0, abs=1e-12)
        assert y[-1] < -15
        assert np.all(y <= bound[: len(y)] + 1e-9)
        assert np.all(np.diff(y) <= 1e-9)


def test_a_median_is_that_of_the_trajectories(dataset):
    (line,) = [x for x in drawn(dataset.isel(width=[1])).axes[0].lines if x.get_label() == "16"]
    grid, shown = line.get_data()
    cell = dataset.sel(width=16)
    here = []
    for seed in range(8):
        one = cell.isel(seed=seed)
        clock = (one["t"] * one["bound_rate"]).values
        here.append(np.interp(grid[40], clock, one["log_excess"] - one["log_excess_start"]))
    assert shown[40] == pytest.approx(np.median(here) / np.log(10))


def test_the_tightness_panel_counts_every_trajectory(dataset):
    ax = drawn(dataset).axes[1]
    assert sum(patch.get_height() for bars in ax.containers for patch in bars) >= 24
    top = max(patch.get_y() + patch.get_height() for bars in ax.containers for patch in bars)
    assert top <= 24
    assert any(np.all(np.asarray(line.get_xdata()) == 1) for line in ax.lines)


def test_a_settled_sweep_shows_the_off_span_points_and_says_how_settled(dataset):
    assert settled(dataset)
    ax = drawn(dataset).axes[2]
    assert ax.get_xscale() == ax.get_yscale() == "log"
    (name,) = bars(ax)
    assert "off the span" in name
    x, y = bars(ax)[name].lines[0].get_data()
    np.testing.assert_array_equal(x, WIDTHS)
    np.testing.assert_allclose(y, dataset["off_span_distance"].median("seed"))
    (text,) = [text.get_text() for text in ax.texts]
    assert f"{float(dataset['in_span_distance'].max()):.0e}" in text
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["8", "16", "32"]


def test_an_unsettled_sweep_shows_the_in_span_points_too(dataset):
    unsettled = dataset.assign(in_span_distance=0.5 * dataset["off_span_distance"])
    assert not settled(unsettled)
    ax = drawn(unsettled).axes[2]
    found = bars(ax)
    assert len(found) == 2
    (inside,) = [bar for name, bar in found.items() if "in the span" in name]
    x, y = inside.lines[0].get_data()
    np.testing.assert_array_equal(x, WIDTHS)
    np.testing.assert_allclose(y, 0.5 * dataset["off_span_distance"].median("seed"))
    assert not ax.texts


def test_the_fit_and_the_law_are_drawn_where_there_are_any(dataset):
    assert not any("slope" in label for label in labels(drawn(dataset).axes[2]))
    fit, _ = width_exponent(dataset, features=8, rank=3)
    law = dataset.assign(off_span_law=("width", [0.6, 0.5, 0.4]))
    ax = drawn(law, fit=fit).axes[2]
    lines = {line.get_label(): np.asarray(line.get_ydata()) for line in ax.lines}
    (slope,) = [y for label, y in lines.items() if f"{fit.slope:.3f}" in label]
    np.testing.assert_allclose(slope, fit(WIDTHS))
    np.testing.assert_array_equal(lines["wide-network law"], [0.6, 0.5, 0.4])


@pytest.mark.parametrize("pick", [{"width": [0]}, {"seed": [0]}, {"width": [2, 0, 1]}])
def test_one_width_one_seed_any_order(dataset, pick):
    figure = drawn(dataset.isel(pick))
    assert len(figure.axes[0].lines) == 1 + len(pick.get("width", WIDTHS))


def test_an_axis_more_is_drawn_together(dataset):
    both = xr.concat([dataset, dataset], "alpha")
    figure = drawn(both)
    assert len(figure.axes[0].lines) == 4
    tops = [p.get_height() for bars in figure.axes[1].containers for p in bars]
    assert sum(tops) >= 48


def test_one_failed_trajectory_leaves_the_others_curves(dataset):
    ax = drawn(broken(dataset, (dataset["seed"] == 0) & (dataset["width"] == 8))).axes[0]
    whole = {
        line.get_label(): np.asarray(line.get_ydata()) for line in drawn(dataset).axes[0].lines
    }
    for line in ax.lines:
        y = np.asarray(line.get_ydata())
        assert len(y) > 20, line.get_label()
        assert np.all(np.isfinite(y)), line.get_label()
        if line.get_label() != "8":
            np.testing.assert_array_equal(y, whole[line.get_label()])


def test_a_sweep_that_failed_altogether_is_still_a_figure(dataset):
    assert len(drawn(broken(dataset, dataset["status"] >= 0)).axes) == 3


def test_a_width_without_a_bound_has_no_curve_on_the_bounds_clock(dataset):
    some = dataset["width"] > 8
    none = dataset.assign(
        c=dataset["c"].where(some, 0),
        bound_rate=dataset["bound_rate"].where(some, 0),
        slack=dataset["slack"].where(some, np.inf),
    )
    figure = drawn(none)
    for line in figure.axes[0].lines:
        if line.get_label() == "8":
            assert not np.any(np.isfinite(np.asarray(line.get_ydata(), float)))
    assert sum(p.get_height() for bars in figure.axes[1].containers[:1] for p in bars) == 0


def test_no_bound_anywhere_is_said_so(dataset):
    figure = drawn(
        dataset.assign(bound_rate=0 * dataset["bound_rate"], slack=0 * dataset["slack"] + np.inf)
    )
    assert any("no trajectory" in text.get_text() for text in figure.axes[1].texts)


def test_nothing_outside_a_figure_is_restyled(dataset):
    before = dict(plt.rcParams)
    drawn(dataset)
    assert dict(plt.rcParams) == before


# Saving


@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG"), (".pdf", b"%PDF")])
def test_a_figure_is_saved_in_the_format_of_its_suffix(dataset, tmp_path, suffix, magic):
    path = tmp_path / "deep" / "er" / f"figure{suffix}"
    plotting.save_figure(plotting.sweep_figure(dataset), path)
    assert path.read_bytes().startswith(magic)
    assert os.listdir(path.parent) == [path.name]


def test_a_figure_that_cannot_be_written_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "figure.png"
    path.write_bytes(b"old")

    def half(figure, target, **options):
        target.write_bytes(b"half")
        raise OSError("the disk is full")

    monkeypatch.setattr(Figure, "savefig", half)
    with pytest.raises(OSError, match="full"):
        plotting.save_figure(plt.figure(), path)
    assert os.listdir(tmp_path) == ["figure.png"]
    assert path.read_bytes() == b"old"


# The exponent


@pytest.mark.parametrize("widths", [[8, 16, 32], [5, 64, 100, 4096, 10**9]])
def test_the_exponent_is_polyfits(widths):
    distances = powers(-0.5, widths=widths, noise=0.2)
    fit = exponent(np.asarray(widths), distances)
    slope, intercept = np.polyfit(np.log(widths), np.log(distances.mean(axis=1)), 1)
    np.testing.assert_allclose([fit.slope, fit.log_intercept], [slope, intercept], rtol=1e-10)
    np.testing.assert_allclose(fit(widths), np.exp(np.polyval([slope, intercept], np.log(widths))))
    assert fit.low < fit.slope < fit.high
    assert fit.slope - fit.low == pytest.approx(fit.high - fit.slope)


def test_an_exact_power_law_has_an_exact_exponent():
    fit = exponent(np.asarray(WIDTHS), powers(-0.5))
    np.testing.assert_allclose([fit.slope, fit.low, fit.high], -0.5, atol=1e-12)
    assert fit(4) == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("widths", "least", "most"),
    [
        # Two widths have no scatter: the sampling interval alone, at its level.
        ([8, 64], 0.92, 0.98),
        # Eight have both, and the wider of the two covers a little more than its level.
        ([8, 16, 32, 64, 128, 256, 512, 1024], 0.94, 1.0),
    ],
)
def test_the_interval_covers_at_its_level(widths, least, most):
    rng = np.random.default_rng(5)
    clean = powers(-0.5, widths=widths, seeds=40)
    covered = []
    for _ in range(1000):
        noisy = clean * (1 + 0.3 * rng.standard_normal(clean.shape))
        fit = exponent(np.asarray(widths), noisy)
        covered.append(fit.low <= -0.5 <= fit.high)
    assert least <= np.mean(covered) <= most


def test_the_interval_shrinks_with_seeds_and_knows_scatter_about_the_line():
    few, many = (exponent(np.asarray(WIDTHS), powers(-0.5, seeds=n, noise=0.1)) for n in (4, 4000))
    assert many.high - many.low < few.high - few.low
    bent = np.repeat([[1.0], [2.0], [1.0], [2.0]], 50, axis=1)
    fit = exponent(np.array([8, 16, 32, 64]), bent)
    assert fit.low < 0 < fit.high  # no noise at all, yet no power law


@pytest.mark.parametrize(
    ("widths", "distances"),
    [
        ([8], powers(-0.5, widths=[8])),
        (WIDTHS, np.zeros((3, 4))),
        (WIDTHS, np.where(np.arange(12).reshape(3, 4) == 5, np.nan, 1.0)),
        (WIDTHS, np.where(np.arange(12).reshape(3, 4) == 5, np.inf, 1.0)),
        (WIDTHS, np.stack([np.ones(4), np.zeros(4), np.ones(4)])),
        ([8, 16], np.array([[1.0], [0.7]])),  # two numbers have a slope, but no uncertainty
    ],
)
def test_no_exponent_where_there_is_no_telling(widths, distances):
    assert exponent(np.asarray(widths), distances) is None


def test_the_exponent_of_a_sweep(dataset):
    fit, why = width_exponent(dataset, features=8, rank=3)
    assert why == ""
    means = dataset["off_span_distance"].mean("seed").values
    assert fit.slope == pytest.approx(np.polyfit(np.log(WIDTHS), np.log(means), 1)[0])
    again, _ = width_exponent(dataset.isel(width=[2, 0, 1]), features=8, rank=3)
    assert again.slope == pytest.approx(fit.slope)


def test_no_exponent_where_the_data_spans_everything(dataset):
    fit, why = width_exponent(dataset, features=4, rank=4)
    assert fit is None
    assert "r = D" in why


@pytest.mark.parametrize("share", [0.011, 1.0, np.inf])
def test_no_exponent_before_training_has_settled(dataset, share):
    off = dataset["off_span_distance"]
    one = (dataset["seed"] == 3) & (dataset["width"] == 16)
    fit, why = width_exponent(
        dataset.assign(in_span_distance=xr.where(one, share * off, 0 * off)), features=8, rank=4
    )
    assert fit is None
    assert "settled" in why


def test_no_exponent_of_one_width_and_of_failures_each_for_its_reason(dataset):
    fit, why = width_exponent(dataset.isel(width=[1]), features=8, rank=3)
    assert fit is None
    assert "more than one width" in why
    one = (dataset["seed"] == 3) & (dataset["width"] == 16)
    fit, why = width_exponent(broken(dataset, one), features=8, rank=3)
    assert fit is None
    assert why
    assert "more than one width" not in why


# The table


def test_the_table_is_the_datasets(dataset):
    rows = by_width(dataset)
    assert [row.width for row in rows] == WIDTHS
    for row in rows:
        cell = dataset.sel(width=row.width)
        assert (row.trajectories, row.failed, row.within, row.law) == (8, 0, 1.0, None)
        for name, mean in (
            ("c", row.c),
            ("bound_rate", row.bound_rate),
            ("measured_rate", row.measured_rate),
            ("off_span_distance", row.off_span),
            ("in_span_distance", row.in_span),
        ):
            assert mean == pytest.approx(np.mean(cell[name].values)), name
        assert row.slack == cell["slack"].values.min()
        spread = np.std(cell["off_span_distance"].values, ddof=1) / np.sqrt(8)
        assert row.off_span_error == pytest.approx(spread)


def test_the_table_counts_failures_and_crossings(dataset):
    where = (dataset["seed"] < 2) & (dataset["width"] == 16)
    changed = dataset.assign(
        slack=dataset["slack"].where(~where, -0.1),
        status=dataset["status"].where(dataset["seed"] != 5, 2),
        off_span_law=("width", [0.6, 0.5, 0.4]),
    )
    rows = by_width(changed)
    assert [row.within for row in rows] == [1.0, 0.75, 1.0]
    assert [row.failed for row in rows] == [1, 1, 1]
    assert [row.law for row in rows] == [0.6, 0.5, 0.4]
    assert rows[1].slack == -0.1


def test_the_table_without_bounds_and_of_one_seed(dataset):
    one = dataset.isel(seed=[0])
    row, *_ = by_width(one.assign(slack=0 * one["slack"] + np.inf))
    assert np.isnan(row.within)
    assert row.off_span_error == 0.0
    assert row.trajectories == 1


def test_the_table_takes_every_other_axis_together(dataset):
    rows = by_width(xr.concat([dataset, dataset], "alpha"))
    assert [row.trajectories for row in rows] == [16, 16, 16]
    assert [row.c for row in rows] == pytest.approx([row.c for row in by_width(dataset)])


def test_the_interval_of_an_exponent_covers_with_two_seeds():
    rng, widths, hits = np.random.default_rng(0), np.array([8, 16]), 0
    for _ in range(1000):
        noise = np.exp(0.3 * rng.normal(size=(2, 2)))
        fit = exponent(widths, widths[:, None] ** -0.5 * noise)
        hits += fit.low <= -0.5 <= fit.high
    assert hits > 930


def test_the_slack_of_a_single_trial_is_seen():
    (claim,) = find("min2021.concentration_step")
    one = dataclasses.replace(jf.verify(claim), slacks=(0.4,))
    lines = verdict_figure(one).axes[0].lines
    assert [line.get_marker() for line in lines if list(line.get_xdata()) == [0.4]] == ["."]


def test_figures_say_what_they_need(dataset, tmp_path, unchecked):
    with pytest.raises(ValueError, match=r"must be a dataset, as jf\.run returns it, got 3"):
        jf.plotting.grid_figure(3)
    with pytest.raises(ValueError, match="This figure needs slack in the dataset"):
        jf.plotting.sweep_figure(dataset.drop_vars("slack"))
    with pytest.raises(ValueError, match=r"solution must be what gradient_flow or .* got 3"):
        jf.plotting.trajectory(3)
    with pytest.raises(ValueError, match="figure must be a figure of matplotlib, got 3"):
        jf.plotting.save_figure(3, tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"verdict must be a verdict, as jf\.verify returns it"):
        verdict_figure(3)
    with pytest.raises(ValueError, match="verdicts must be a list of verdicts, got 3"):
        jf.plotting.write_report(tmp_path / "a.html", [3], {})
    with pytest.raises(ValueError, match="record must say what was run: it lacks backend, cpus"):
        jf.plotting.write_report(tmp_path / "a.html", [], {})
