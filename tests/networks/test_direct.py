"""Compressed networks drawn directly: the same laws, at any width, without large arrays."""

import functools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from jax.extend.core import jaxprs_in_params
from scipy import stats

import jaxflow as jf
from jaxflow.networks import compress
from jaxflow.networks.init import (
    Balanced,
    Gaussian,
    Initialization,
    LambdaBalanced,
    Orthogonal,
    Spectral,
)
from jaxflow.networks.wishart import bartlett
from jaxflow.sweeps import program
from jaxflow.sweeps.drawing import draw_mode, draw_one, groups

DATA = jf.data.gaussian(jr.key(7), 5, 20, 3)
M, R = DATA.outputs, DATA.rank
SAMPLES = 4000
ALIKE, UNLIKE = 1e-3, 1e-6  # p-values of two-sample tests; all keys are fixed
TS = np.geomspace(0.01, 3, 12)
MEASURES = [jf.measures.OffSpanDistance(), jf.measures.InSpanDistance(), jf.measures.Level()]


def flow(net, data):
    """The flow; of all compressed networks by one program, since zeros fill up narrow ones."""
    more = ((0, 0), (0, max(M + R - net.width, 0)))
    net = jf.TwoLayerLinear(*(jnp.asarray(np.pad(leaf, more)) for leaf in (net.U, net.V)))
    measures = [*MEASURES, jf.measures.Product()]
    return jf.gradient_flow(
        net, data, ts=TS, measures=measures, rtol=1e-11, solver="explicit"
    ).check()


class Drawn(Initialization):
    """Gaussian networks drawn in full."""

    def __call__(self, key, data, *, width):
        return Gaussian()(key, data, width=width)


class Wrong(Gaussian):
    """A factor with chi_h all along its diagonal."""

    width_free = False

    def _span(self, key, data, width):
        V, U1, su, rest = super()._span(key, data, width)
        L = jnp.concatenate([V, U1]) / su
        again = jr.normal(jr.fold_in(key, 1), (len(L), width), L.dtype)
        L = L.at[jnp.arange(len(L)), jnp.arange(len(L))].set(jnp.linalg.norm(again, axis=1))
        return su * L[:M], su * L[M:], su, rest


def laws_of(init, width):
    measures = [jf.measures.Level(), jf.measures.LimitRate(), jf.measures.OffSpanDistance()]
    sweep = jf.Sweep(
        DATA,
        init,
        widths=[width],
        seeds=SAMPLES,
        key=jr.key(11),
        until=jf.until.loss_ratio(0.1),
        measures=measures,
        rtol=1e-4,
    )
    ds = jf.run(sweep)
    assert set(ds["status"].values.ravel()) == {1}
    return [ds[measure.name].values.ravel() for measure in measures]


def p_values(one, other):
    return [stats.ks_2samp(a, b).pvalue for a, b in zip(one, other, strict=True)]


@pytest.fixture
def flows_optimized(optimized, monkeypatch):
    """All passes of the compiler for the flows; draws run for less than these would take."""
    draw = program.draw

    def plain(*arguments):
        jax.config.update("jax_disable_most_optimizations", True)
        networks = draw(*arguments)
        jax.config.update("jax_disable_most_optimizations", False)
        return networks

    monkeypatch.setattr(program, "draw", plain)


@pytest.mark.usefixtures("flows_optimized")
@pytest.mark.parametrize("width", [30, 200])
def test_level_rate_and_distance_have_the_law_of_full_networks(width):
    # A wrong law differs by 1 / width, the more the smaller the width; the flow need not go far,
    # and no further digits change the order of 4,000 samples: p-values are those at rtol 1e-8.
    direct, full = laws_of(Gaussian(), width), laws_of(Drawn(), width)
    assert min(p_values(direct, full)) > ALIKE
    if width == 30:
        assert min(p_values(laws_of(Wrong(), width), full)) < UNLIKE


