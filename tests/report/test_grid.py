"""Tables and figures of any sweep, and of single trajectories."""

import io
import itertools

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, strategies as st
from rich.console import Console

import jaxflow as jf
from jaxflow.report.tables import from_log, grid_tables
from jaxflow.sweeps.grid import Statistics, by_cell, of_solution


def dataset(sizes, *, own_times=False, labels=None):
    """A dataset as `jf.run` returns it, with made-up numbers."""
    rng = np.random.default_rng(0)
    dims, shape = (*sizes, "seed"), (*sizes.values(), 4)
    curve = (*dims, "time")
    start, fall = rng.normal(size=shape), -rng.uniform(5, 3000, size=shape)
    t = np.geomspace(1e-6, 1, 20) * rng.uniform(1, 2, size=shape)[..., None]
    found = xr.Dataset(
        {
            "status": (dims, np.where(fall < -2500, 3, 1).astype(np.int8)),
            "t_end": (dims, rng.uniform(1, 2, size=shape)),
            "log_excess_start": (dims, start),
            "log_excess_end": (dims, start + fall),
            "steps": (dims, rng.integers(10, 99, size=shape)),
            "size": (dims, np.where(fall < -2500, np.nan, rng.normal(size=shape)), {}),
            "log_excess": (curve, start[..., None] + fall[..., None] * np.linspace(0, 1, 20)),
            "limit": ((*dims, "output"), rng.normal(size=(*shape, 3))),
        },
        {name: np.arange(1, n + 1) * 10 for name, n in sizes.items()} | (labels or {}),
    )
    if own_times:
        return found.assign(t=(curve, t))
    return found.assign_coords(time=t.reshape(-1, 20)[0])


@pytest.mark.parametrize("sizes", [{}, {"width": 3}, {"width": 2, "alpha": 3}])
@pytest.mark.parametrize("own_times", [True, False])
def test_any_sweep_has_a_table_and_a_figure(sizes, own_times):
    found = dataset(sizes, own_times=own_times)
    rows = by_cell(found)
    assert len(rows) == int(np.prod(list(sizes.values()), initial=1))
    assert [row.coordinates for row in rows] == [
        dict(zip(sizes, point, strict=True))
        for point in itertools.product(*(found[name].values.tolist() for name in sizes))
    ]
    assert list(rows[0].measures) == ["size"]
    first = found.isel({name: 0 for name in sizes})
    np.testing.assert_allclose(rows[0].measures["size"].mean, np.nanmean(first["size"]))
    assert sum(row.failed for row in rows) == int((found.status == 3).sum())
    figure = jf.plotting.grid_figure(found, title="any")
    assert figure.axes[0].get_ylabel() == "excess loss  $L - L^*$"
    assert len(figure.axes) == 4


def test_a_figure_of_named_values_and_pooled_axes():
    labels = {"activation": ["tanh", "cube"]}
    found = dataset({"activation": 2, "width": 5, "alpha": 2}, labels=labels)
    figure = jf.plotting.grid_figure(found)
    assert "pooled over alpha" in figure.get_suptitle()
    panel = figure.axes[1]
    assert panel.get_xlabel() == "width"
    assert [text.get_text() for text in panel.get_legend().get_texts()] == [
        "activation tanh",
        "activation cube",
    ]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_table_that_is_too_wide_goes_on_below(width):
    found = dataset({"width": 2})
    found = found.assign({f"measure_{i}": found["size"] for i in range(7)})
    console = Console(width=width, record=True, file=io.StringIO())
    for table in grid_tables(by_cell(found), width):
        console.print(table)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= width
    for name in ("ended", "steps", "t_end", "left", "size", *(f"measure_{i}" for i in range(7))):
        assert text.split().count(name) == 1


@given(st.floats(-1e5, 1e3))
def test_a_number_from_its_logarithm(log):
    digits, power = from_log(log).split("e")
    assert 1 <= float(digits) < 10
    assert abs(np.log(float(digits)) + int(power) * np.log(10) - log) < 0.051


def test_statistics_leave_out_what_is_not_finite():
    found = Statistics.of([[1.0, np.nan], [3.0, np.inf]])
    assert (found.count, found.mean, found.error, found.low, found.high) == (2, 2, 1, 1, 3)
    assert Statistics.of([np.nan]).count == 0


@pytest.mark.parametrize("many", [False, True])
def test_a_trajectory_has_a_figure_and_a_row(key, many):
    import jax
    import optax

    data = jf.Regression([[1.0, 0.5], [-0.5, 2.0], [0.3, -1.0]], [[1.0], [-1.0], [0.5]])

    def descend(key):
        network = jf.init.Gaussian()(key, data, width=4)
        measures = [jf.measures.along("norm", lambda n, d: n.V[0]), jf.measures.OffSpanDistance()]
        return jf.gradient_descent(
            network, data, optax.sgd, learning_rate=0.1, steps=5, measures=measures
        )

    solution = jax.vmap(descend)(jax.random.split(key, 3)) if many else descend(key)
    row = of_solution(solution)
    assert row.ended == {"finished": 3 if many else 1}
    assert list(row.measures) == ["off_span_distance"]
    figure = jf.plotting.trajectory(solution, title="one")
    loss, norm = figure.axes
    assert len(loss.lines) == (3 if many else 1)
    assert len(norm.lines) == 4 * len(loss.lines)
    np.testing.assert_allclose(
        loss.lines[0].get_ydata(), np.reshape(solution.log_excess, (-1, 6))[0] / np.log(10)
    )
