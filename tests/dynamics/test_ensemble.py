"""Many trajectories at once are the trajectories one by one."""

import functools
import math
from typing import ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxflow as jf
from jaxflow.dynamics.ensemble import flows
from jaxflow.dynamics.flow import solve
from jaxflow.dynamics.settings import flow_settings
from jaxflow.dynamics.solution import summary
from jaxflow.networks import compress

DATA = jf.data.gaussian(jr.key(3), 5, 12, 2)
TS = np.concatenate([[0.0], np.geomspace(1e-4, 1.0, 20)])
COUNT = 16
MEASURES = (
    jf.measures.LogExcess(),
    jf.measures.Times(),
    jf.measures.Product(),
    jf.measures.OffSpanDistance(),
    jf.measures.ImbalanceDrift(along=True),
)


@functools.cache
def networks():
    law = jf.init.Gaussian()
    draw = jax.jit(jax.vmap(lambda key: compress(law(key, DATA, width=30), DATA)))
    # From rich to lazy: trajectories of very different lengths.
    sizes = jnp.geomspace(0.05, 3.0, COUNT)[:, None, None]
    return jax.tree.map(lambda leaf: sizes * leaf, draw(jr.split(jr.key(1), COUNT)))


@eqx.filter_jit
def together(nets, data, settings, count, ts=None, slots=8):
    total = len(nets.V)
    room = -(-total // slots) * slots
    filled = jax.tree.map(lambda x: x[np.minimum(np.arange(room), total - 1)], nets)
    filled, rest = eqx.partition(filled, eqx.is_array)
    out = flows(filled, rest, data, lambda network, data: ts, settings, count, slots=slots)
    lockstep = out.pop("lockstep")
    return {name: value[:total] for name, value in out.items()}, lockstep


@eqx.filter_jit
def alone(nets, data, settings, ts=None):
    return jax.vmap(lambda net: summary(solve(net, data, ts, settings)))(nets)


def count_of(nets):
    return jnp.asarray(len(nets.V), jnp.int32)


# Two programs with saved times, without a rule and with one; and one without, `stopping`.
TIMED = pytest.mark.parametrize(
    ("solver", "until", "slots"),
    [(diffrax.Tsit5(), None, 8), (diffrax.Bosh3(), jf.until.loss_ratio(1e-4), 16)],
    ids=["to the end", "to a stop"],
)


def timed(solver, until):
    rtol = 1e-5 if isinstance(solver, diffrax.Bosh3) else 1e-8
    return flow_settings(jnp.float64, measures=MEASURES, solver=solver, rtol=rtol, until=until)


def stopping(excess=1e-6, rtol=1e-8):
    return flow_settings(
        jnp.float64,
        measures=MEASURES[:2],
        until=jf.until.excess(excess),
        solver=diffrax.Tsit5(),
        rtol=rtol,
        max_steps=700,
    )


@TIMED
def test_the_same_steps_and_values_as_alone(solver, until, slots):
    settings = timed(solver, until)
    rtol = float(settings.rtol)
    nets, ts = networks(), jnp.asarray(TS)
    many, lockstep = together(nets, DATA, settings, count_of(nets), ts, slots=slots)
    each = alone(nets, DATA, settings, ts)
    assert set(many) == set(each)
    # With a rule, some stop and some do not.
    assert set(np.asarray(many["status"])) == ({0} if until is None else {1, 4})
    np.testing.assert_array_equal(many["status"], each["status"])
    np.testing.assert_array_equal(many["steps"], each["steps"])
    np.testing.assert_allclose(many["t_end"], each["t_end"], rtol=1e-9)
    errors = {"discrepancy", "imbalance_drift"}  # of the integration: both small, not the same
    for name in errors:
        assert np.max(many[name]) < 10 * rtol
    for name in set(each) - {"steps"} - errors:
        np.testing.assert_allclose(many[name], each[name], rtol=rtol, atol=rtol, err_msg=name)
    assert int(lockstep[0]) >= int(np.sum(many["steps"]))


@TIMED
def test_no_time_at_all(solver, until, slots):
    nets, nothing = networks(), jnp.zeros(len(TS))
    settings = timed(solver, until)
    many, _ = together(nets, DATA, settings, count_of(nets), nothing, slots=slots)
    each = alone(nets, DATA, settings, nothing)
    np.testing.assert_array_equal(many["status"], each["status"])
    np.testing.assert_array_equal(many["t_end"], 0)
    np.testing.assert_array_equal(each["t_end"], 0)


def test_stops_are_located_as_well_as_alone():
    settings = stopping(1e-20, rtol=1e-10)
    nets = networks()
    many, _ = together(nets, DATA, settings, count_of(nets))
    each = alone(nets, DATA, settings)
    np.testing.assert_array_equal(many["status"], 1)
    np.testing.assert_allclose(many["t_end"], each["t_end"], rtol=1e-9)
    np.testing.assert_allclose(many["log_excess_end"], math.log(1e-20), rtol=0, atol=1e-10)
    np.testing.assert_allclose(many["t"], each["t"], rtol=1e-9)
    np.testing.assert_allclose(many["log_excess"], each["log_excess"], rtol=0, atol=1e-7)


def test_out_of_steps():
    settings = stopping(rtol=1e-12)
    nets = networks()
    many, _ = together(nets, DATA, settings, count_of(nets))
    each = alone(nets, DATA, settings)
    assert set(np.asarray(many["status"])) == {1, 2}
    np.testing.assert_array_equal(many["status"], each["status"])
    # The first steps are so exact that their length follows rounding.
    np.testing.assert_allclose(many["t_end"], each["t_end"], rtol=1e-3)


def test_stops_against_the_closed_form():
    # Whitened data, spectral weights: u v of each mode is logistic, at any depth.
    data = jf.Regression(np.eye(2), np.diag([1.0, 3.0]))
    sizes = jnp.geomspace(0.01, 0.3, 9)
    draw = jax.vmap(lambda a: jf.init.Spectral((a, a))(jr.key(0), data, width=2))
    nets = jax.jit(draw)(sizes)
    for ratio in (1e-3, 1e-100):
        settings = flow_settings(jnp.float64, until=jf.until.loss_ratio(ratio), rtol=1e-11)
        many, _ = together(nets, data, settings, jnp.asarray(9, jnp.int32))
        for i, a in enumerate(np.asarray(sizes)):
            t = float(many["t_end"][i])
            log = []
            for s in (1.0, 3.0):  # s - uv = s (s - a^2) / (s - a^2 + a^2 e^(2 s t))
                gap = math.log(s) + math.log(s - a**2)
                log.append(gap - np.logaddexp(math.log(s - a**2), 2 * math.log(a) + 2 * s * t))
            excess = math.log(0.5) + np.logaddexp(2 * log[0], 2 * log[1])
            start = math.log(0.5 * ((1 - a**2) ** 2 + (3 - a**2) ** 2))
            np.testing.assert_allclose(excess - start, math.log(ratio), rtol=1e-8)


def test_company_order_and_room_do_not_matter():
    nets = networks()
    order = np.random.default_rng(0).permutation(len(nets.V))
    shuffled = jax.tree.map(lambda leaf: leaf[order], nets)
    one, _ = together(nets, DATA, stopping(), count_of(nets))
    other, _ = together(shuffled, DATA, stopping(), count_of(nets))
    for name in one:
        np.testing.assert_array_equal(one[name][order], other[name], err_msg=name)
    wide = alone(nets, DATA, stopping())  # all sixteen side by side
    for name in one:
        np.testing.assert_allclose(one[name], wide[name], rtol=1e-12, atol=1e-14, err_msg=name)


def test_filling_is_not_solved():
    nets, settings = networks(), stopping()
    whole, lockstep = together(nets, DATA, settings, jnp.asarray(16, jnp.int32))
    some, less = together(nets, DATA, settings, jnp.asarray(5, jnp.int32))
    for name in whole:
        np.testing.assert_array_equal(whole[name][:5], some[name][:5], err_msg=name)
    assert np.sum(some["steps"][8:]) == 0  # slots are filled, eight at a time
    assert less[0] < lockstep[0]


def test_what_overflows_is_reported_and_harms_nobody():
    nets, settings = networks(), stopping(1e-4)
    clean, _ = together(nets, DATA, settings, count_of(nets))
    bad = eqx.tree_at(lambda n: n.V, nets, nets.V.at[3].set(jnp.nan).at[7].set(1e200))
    mixed, _ = together(bad, DATA, settings, count_of(nets))
    assert mixed["status"][3] == mixed["status"][7] == 3
    fine = np.delete(np.arange(len(nets.V)), [3, 7])
    for name in clean:
        np.testing.assert_array_equal(clean[name][fine], mixed[name][fine], err_msg=name)


def test_a_minimum_stops_at_once():
    net = jf.TwoLayerLinear(jnp.concatenate([DATA.min_norm, jnp.zeros((12, 5))], 1), jnp.eye(2, 7))
    nets = jax.tree.map(lambda leaf: jnp.stack([leaf] * COUNT), net)
    exact = jf.Regression(DATA.X, np.asarray(DATA.X @ net.product))
    many, _ = together(nets, exact, stopping(), count_of(nets))
    np.testing.assert_array_equal(many["status"], 1)


class Crossing(jf.until.Until):
    """A rule that is met in a jump (power 0), or that touches zero with a high power."""

    at: float
    power: float
    rotation_free: ClassVar[bool] = True

    def __call__(self, t, view, first):
        left = self.at - t
        return jnp.sign(left) * jnp.abs(left) ** self.power


@pytest.mark.parametrize(("power", "close"), [(0.0, 1e-12), (5.0, 1e-2)])
def test_rules_that_are_hard_to_locate(power, close):
    nets = networks()
    settings = flow_settings(jnp.float64, until=Crossing(0.123, power))
    many, _ = together(nets, DATA, settings, count_of(nets))
    np.testing.assert_array_equal(many["status"], 1)
    np.testing.assert_allclose(many["t_end"], 0.123, rtol=close)


def test_single_precision():
    drawn = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), networks())
    found = {}
    for x64 in (True, False):
        with jax.enable_x64(x64):
            data = jf.Regression(np.asarray(DATA.X, np.float32), np.asarray(DATA.Y, np.float32))
            nets = jax.tree.map(jnp.asarray, drawn)
            settings = flow_settings(
                jnp.float32, until=jf.until.loss_ratio(1e-6), measures=MEASURES[:2]
            )
            found[x64], _ = together(nets, data, settings, count_of(nets))
            if x64:
                each = alone(nets, data, settings)
    for many in found.values():
        assert many["t_end"].dtype == many["log_excess"].dtype == jnp.float32
        np.testing.assert_array_equal(many["status"], 1)
        np.testing.assert_allclose(many["t_end"], each["t_end"], rtol=2e-4)