@functools.cache
def grams(how, width):
    draw = getattr(Gaussian(scale=(0.7, 1.3)), how)
    keys = jr.split(jr.key(0 if how == "__call__" else 1), SAMPLES)
    nets = jax.vmap(lambda key: draw(key, DATA, width=width))(keys)
    U, V = np.asarray(nets.U), np.asarray(nets.V)
    right = np.asarray((DATA.rotated() if how == "rotated" else DATA).right)
    Z = np.concatenate([V, right.T @ U], axis=1)
    off = (U - right @ (right.T @ U)) @ np.swapaxes(V, 1, 2)
    level = np.linalg.eigvalsh(Z @ np.swapaxes(Z, 1, 2))[:, -1]
    return level, np.sum(off**2, axis=(1, 2)), np.sum(Z[:, 0] * Z[:, -1], axis=1)


@pytest.mark.parametrize("width", [1, 2, 5, 8, 9])
@pytest.mark.parametrize("how", ["compressed", "rotated"])
def test_narrow_and_wide_networks_have_the_law_of_full_ones(how, width):
    assert min(p_values(grams("__call__", width), grams(how, width))) > ALIKE


@pytest.mark.parametrize("rows", [1, 3, 6])
@pytest.mark.parametrize("width", [1, 4, 6, 50])
def test_bartletts_factor_is_that_of_a_gaussian_matrix(rows, width):
    L = jax.vmap(lambda key: bartlett(key, rows, width, jnp.float64))(jr.split(jr.key(2), 20_000))
    L = np.asarray(L)
    k = min(rows, width)
    assert L.shape == (20_000, rows, k)
    np.testing.assert_array_equal(L, np.tril(L))
    G = L @ np.swapaxes(L, 1, 2)
    # E G = h I, and Var G_ij = h (1 + delta_ij).
    error = np.sqrt(width * (1 + np.eye(rows)) / len(G))
    assert np.all(np.abs(G.mean(0) - width * np.eye(rows)) < 5 * error)
    second = np.var(G, axis=0) / (width * (1 + np.eye(rows)))
    assert np.all(np.abs(second - 1) < 0.15)


def test_an_array_of_widths_is_the_same_draw():
    key = jr.key(5)
    for width in (8, 1000, 10**9):
        plain = Gaussian(0.4).rotated(key, DATA, width=width)
        array = Gaussian(0.4).rotated(key, DATA, width=jnp.asarray(float(width)))
        np.testing.assert_allclose(plain.U, array.U, rtol=1e-13)
        np.testing.assert_allclose(plain.V, array.V, rtol=1e-13)


LAWS = {
    "gaussian": (Gaussian(), 40),
    "two scales": (Gaussian(scale=(0.5, 2.0)), 40),
    "balanced": (Balanced(), 40),
    "spectral": (Spectral((0.3, 0.2)), 40),
    "orthogonal": (Orthogonal(), 40),
    "lambda balanced": (LambdaBalanced(0.5), 4),
}


@pytest.mark.parametrize("name", LAWS)
def test_every_law_is_drawn_compressed_and_rotated(name):
    law, width = LAWS[name]
    for how, data in (("compressed", DATA), ("rotated", DATA.rotated())):
        net = getattr(law, how)(jr.key(1), DATA, width=width)
        assert net.width <= M + R
        assert net.U.shape[0] == data.features
        imbalance = jf.theory.imbalance(net, data)
        full = jf.theory.imbalance(law(jr.key(1), DATA, width=width), DATA)
        # What is not random is the same; c of the others is of the same size.
        if name in ("spectral", "orthogonal", "lambda balanced"):
            np.testing.assert_allclose(imbalance.c, full.c, rtol=1e-10, atol=1e-12)
        else:
            assert abs(imbalance.c - full.c) < 0.5 * full.c + 1e-9
        log_excess = flow(net, data).log_excess
        assert log_excess[-1] < log_excess[0]


