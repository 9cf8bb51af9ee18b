"""Sweeps: one grid, one program, draws that depend on nothing but their cell and seed."""

import json
import math

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from tracing import Traces, traced

import jaxflow as jf
from jaxflow.measures import (
    BoundTimes,
    Level,
    LogExcess,
    OffSpanDistance,
    Product,
    RateSlack,
    curves,
    standard,
)
from jaxflow.networks.init import Balanced, Gaussian, Initialization, LambdaBalanced, Orthogonal
from jaxflow.sweeps.plan import vary
from jaxflow.sweeps.run import draw
from jaxflow.theory import bias_law

SPECTRUM = (1.3, 0.9, 0.7)
TS = np.array([0.0, 0.2, 0.7, 1.5, 3.0])
SEEDS = 5


MEASURES = (Level(), LogExcess(), OffSpanDistance(), RateSlack(), Traces())
COMPARED = tuple(m for m in MEASURES if not isinstance(m, RateSlack))  # the same draws, sooner


def problem(seed=0, outputs=1, features=6, scale=1.0):
    rng = np.random.default_rng(seed)
    left = np.linalg.qr(rng.normal(size=(4, 3)))[0]
    right = np.linalg.qr(rng.normal(size=(features, 3)))[0]
    X = scale * left * np.asarray(SPECTRUM) @ right.T
    return jf.Regression(X, rng.normal(size=(4, outputs)), rank_tolerance=1e-12)


DATA = problem()


class Drawn(Initialization):
    """Gaussian networks, always drawn in full."""

    def __call__(self, key, data, *, width):
        return Gaussian()(key, data, width=width)


def plan(**changes):
    arguments = {
        "over": {"width": [8, 16]},
        "seeds": SEEDS,
        "key": jr.key(7),
        "ts": TS,
        "measures": MEASURES,
        "chunk": 4,
        **changes,
    }
    data, law = arguments.pop("data", DATA), arguments.pop("init", Gaussian())
    return jf.Sweep(data, law, **arguments)


@pytest.fixture(scope="module")
def base():
    return jf.run(plan())


def same(one, other, names=("c", "log_excess", "off_span_distance", "t_end"), rtol=1e-9):
    for name in names:
        np.testing.assert_allclose(one[name], other[name], rtol=rtol, atol=1e-13, err_msg=name)


# What comes back


def test_dimensions_coordinates_attributes(base):
    assert base["c"].dims == ("width", "seed")
    assert base["log_excess"].dims == ("width", "seed", "time")
    assert base["log_excess"].shape == (2, SEEDS, len(TS))
    np.testing.assert_array_equal(base["width"], [8, 16])
    np.testing.assert_array_equal(base["seed"], range(SEEDS))
    np.testing.assert_array_equal(base["time"], TS)
    assert all({"long_name", "description", "units"} <= set(base[name].attrs) for name in base)
    assert set(base["status"].values.ravel()) == {0}
    meanings = base["status"].attrs["flag_meanings"].split()
    assert dict(zip(base["status"].attrs["flag_values"], meanings, strict=True))[0] == "finished"
    assert np.all(base["steps"] > 0)
    assert np.all(base["t_end"] == TS[-1])
    # Computed twice, inside the solve and before it: equal to the last bit or two.
    np.testing.assert_allclose(
        base["log_excess"][..., 0], base["log_excess_start"], rtol=1e-14, atol=1e-15
    )
    np.testing.assert_allclose(base["log_excess"][..., -1], base["log_excess_end"], rtol=1e-12)
    # Every trajectory is another one.
    assert len(np.unique(base["c"])) == base["c"].size
    settings = json.loads(base.attrs["settings"])
    assert settings["axes"] == {"width": ["8", "16"]}
    assert settings["seeds"] == SEEDS
    assert settings["measures"] == ["c", "log_excess", "off_span_distance", "slack", "traces"]
    assert json.loads(base.attrs["environment"])["versions"]["jax"] == jax.__version__
    assert base.attrs["waste"] >= 1
    assert base.attrs["seconds_run"] > 0
    assert base.attrs["seconds_compile"] > 0


def test_every_trajectory_is_the_flow_of_its_draw(base):
    sweep = plan()
    for cell in sweep.cells:
        keys = cell.keys(sweep.key, sweep.seeds)
        for seed in (0, SEEDS - 1):
            network = Gaussian().compressed(keys[seed], DATA, **cell.arguments)
            alone = jf.gradient_flow(network, DATA, ts=TS, measures=MEASURES)
            here = base.sel(width=cell.coordinates["width"], seed=seed)
            for name, value in alone.measures.items():
                np.testing.assert_allclose(here[name], value, rtol=1e-9, atol=1e-12)
            assert here["steps"] == alone.stats["steps"]


