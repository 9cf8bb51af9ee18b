"""The implicit solver: its method, its structured inverse, and what it is for."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import jaxflow as jf
from jaxflow.dynamics.formulations import Residual, TwoLayerResidual
from jaxflow.dynamics.formulations.general import DenseKernel
from jaxflow.dynamics.formulations.two_layer_linear import KroneckerKernel
from jaxflow.dynamics.integrators import tableau
from jaxflow.dynamics.integrators.choose_solver import choose_solver
from jaxflow.dynamics.settings import flow_settings
from jaxflow.sweeps.run import draw

A, C = tableau.A, tableau.C
ONE = np.ones(len(C))
# Every order condition up to 5: (weights w with w . b = value).
CONDITIONS = {
    1: [(ONE, 1)],
    2: [(C, 1 / 2)],
    3: [(C**2, 1 / 3), (A @ C, 1 / 6)],
    4: [(C**3, 1 / 4), (C * (A @ C), 1 / 8), (A @ C**2, 1 / 12), (A @ A @ C, 1 / 24)],
    5: [
        (C**4, 1 / 5),
        (C**2 * (A @ C), 1 / 10),
        ((A @ C) ** 2, 1 / 20),
        (C * (A @ C**2), 1 / 15),
        (C * (A @ A @ C), 1 / 30),
        (A @ C**3, 1 / 20),
        (A @ (C * (A @ C)), 1 / 40),
        (A @ A @ C**2, 1 / 60),
        (A @ A @ A @ C, 1 / 120),
    ],
}


def stability(b, z):
    return 1 + z * b @ np.linalg.solve(np.eye(len(C)) - z * A, ONE)


# The method


@pytest.mark.parametrize(("b", "order"), [(tableau.B, 5), (tableau.B - tableau.B_ERROR, 4)])
def test_order_conditions(b, order):
    for p in range(1, order + 1):
        for weights, value in CONDITIONS[p]:
            assert abs(b @ weights - value) < 1e-13
    if order < 5:
        assert max(abs(b @ w - v) for w, v in CONDITIONS[5]) > 1e-4


def test_stiffly_accurate_and_l_stable():
    np.testing.assert_allclose(A.sum(axis=1), C, atol=1e-15)
    np.testing.assert_allclose(A @ C, C**2 / 2, atol=1e-13)  # stage order 2
    np.testing.assert_array_equal(tableau.B, A[-1])
    assert abs(stability(tableau.B, -1e9)) < 1e-6
    assert abs(stability(tableau.B_ERROR, -1e9) - 1) < 0.26  # the estimate of what is damped
    for y in np.geomspace(1e-3, 1e6, 400):
        assert abs(stability(tableau.B + 0j, 1j * y)) <= 1 + 1e-12


@given(theta=st.floats(0, 1))
def test_dense_output_is_of_order_4_everywhere(theta):
    b = theta ** np.arange(1, 6) @ tableau.DENSE
    for p in range(1, 5):
        for weights, value in CONDITIONS[p]:
            assert abs(b @ weights - value * theta**p) < 1e-11
    np.testing.assert_allclose(np.sum(tableau.DENSE, axis=0), tableau.B, atol=1e-11)


# The inverse


@eqx.filter_jit
def inverted(kronecker, T, c, shift, E):
    """`inverse(c, shift)` of both kernels at E, and the slowest rate of the structured one."""
    kernel, dense = KroneckerKernel.of(*kronecker), DenseKernel.of(T)
    return kernel.slowest, [one.inverse(c, shift)(E) for one in (kernel, dense)]


@settings(max_examples=25)
@given(
    sizes=st.sampled_from([(1, 1), (1, 4), (2, 2), (3, 5), (4, 3)]),
    decades=st.floats(0, 6),
    log_c=st.floats(-3, 12),
    seed=st.integers(0, 999),
)
def test_structured_inverse_is_the_inverse(sizes, decades, log_c, seed):
    rng, (m, r) = np.random.default_rng(seed), sizes
    s = np.geomspace(1, 10**-decades, r) if r > 1 else np.ones(1)
    V, U1 = rng.normal(size=(m, m + r)), rng.normal(size=(r, m + r))
    a, b = V @ V.T, U1 @ U1.T
    SBS = s[:, None] * b * s[None]
    T = np.kron(np.diag(s**2), a) + np.kron(SBS, np.eye(m))  # of E row by row
    levels = np.linalg.eigvalsh(T)
    c = 10**log_c / levels[-1]
    shift = float(rng.uniform(0, 1)) * min(levels[0] + 0.5 / c, levels[-1])
    E = rng.normal(size=(r, m))
    slowest, found = inverted(*jax.tree.map(jnp.asarray, ((s, a, b), T, c, shift, E)))
    np.testing.assert_allclose(slowest, levels[0], rtol=1e-7, atol=1e-14 * levels[-1])
    for kernel, x in zip(("structured", "dense"), map(np.asarray, found), strict=True):
        # By the residual of every row, in the units of that row.
        TX = s[:, None] ** 2 * (x @ a) + SBS @ x
        gap = x + c * (TX - shift * x) - E
        row = np.abs(E).max() + c * s**2 * np.abs(b).max() * np.abs(x).max()
        assert np.all(np.abs(gap) <= 1e-7 * row[:, None] + 1e-7 * np.abs(x)), kernel


def test_an_indefinite_operator_has_no_inverse():
    kernel = KroneckerKernel.of(jnp.ones(2), jnp.eye(1), jnp.eye(2))
    dense = DenseKernel.of(2 * jnp.eye(2))
    for one in (kernel, dense):
        x = one.inverse(jnp.asarray(1.0), jnp.asarray(4.0))(jnp.ones((2, 1)))
        assert np.all(np.isnan(np.asarray(x)))


# The solver


def stiff(condition, m=2, r=6, seed=0):
    """A problem with geometric spectrum of X^T X, and a network of width 200 for it.

    Flows of one kind (implicit until a rule, ...) are one program here: their shapes are these.
    """
    rng = np.random.default_rng(seed)
    s = np.geomspace(1, condition**-0.5, r)
    X = np.linalg.qr(rng.normal(size=(r, r)))[0] * s
    data = jf.Regression(X, X @ rng.normal(size=(r, m)) / np.sqrt(r))
    return jf.init.Gaussian().compressed(jr.key(seed), data, width=200), data


def test_order_of_convergence():
    network, data = stiff(10.0)
    form = TwoLayerResidual.build(network, data, jf.SquaredLoss())
    y0 = form.start(network)
    solver = jf.Implicit().bind(form, jnp.asarray(1e-12))

    @jax.jit
    def solve(dt):
        term = diffrax.ODETerm(form.field)
        ys = diffrax.diffeqsolve(term, solver, 0.0, 4.0, dt, y0, max_steps=257).ys
        return jax.tree.map(lambda leaf: leaf[-1], ys)

    ends = {n: solve(4.0 / n) for n in (8, 16, 32, 256)}
    best = ends.pop(256)

    def error(a, b):
        return np.linalg.norm(a - b)

    for read in (lambda y: y.weights.V, lambda y: y.E.value):
        e = [error(read(y), read(best)) for y in ends.values()]
        slopes = np.log2(np.array(e[:-1]) / np.array(e[1:]))
        assert np.all(slopes > 4.6), slopes
        assert np.all(slopes < 6.5), slopes


def test_the_flow_of_the_explicit_solver():
    network, data = stiff(30.0)
    ts = jnp.geomspace(1e-2, 30, 40)
    options = {"ts": ts, "measures": [jf.measures.ImbalanceDrift(along=True)]}
    exact = jf.gradient_flow(network, data, solver="explicit", rtol=1e-12, **options).check()
    assert not exact.stats["implicit"]
    for rtol in (1e-5, 1e-8):
        flow = jf.gradient_flow(network, data, solver="implicit", rtol=rtol, **options).check()
        assert flow.stats["implicit"]
        assert flow.stats["steps"] < 150
        # 10 rtol of what it is relative to.
        np.testing.assert_allclose(flow.log_excess, exact.log_excess, rtol=0, atol=10 * rtol)
        np.testing.assert_allclose(flow.network.V, exact.network.V, rtol=0, atol=10 * rtol)
        assert flow.measures["imbalance_drift"] <= 10 * rtol
        assert flow.stats["discrepancy"] <= 100 * rtol


@pytest.mark.parametrize("ratio", [1e-30, 1e-100])
def test_deep_stops_at_the_right_time(ratio):
    network, data = stiff(1e6)
    flows = [
        jf.gradient_flow(
            network, data, until=jf.until.loss_ratio(ratio), solver="implicit", rtol=rtol
        ).check()
        for rtol in (1e-5, 1e-6, 1e-9)
    ]
    *loose, tight = flows
    for flow in loose:
        assert abs(flow.t1 / tight.t1 - 1) < 1e-5
        np.testing.assert_allclose(
            flow.log_excess1 - flow.stats["initial_log_excess"], np.log(ratio), atol=1e-6
        )
        assert flow.stats["steps"] < 200


@pytest.mark.parametrize("condition", [1e2, 1e7, 1e12])
def test_steps_do_not_grow_with_the_condition_number(condition):
    network, data = stiff(condition)
    rule = jf.until.loss_ratio(1e-20)
    flow = jf.gradient_flow(network, data, until=rule, solver="implicit", rtol=1e-8).check()
    assert flow.stats["steps"] <= 400
    tight = jf.gradient_flow(network, data, until=rule, solver="implicit", rtol=1e-9).check()
    assert abs(flow.t1 / tight.t1 - 1) < 1e-6
    bound = jf.theory.rate_bound(network, data)
    promised = bound.log_envelope(flow.ts)
    assert np.all(np.asarray(flow.log_excess <= promised + 1e-6))


def test_a_horizon_of_1e12():
    network, data = stiff(1e4)
    flow = jf.gradient_flow(network, data, t1=1e12, solver="implicit").check()
    assert flow.stats["steps"] < 500
    rate = jf.theory.limit_rate(flow.network, data)
    np.testing.assert_allclose(flow.log_excess1, -rate * 1e12, rtol=1e-4)
    assert flow.log_excess1 < -1e6


def test_a_slow_mode_too_small_to_be_seen_still_takes_over():
    # The targets hardly have a component along the slow direction, and the weights none.
    # (Four directions and one output more, for the shape, are there without anything to learn.)
    Y = np.zeros((6, 2))
    Y[:2, 0] = 1.0, 1e-11
    data = jf.Regression(np.diag([1.0, 0.1, 1, 1, 1, 1]), Y)
    network = jf.TwoLayerLinear(jnp.eye(6, 8), jnp.eye(2, 8, k=6).at[1].set(0))
    rule = jf.until.loss_ratio(1e-40)
    ends = [
        jf.gradient_flow(network, data, until=rule, solver=solver, rtol=rtol).check().t1
        for solver, rtol in (("implicit", 1e-6), ("explicit", 1e-9))
    ]
    assert abs(ends[0] / ends[1] - 1) < 1e-5


def test_nothing_to_learn():
    data = jf.Regression(np.eye(6), np.ones((6, 2)))
    network = jf.TwoLayerLinear(jnp.ones((6, 8)), jnp.eye(2, 8))
    rule = jf.until.loss_ratio(1e-3)
    flow = jf.gradient_flow(network, data, until=rule, solver="implicit").check()
    assert flow.log_excess1 == -jnp.inf
    assert flow.stats["discrepancy"] == 0


def test_no_matrix_of_the_size_of_the_residual():
    m, r = 12, 13
    network, data = stiff(1e3, m=m, r=r)
    form = TwoLayerResidual.build(network, data, jf.SquaredLoss())
    solver = jf.Implicit().bind(form, jnp.asarray(1e-8))
    y0 = form.start(network)
    closed = jax.make_jaxpr(lambda t: solver.step(None, 0.0, t, y0, None, None, False)[0])(1.0)
    largest = max(sizes(closed.jaxpr))
    state = sum(leaf.size for leaf in jax.tree.leaves(y0))
    assert largest <= tableau.STAGES * state < (m * r) ** 2 / 2


def sizes(jaxpr):
    for equation in jaxpr.eqns:
        yield from (v.aval.size for v in equation.outvars if hasattr(v.aval, "size"))
        for value in jax.tree.leaves(equation.params, is_leaf=lambda x: hasattr(x, "jaxpr")):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from sizes(inner)


def test_derivatives():
    network, data = stiff(1e3)

    def loss(V, solver):
        moved = jf.TwoLayerLinear(network.U, V)
        flow = jf.gradient_flow(
            moved, data, ts=jnp.array([0.3, 2.0]), solver=solver, rtol=1e-10, max_steps=1024
        )
        return flow.log_excess1 + jnp.sum(flow.network.U**2) + flow.log_excess[0]

    implicit = jax.jit(jax.value_and_grad(lambda V: loss(V, "implicit")))(network.V)
    explicit = jax.jit(jax.value_and_grad(lambda V: loss(V, "explicit")))(network.V)
    np.testing.assert_allclose(implicit[0], explicit[0], rtol=1e-8)
    np.testing.assert_allclose(implicit[1], explicit[1], rtol=1e-6, atol=1e-8)


def test_under_vmap_every_trajectory_is_its_own():
    network, data = stiff(1e4)

    def end(V):
        moved = jf.TwoLayerLinear(network.U, V)
        rule = jf.until.loss_ratio(1e-12)
        return jf.gradient_flow(moved, data, until=rule, solver="implicit", rtol=1e-7).t1

    several = jnp.stack([network.V, 0.3 * network.V, 2 * network.V])
    alone = jnp.stack([end(V) for V in several])
    np.testing.assert_allclose(jax.jit(jax.vmap(end))(several), alone, rtol=1e-6)


def test_single_precision():
    network, data = stiff(1e3)
    narrow = jf.Regression(np.asarray(data.X, np.float32), np.asarray(data.Y, np.float32))
    small = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), network)
    flow = jf.gradient_flow(small, narrow, until=jf.until.loss_ratio(1e-20), solver="implicit")
    flow.check()
    wide = jf.gradient_flow(network, data, until=jf.until.loss_ratio(1e-20), solver="implicit")
    assert flow.t1.dtype == flow.network.V.dtype == jnp.float32
    np.testing.assert_allclose(flow.t1, wide.t1, rtol=1e-2)


# Any network


@pytest.fixture(scope="module")
def shallow():
    rng = np.random.default_rng(0)
    data = jf.Regression(rng.normal(size=(12, 3)), rng.normal(size=(12, 2)))
    return eqx.nn.MLP(3, 2, 30, 1, activation=jnp.tanh, key=jr.key(0)), data


@pytest.fixture(scope="module")
def flows(shallow):
    """Of a tanh network, by both solvers, until its gradient is small."""
    rule, ts = jf.until.gradient_norm(1e-2), jnp.append(jnp.geomspace(1e-2, 20.0, 30), 1e3)
    return {
        solver: jf.gradient_flow(*shallow, ts=ts, until=rule, solver=solver, rtol=rtol).check()
        for solver, rtol in (("explicit", 1e-11), ("implicit", 1e-7))
    }


def test_a_tanh_network(flows):
    exact, flow = flows["explicit"], flows["implicit"]
    assert flow.stats["steps"] < exact.stats["steps"] / 10
    np.testing.assert_allclose(flow.log_excess, exact.log_excess, rtol=0, atol=1e-6)
    ends = [jax.tree.leaves(eqx.filter(f.network, eqx.is_array)) for f in (flow, exact)]
    for a, b in zip(*ends, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


def test_gradient_norm_is_a_stopping_rule(shallow, flows):
    data = shallow[1]

    @eqx.filter_jit
    @eqx.filter_grad
    def gradient(network):
        return 0.5 * jnp.sum((data.Y - jax.vmap(network)(data.X)) ** 2)

    for flow in flows.values():
        leaves = map(np.asarray, jax.tree.leaves(gradient(flow.network)))
        size = np.sqrt(sum(np.sum(leaf**2) for leaf in leaves))
        np.testing.assert_allclose(size, 1e-2, rtol=1e-3)
    with pytest.raises(ValueError, match="positive and finite"):
        jf.until.gradient_norm(0.0)


def test_kinks_cost_steps_and_nothing_else(shallow):
    _, data = shallow
    network = eqx.nn.MLP(3, 2, 30, 1, activation=jax.nn.relu, key=jr.key(0))
    exact = jf.gradient_flow(network, data, t1=0.1, solver="explicit", rtol=1e-5).check()
    flow = jf.gradient_flow(
        network, data, t1=0.1, solver="implicit", rtol=1e-4, formulation="residual"
    )
    assert flow.check().stats["rejected"] > 0  # there are some
    assert abs(flow.log_excess1 - exact.log_excess1) < 1e-3


# The choice


def test_the_cheaper_one_is_taken():
    network, data = stiff(1e6)
    rule = jf.until.loss_ratio(1e-6)
    assert jf.gradient_flow(network, data, until=rule).check().stats["implicit"]
    assert not jf.gradient_flow(network, data, t1=1.0).stats["implicit"]
    mild = stiff(2.0)
    assert not jf.gradient_flow(*mild, until=rule).stats["implicit"]
    # Values that are not known yet decide nothing.
    traced = jax.jit(lambda V: jf.gradient_flow(jf.TwoLayerLinear(network.U, V), data, t1=1.0))
    assert not traced(network.V).stats["implicit"]


def test_prediction_follows_the_spectrum():
    network, data = stiff(1e3)
    form = TwoLayerResidual.build(network, data, jf.SquaredLoss())
    flow = jf.gradient_flow(network, data, until=jf.until.loss_ratio(1e-20)).check()
    slowest, fastest = form.spectrum(network)
    rate = float(jf.theory.limit_rate(flow.network, data)) / 2
    assert 0.3 * rate < slowest < 3 * rate
    assert fastest > slowest
    general = Residual.build(network, data, jf.SquaredLoss())
    levels = general.spectrum(network)
    explicit = np.linalg.eigvalsh(tangent_kernel(network, data))
    np.testing.assert_allclose(levels, [explicit[0], explicit[-1]], rtol=1e-8)


def tangent_kernel(network, data):
    def predict(network):
        return jax.vmap(network)(data.X)

    J = jax.jacrev(predict)(network)
    rows = [np.asarray(leaf).reshape(data.Y.size, -1) for leaf in jax.tree.leaves(J)]
    return sum(row @ row.T for row in rows)


def test_a_forced_solver_is_kept():
    network, data = stiff(1e6)
    for name in ("explicit", "implicit"):
        options = flow_settings(jnp.float64, solver=name, until=jf.until.loss_ratio(1e-20))
        chosen = choose_solver(options, [network], data, None)
        assert (type(chosen.solver), chosen.formulation) == (type(options.solver), "auto")
    with pytest.raises(ValueError, match="choose 'auto', 'explicit', 'implicit'"):
        jf.gradient_flow(network, data, t1=1.0, solver="stiff")


MEASURES = [jf.measures.RateSlack(), jf.measures.ImbalanceDrift()]
# What two sweeps have in common: their programs are the same.
COMMON = {"seeds": 3, "until": jf.until.loss_ratio(1e-10), "measures": MEASURES, "max_steps": 500}


def test_sweeps_choose_by_chunk():
    _, hard = stiff(1e6)
    _, mild = stiff(2.0)
    sweep = jf.Sweep(
        {"hard": hard, "mild": mild},
        jf.init.Gaussian(),
        over={"data": ["hard", "mild"], "width": [50, 10**6]},
        **COMMON,
    )
    dataset = jf.run(sweep)
    assert np.all(dataset.status == 1)
    assert np.all(dataset.implicit.sel(data="hard") == 1)
    assert np.all(dataset.implicit.sel(data="mild") == 0)
    assert np.all(dataset.slack > 0)
    assert np.all(dataset.imbalance_drift < 1e-7)
    cell = sweep.cells[0]
    alone = jf.gradient_flow(
        jax.tree.map(lambda leaf: leaf[0], draw(sweep, cell)),
        hard.rotated(),
        until=jf.until.loss_ratio(1e-10),
    )
    np.testing.assert_allclose(
        dataset.t_end.sel(data="hard", width=50, seed=0), alone.t1, rtol=1e-7
    )


def test_what_explicit_steps_cannot_do_is_done_by_the_other():
    _, data = stiff(1e5)
    sweep = jf.Sweep(data, jf.init.Gaussian(), widths=[50, 100], solver="explicit", **COMMON)
    dataset = jf.run(sweep)
    assert np.all(dataset.status == 1)
    assert np.all(dataset.retried == 1)
    assert np.all(dataset.implicit == 1)


@pytest.mark.parametrize("smallest", [1e-9, 1e-11])
def test_nearly_rank_deficient_data(smallest):
    # What counts as zero belongs to L*; what does not is learned in its own time.
    rng = np.random.default_rng(0)
    X = np.linalg.qr(rng.normal(size=(6, 6)))[0] * np.r_[np.geomspace(1, 0.3, 5), smallest]
    Y = X @ rng.normal(size=(6, 2))
    kept, dropped = (jf.Regression(X, Y, rank_tolerance=tol) for tol in (1e-15, 1e-6))
    assert (kept.rank, dropped.rank) == (6, 5)
    network = jf.init.Gaussian().compressed(jr.key(0), kept, width=100)
    flow = jf.gradient_flow(network, kept, t1=1e12, solver="implicit").check()
    assert flow.stats["steps"] < 400
    # The slow direction has hardly begun to be learned: its part of the loss is what is left, and
    # the weights agree on it.
    slow = kept.targets[-1] - kept.singular_values[-1] * (kept.right.T @ flow.network.product)[-1]
    np.testing.assert_allclose(
        flow.log_excess1, np.log(0.5 * np.sum(np.asarray(slow) ** 2)), atol=1e-4
    )
    rule = jf.until.loss_ratio(1e-25)
    flow = jf.gradient_flow(network, dropped, until=rule, solver="implicit").check()
    np.testing.assert_allclose(dropped.optimal_loss, 0.5 * np.sum(kept.targets[-1] ** 2), rtol=1e-4)