def test_rotation_keeps_every_norm_at_all_times():
    net = compress(Gaussian()(jr.key(3), DATA, width=25), DATA)
    turned = jf.networks.compression.rotate(net, DATA)
    one, other = flow(net, DATA), flow(turned, DATA.rotated())
    np.testing.assert_allclose(one.log_excess, other.log_excess, rtol=1e-10)
    for name in (measure.name for measure in MEASURES):
        np.testing.assert_allclose(one.measures[name], other.measures[name], rtol=1e-8)


def test_rotation_of_data_that_fills_its_space():
    data = jf.data.gaussian(jr.key(1), 9, 4, 2)
    assert data.rank == data.features == data.rotated().features == 4
    net = Gaussian().rotated(jr.key(0), data, width=50)
    assert net.U.shape == (4, 6)
    distance = jf.gradient_flow(
        net, data.rotated(), t1=1.0, measures=[jf.measures.OffSpanDistance()]
    ).measures["off_span_distance"]
    assert distance < 1e-14


# Sizes


def shapes_in(jaxpr):
    for equation in jaxpr.eqns:
        for variable in equation.outvars:
            yield variable.aval.shape
        for inner in jaxprs_in_params(equation.params):
            yield from shapes_in(inner)


D, H = 4099, 10**9
WIDE = jf.data.gaussian(jr.key(7), 5, D, 3)


def arrays_of(measures):
    sweep = jf.Sweep(WIDE, Gaussian(), widths=[H], seeds=1, t1=1.0, measures=measures)
    (group,) = groups(sweep, sweep.cells, np.arange(1))

    def draw(data):
        row = jax.tree.map(lambda leaf: jnp.asarray(leaf)[0], group.rows)
        network = draw_one(group.drawing, data, row)
        return network, (data.rotated() if group.drawing.mode == "rotated" else data)

    return draw_mode(sweep), list(shapes_in(jax.make_jaxpr(draw)(WIDE).jaxpr))


def test_distances_alone_need_no_array_of_the_size_of_d():
    how, shapes = arrays_of([jf.measures.OffSpanDistance(), jf.measures.Level()])
    assert how == "rotated"
    assert max(max(shape, default=1) for shape in shapes) < 200


def test_whatever_else_is_asked_no_array_has_the_size_of_the_width():
    how, shapes = arrays_of([jf.measures.Product()])
    assert how == "compressed"
    assert max(int(np.prod(shape)) for shape in shapes) <= D * (M + R)
    assert (D, M + R) in shapes


def test_width_costs_no_accuracy():
    # c -> h^(1 - 2 alpha) and G -> c I: at h = 10^9 to four digits.
    for alpha in (0.3, 0.5):
        net = Gaussian(alpha).rotated(jr.key(0), DATA, width=H)
        c = jf.theory.imbalance(net, DATA.rotated()).c
        np.testing.assert_allclose(c, 2 * H ** (1 - 2 * alpha), rtol=1e-3)


# Compression, pathwise


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda rate: optax.sgd(rate, momentum=0.9),
        lambda rate: optax.sgd(rate, momentum=0.9, nesterov=True),
    ],
    ids=["momentum", "nesterov"],
)
def test_five_thousand_steps_of_momentum(optimizer):
    net = Gaussian()(jr.key(4), DATA, width=400)
    runs = [
        jf.gradient_descent(n, DATA, optimizer, learning_rate=2e-4, steps=5000)
        for n in (net, compress(net, DATA))
    ]
    assert compress(net, DATA).width == M + R
    assert runs[0].log_excess[-1] < runs[0].log_excess[0] - 10
    np.testing.assert_allclose(runs[0].product, runs[1].product, rtol=0, atol=1e-12)


def test_the_flow_of_the_product():
    net = Gaussian()(jr.key(4), DATA, width=400)
    full, narrow = (flow(n, DATA) for n in (net, compress(net, DATA)))
    gap = np.abs(full.measures["product"] - narrow.measures["product"]).max()
    assert gap < 1e-10