def test_a_width_may_be_a_whole_float():
    keys = [jr.key_data(plan(over={"width": w}).cells[0].keys(jr.key(0), 2)) for w in ([8], [8.0])]
    np.testing.assert_array_equal(*keys)


def test_chunks_do_not_matter(base):
    for changes in ({"chunk": 64, "block": 3}, {"chunk": 2, "block": 7}):
        other = jf.run(plan(measures=COMPARED, **changes))
        same(other, base)
        assert other.attrs["waste"] != base.attrs["waste"]


def test_growing_leaves_what_was_there(base):
    wider = jf.run(plan(over={"width": [32, 16, 8]}))
    same(wider.sel(width=[8, 16]), base)
    np.testing.assert_array_equal(wider["c"].sel(width=[8, 16]), base["c"])
    longer = jf.run(plan(seeds=SEEDS + 2))
    same(longer.isel(seed=slice(SEEDS)), base)
    np.testing.assert_array_equal(longer["c"].isel(seed=slice(SEEDS)), base["c"])
    other = jf.run(plan(key=jr.key(8)))
    assert not np.any(np.isclose(other["c"], base["c"], rtol=1e-6))


def test_compression_changes_nothing(base):
    # A law that is known only by drawing from it: the same draws, compressed or not.
    over = {"width": [16]}
    raw, narrow = (
        jf.run(plan(init=Drawn(), over=over, compress=c, measures=COMPARED)) for c in (False, True)
    )
    same(raw, narrow, rtol=1e-7)
    # Drawn directly, the networks are others.
    assert not np.any(np.isclose(base["c"].sel(width=[16]), narrow["c"], rtol=1e-6))


def test_one_program_for_all_widths_and_values(base):
    once = traced()
    assert once > 0

    def run(**changes):
        jf.run(plan(**changes))
        return traced()

    assert run(over={"width": [8, 32, 100]}) == once
    assert run(over={"width": [8], "alpha": [0.3, 0.5]}) == once
    assert run(rtol=1e-6) == once
    assert run(ts=2 * TS) == once
    assert run(data=problem(seed=3)) == once


def test_progress_counts_up():
    seen = []
    jf.run(plan(measures=COMPARED, block=4), progress=lambda *said: seen.append(said))
    # At once, and then by blocks, which are aligned to the grid.
    assert seen[0] == ("preparing", 0, 10)
    assert seen[1] == ("compiling and solving all settings", 0, 10)
    solved = [(done, total) for doing, done, total in seen if doing == "solving"]
    assert solved == [(4, 10), (5, 10), (9, 10), (10, 10)]


# Axes


def test_axis_over_a_field_of_the_law():
    ds = jf.run(plan(over={"alpha": [0.3, 0.5], "width": [64]}))
    assert ds["c"].dims == ("alpha", "width", "seed")
    # c goes with h^(1 - 2 alpha): 64^0.4 = 5.3 times larger, up to what the draws differ by.
    ratio = ds["c"].sel(alpha=0.3).mean() / ds["c"].sel(alpha=0.5).mean()
    assert 3.5 < ratio < 8


def test_axis_over_scale():
    over = {"width": [16], "scale": [(0.3, 0.3), (0.6, 0.6)]}
    ds = jf.run(plan(init=Gaussian(scale=(1.0, 1.0)), over=over))
    assert list(ds["scale"].values) == ["0.3,0.3", "0.6,0.6"]
    mean = ds["c"].mean(("width", "seed")).values
    assert 2 < mean[1] / mean[0] < 8


def test_axis_over_data():
    sets = {"a": DATA, "b": problem(seed=2)}
    ds = jf.run(plan(data=sets, over={"data": ["b", "a"], "width": [8]}))
    assert ds["c"].dims == ("data", "width", "seed")
    assert list(ds["data"].values) == ["b", "a"]
    for label in ("a", "b"):
        sweep = plan(data=sets, over={"data": ["b", "a"], "width": [8]})
        cell = next(c for c in sweep.cells if c.coordinates["data"] == label)
        key = cell.keys(sweep.key, 1)[0]
        network = Gaussian().compressed(key, sets[label], width=8)
        alone = jf.gradient_flow(network, sets[label], ts=TS, measures=MEASURES)
        here = ds.sel(data=label, width=8, seed=0)
        np.testing.assert_allclose(here["log_excess"], alone.log_excess, rtol=1e-9, atol=1e-12)


