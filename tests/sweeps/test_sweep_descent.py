"""Sweeps of descent: over step sizes, seeds and widths, on the keys and programs of all sweeps."""

import functools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import jaxflow as jf
from jaxflow.measures import FinalProduct, LogExcess, OffSpanDistance, Times
from jaxflow.networks.activations import Tanh
from jaxflow.networks.init import Gaussian, Initialization, Shallow
from jaxflow.sweeps.drawing import draw_mode
from jaxflow.sweeps.program import BATCHES
from jaxflow.sweeps.run import draw

DATA = jf.data.gaussian(jr.key(1), 8, 12, 2, whiten=True)
RATES = [0.01, 0.05]
SGD = {"optimizer": optax.sgd, "steps": 200, "saves": 6}
NOISY = {**SGD, "momentum": 0.8, "nesterov": True, "batch": 3, "label_noise": 0.01}
SIGNS = {**SGD, "optimizer": optax.sign_sgd}


class Drawn(Initialization):
    """Gaussian networks, always drawn in full."""

    def __call__(self, key, data, *, width):
        return Gaussian()(key, data, width=width)


def plan(law=None, **changes):
    arguments = {
        "over": {"width": [30], "learning_rate": RATES},
        "seeds": 3,
        "descent": SGD,
        "measures": [LogExcess(), Times(), FinalProduct()],
        **changes,
    }
    return jf.Sweep(DATA, law or Drawn(), **arguments)


@pytest.fixture(scope="module")
def noisy():
    return jf.run(plan(descent=NOISY))


@pytest.mark.parametrize(
    ("descent", "how"),
    [(SGD, "compressed"), (NOISY, "compressed"), (SIGNS, "full")],
    ids=["sgd", "noisy", "signs"],
)
def test_rows_are_descents(descent, how, noisy):
    sweep = plan(descent=descent)
    assert draw_mode(sweep) == how
    found = noisy if descent is NOISY else jf.run(sweep)
    for cell in sweep.cells:
        networks = draw(sweep, cell)
        for seed, key in enumerate(cell.keys(sweep.key, sweep.seeds)):
            alone = jf.gradient_descent(
                jax.tree.map(lambda x, i=seed: jnp.asarray(x[i]), networks),
                DATA,
                key=jr.fold_in(key, BATCHES),
                **{**descent, "learning_rate": cell.coordinates["learning_rate"]},
            )
            row = found.sel(**cell.coordinates, seed=seed)
            np.testing.assert_allclose(row["final_product"], alone.product, rtol=1e-9, atol=1e-11)
            np.testing.assert_allclose(row["t"], alone.ts, rtol=1e-13)
            assert row["steps"] == 200


def test_compressed_networks_descend_as_they_are(noisy):
    full = jf.run(plan(descent=NOISY, compress=False))
    np.testing.assert_allclose(noisy["log_excess"], full["log_excess"], rtol=1e-9)
    np.testing.assert_allclose(noisy["final_product"], full["final_product"], atol=1e-11)


def test_inputs_turn_where_nothing_depends_on_samples():
    free = {"measures": [LogExcess(), OffSpanDistance()]}
    assert draw_mode(plan(**free)) == "rotated"
    assert draw_mode(plan(**free, descent={**SGD, "batch": 3})) == "compressed"
    batches = {"width": [8], "batch": [3], "learning_rate": [0.01]}
    assert draw_mode(plan(**free, over=batches)) != "rotated"
    here, there = jf.run(plan(**free)), jf.run(plan(**free, compress=False))
    for name in ("log_excess", "off_span_distance"):
        np.testing.assert_allclose(here[name], there[name], rtol=1e-8)