def test_axis_over_lam():
    values = [1.5, 0.0]
    sweep = plan(init=LambdaBalanced(), over={"lam": values, "width": [3]})
    for cell, lam in zip(sweep.cells, values, strict=True):
        networks = draw(sweep, cell)
        assert networks.U.shape == (SEEDS, 6, 3)
        U1 = np.asarray(DATA.right).T @ networks.U
        imbalance = np.swapaxes(U1, 1, 2) @ U1 - np.swapaxes(networks.V, 1, 2) @ networks.V
        expected = np.broadcast_to(lam * np.eye(3), imbalance.shape)
        np.testing.assert_allclose(imbalance, expected, rtol=0, atol=1e-12)


def test_vary_reaches_the_law_inside():
    assert vary(Balanced(), "alpha", 0.3).law.alpha == 0.3
    assert vary(Orthogonal(), "alpha", 0.4).law.alpha == 0.4
    assert vary(Gaussian(), "alpha", 0.4).alpha == 0.4
    with pytest.raises(ValueError, match="names neither"):
        vary(Balanced(), "nonsense", 1)


def test_numpy_values_are_plain_ones(base):
    same(jf.run(plan(over={"width": list(np.array([8, 16]))})), base)
    same(jf.run(plan(over=None, widths=[8, 16])), base)


# How trajectories end


LAW = Gaussian(scale=(1.0, 1.0))
OVER = {"width": [16], "scale": [(1.0, 1.0), (1e-3, 1e-3)]}
STOP = {
    "init": LAW,
    "over": OVER,
    "until": jf.until.loss_ratio(1e-1),
    "measures": (),
    "max_steps": 60,
}
CODES = ["finished", "stopped", "max_steps_reached", "not_finite", "not_stopped"]


def test_some_stop_and_some_do_not():
    ds = jf.run(plan(**STOP))
    status = ds["status"].values[0]
    assert set(status[0]) == {CODES.index("stopped")}
    assert set(status[1]) == {CODES.index("not_stopped")}
    fall = (ds["log_excess_end"] - ds["log_excess_start"])[0]
    np.testing.assert_allclose(fall[0], math.log(0.1), rtol=0, atol=1e-9)
    assert np.all(fall[1] > math.log(0.1))
    assert np.all(ds["t_end"][0, 0] < TS[-1])
    assert np.all(ds["t_end"][0, 1] == TS[-1])


def test_trajectories_that_fail_are_kept():
    until = jf.until.loss_ratio(1e-300)
    ds = jf.run(plan(**STOP | {"until": until, "ts": 100 * TS}, rtol=1e-9))
    assert set(ds["status"].values.ravel()) == {CODES.index("max_steps_reached")}
    assert np.all(ds["steps"] == STOP["max_steps"])
    assert np.all(ds["retried"] == 1)
    assert np.all(np.isfinite(ds["log_excess_end"]))
    assert np.all(ds["t_end"] < 100 * TS[-1])


# Bad plans


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"over": {"width": []}}, "no values"),
        ({"over": {"width": [8, 8]}}, "value twice"),
        ({"over": {"width": [8, np.int64(8)]}}, "value twice"),
        ({"over": {"width": [8], "depth": [2]}}, "'depth' names neither"),
        ({"over": {"width": [8]}, "widths": [16]}, "not both"),
        ({"over": {"width": [0]}}, "at least 1"),
        ({"over": {"width": [8], "alpha": [0.1]}}, "alpha must lie"),
        ({"over": {"width": [8], "data": ["a"]}}, "data sets of a mapping"),
        ({"data": {"a": DATA}, "over": {"width": [8], "data": ["b"]}}, "called 'b'"),
        ({"init": Orthogonal(), "over": {"width": [3]}}, "at least 4"),
        ({"seeds": 0}, "seeds"),
        ({"chunk": 0}, "chunk"),
        ({"ts": None}, "Say how far"),
        ({"t1": 1.0}, "not both"),
        ({"rtol": 1e-20}, "out of reach"),
        ({"measures": (Level(), Level())}, "share a name"),
    ],
)
def test_bad_plans(changes, match):
    with pytest.raises(ValueError, match=match):
        plan(**changes)


# Clocks and measures


@pytest.fixture(scope="module")
def full():
    """Everything there is to measure, on the clock of the bound."""
    clock = BoundTimes(math.log(1e-6), saves=33)
    measures = (*standard(), *curves(), Product())
    return jf.run(plan(ts=clock, measures=measures, over={"width": [200]}))


def test_bound_times_follow_each_trajectory(full):
    assert set(full["status"].values.ravel()) == {0}
    rate = 2 * SPECTRUM[-1] ** 2 * full["c"].values
    assert np.all(rate > 0)
    t = full["t"].values
    assert t.shape == (1, SEEDS, 33)
    assert np.all(t[..., 0] == 0)
    np.testing.assert_allclose(t[..., -1], 1.001 * math.log(1e6) / rate, rtol=1e-12)
    np.testing.assert_allclose(full["bound_rate"], rate, rtol=1e-12)
    # The bound's promise, and the slack that says so.
    fall = (full["log_excess"] - full["log_excess"][..., 0]).values
    assert np.all(fall[..., -1] <= math.log(1e-6))
    tightest = np.min(-fall[..., 1:] / (rate[..., None] * t[..., 1:]), axis=-1)
    np.testing.assert_allclose(full["slack"], tightest - 1, rtol=1e-10)
    assert np.all(full["slack"] > -1e-6)


def test_all_standard_measures_are_finite(full):
    names = [measure.name for measure in (*standard(), *curves())]
    assert len(set(names)) == len(names)
    for name in names:
        assert np.all(np.isfinite(full[name])), name
    assert np.all(full["imbalance_drift"] <= 1e-8)
    assert np.all(full["measured_rate"] >= full["bound_rate"])


def test_measures_have_dimensions_of_their_own(full):
    assert full["product"].dims == ("width", "seed", "time", "feature", "output")
    assert full["product"].shape == (1, SEEDS, 33, 6, 1)
    assert "time" not in full.coords  # each trajectory has its own, `t`
    fit = np.asarray(DATA.X) @ full["product"].values
    excess = 0.5 * np.sum((np.asarray(DATA.best_fit) - fit) ** 2, axis=(-2, -1))
    np.testing.assert_allclose(excess, np.exp(full["log_excess"]), rtol=1e-6)


def test_slack_of_a_false_bound_is_negative():
    # The bound is attained: U1 V^T = 0, lambda_3(U1 U1^T) = 1, V V^T = 9/4, a small residual.
    X = np.zeros((4, 6))
    X[:3, :3] = np.eye(3)
    data = jf.Regression(X, np.array([[0.0], [0.0], [1e-3], [0.5]]))
    U = np.zeros((6, 4))
    U[:3, :3] = np.diag([2.0, 2.0, 1.0])
    network = jf.TwoLayerLinear(jnp.asarray(U), jnp.array([[0.0, 0.0, 0.0, 1.5]]))
    slack = jf.gradient_flow(network, data, ts=TS, measures=MEASURES).measures["slack"]
    assert -1e-6 <= slack < 1e-4
    # What it says of a rate 5% larger is what the trajectory says.
    fall = jf.gradient_flow(network, data, ts=TS, measures=MEASURES).measures["log_excess"]
    mutant = np.min((fall[0] - fall[1:]) / (1.05 * 2 * (1 + 9 / 4) * TS[1:])) - 1
    np.testing.assert_allclose((1 + slack) / 1.05 - 1, mutant, rtol=0, atol=1e-12)
    assert mutant < -0.04


# Statistics


def test_level_and_bias_follow_their_laws():
    width, seeds = 2000, 400
    # In blocks that the program of the sweeps above solves.
    ds = jf.run(plan(over={"width": [width]}, seeds=seeds, ts=10 * TS, block=16))
    done = ds["status"].values.ravel() == 0
    assert done.sum() >= 0.975 * seeds
    assert np.all(ds["log_excess_end"] < math.log(1e-12))
    square = ds["off_span_distance"].values.ravel()[done] ** 2
    error = square.std(ddof=1) / math.sqrt(len(square))
    law = float(bias_law(DATA, width)) ** 2
    assert error < 0.05 * law
    assert abs(square.mean() - law) < 4 * error
    # c of [V; U1] with independent N(0, 1/h) entries, drawn by NumPy instead.
    rng = np.random.default_rng(0)
    c = []
    for _ in range(600):
        Z = rng.normal(size=(4, width)) / math.sqrt(width)
        values = np.linalg.eigvals(Z @ Z.T @ np.diag([-1.0, 1.0, 1.0, 1.0])).real
        values = np.sort(values)[::-1]
        c.append(max(values[2], 0) + max(-values[3], 0))
    got = ds["c"].values.ravel()
    error = math.hypot(np.std(c) / math.sqrt(len(c)), got.std() / math.sqrt(got.size))
    assert error < 0.01
    assert abs(got.mean() - np.mean(c)) < 4 * error