def test_what_diverges_says_when():
    law = Gaussian(alpha=0.5)
    found = jf.run(plan(law, over={"width": [10**9], "learning_rate": [0.01, 4.0]}))
    good, bad = found.sel(learning_rate=0.01), found.sel(learning_rate=4.0)
    assert (good["status"] == 0).all()
    assert (good["steps"] == 200).all()
    assert (bad["status"] == 5).all()
    assert (bad["steps"] < 20).all()
    assert (bad["retried"] == 0).all()


def test_until():
    found = jf.run(plan(until=jf.until.loss_ratio(1e-3), descent={**SGD, "steps": 5000}))
    assert (found["status"] == 1).all()
    decay = found["log_excess_end"] - found["log_excess_start"]
    assert (decay <= np.log(1e-3)).all()
    assert (decay > np.log(1e-3) - 0.5).all()


def test_rules_and_optimizers_are_an_axis():
    law = Shallow(activation=Tanh(), antisymmetric=False)
    line = jf.Regression(jnp.linspace(-1, 1, 6)[:, None], jnp.sin(3 * jnp.linspace(-1, 1, 6)))
    sweep = jf.Sweep(
        line,
        law,
        over={"width": [5], "optimizer": [optax.sgd, jf.CentralFlow(substeps=4)]},
        seeds=2,
        descent={**SGD, "learning_rate": 1e-3},
        measures=[LogExcess()],
    )
    assert sweep.coordinates()["optimizer"].tolist()[0] == "sgd"
    assert draw_mode(sweep) == "full"
    found = jf.run(sweep)
    assert (found["status"] == 0).all()
    gap = np.abs(found["log_excess"][:, 0] - found["log_excess"][:, 1])
    assert 0 < gap.max() < 0.01  # from the same networks, the same to first order in the step


def test_stores(tmp_path):
    path = tmp_path / "runs.zarr"
    whole = jf.run(plan(), store=path)
    again = jf.run(plan(), store=path)
    np.testing.assert_array_equal(whole["log_excess"], again["log_excess"])
    with pytest.raises(ValueError, match="holds another sweep: momentum"):
        jf.run(plan(descent={**SGD, "momentum": 0.5}), store=path)
    stream = iter([0.5])  # which nobody can look into without changing it
    held = plan(descent={**SGD, "optimizer": lambda rate: (stream, optax.sgd(rate))[1]})
    with pytest.raises(ValueError, match=r'cannot identify optimizer.*run\(..., version="1"\)'):
        jf.run(held, store=tmp_path / "other.zarr")
    assert not (tmp_path / "other.zarr").exists()
    jf.run(held, store=tmp_path / "other.zarr", version="1")
    with pytest.raises(ValueError, match="version is 1 there and 2 here"):
        jf.run(held, store=tmp_path / "other.zarr", version="2")
    partial = {**SGD, "optimizer": functools.partial(optax.sgd, momentum=0.5)}
    assert jf.run(plan(descent=partial), store=tmp_path / "partial.zarr")["steps"].max() == 200


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"t1": 1.0}, "t1 is about the flow"),
        ({"solver": "implicit"}, "solver is about the flow"),
        ({"descent": {**SGD, "until": None}}, "Give until to the sweep"),
        ({"descent": {**SGD, "rate": 1}}, "not 'rate'"),
        ({"descent": {"optimizer": optax.sgd}}, "needs 'steps'"),
        ({"descent": {"steps": 3}}, "needs 'optimizer'"),
        ({"over": {"width": [3]}}, "needs 'learning_rate'"),
        ({"descent": {**SGD, "optimizer": optax.sgd(0.1)}}, "factory itself"),
        ({"over": {"width": [3], "learning_rate": [0.1, 0.0]}}, "must be positive"),
        ({"descent": {**SGD, "batch": 9}}, r"1 \.\.\. 8 samples, got 9"),
        ({"over": {"width": [3], "learning_rate": [0.1], "steps": [3]}}, "axis 'steps'"),
    ],
)
def test_what_cannot_be_run(changes, message):
    with pytest.raises(ValueError, match=message):
        plan(**changes)
