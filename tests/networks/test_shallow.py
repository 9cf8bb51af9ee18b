"""The shallow network, its laws, its linearized flow, and its spline coordinates."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from scipy import stats

import jaxflow as jf
from jaxflow import ShallowNetwork, theory
from jaxflow.networks.activations import NAMES, LeakyReLU, ReLU, Swish, Tanh
from jaxflow.networks.init import Normal, Shallow, Sphere, Uniform

LINE = jf.Regression(np.arange(-2.0, 3.0)[:, None], np.array([1.5, 0.5, 1.5, 0.5, 1.5]))
GRID = jnp.linspace(-2, 2, 21)[:, None]
linearized = eqx.filter_jit(theory.LinearizedFlow)


@eqx.filter_jit
def values(network):
    return jax.vmap(network)(GRID)


def test_it_is_its_formula(key):
    rng = np.random.default_rng(0)
    W, b, V, c = rng.normal(size=(5, 3)), rng.normal(size=5), rng.normal(size=(2, 5)), np.ones(2)
    x = rng.normal(size=3)
    network = ShallowNetwork(*map(jnp.asarray, (W, b, V, c)), scale=0.5, activation=jnp.tanh)
    np.testing.assert_allclose(network(jnp.asarray(x)), 0.5 * V @ np.tanh(W @ x + b) + c)


def test_activations_by_name(key):
    z = np.linspace(-3, 3, 13)
    formulas = {
        "relu": np.maximum(z, 0),
        "leaky_relu": np.where(z > 0, z, 0.01 * z),
        "tanh": np.tanh(z),
        "swish": z / (1 + np.exp(-z)),
        "silu": z / (1 + np.exp(-z)),
        "gelu": z * stats.norm.cdf(z),
        "elu": np.where(z > 0, z, np.expm1(z)),
        "selu": 1.0507009873554805 * np.where(z > 0, z, 1.6732632423543772 * np.expm1(z)),
        "softplus": np.log1p(np.exp(z)),
        "sigmoid": 1 / (1 + np.exp(-z)),
        "hardtanh": np.clip(z, -1, 1),
        "erf": 2 * stats.norm.cdf(np.sqrt(2) * z) - 1,
    }
    assert set(formulas) == set(NAMES)
    for name, wanted in formulas.items():
        network = ShallowNetwork(np.ones((1, 1)), np.zeros(1), np.ones((1, 1)), activation=name)
        np.testing.assert_allclose(jax.vmap(network)(z[:, None])[:, 0], wanted, atol=1e-14)
    assert Shallow(activation="gelu") == Shallow(activation=NAMES["gelu"])
    swept = jf.Sweep(LINE, Shallow(), over={"activation": ["gelu", "erf"]}, widths=[2], t1=1.0)
    assert [cell.law.activation for cell in swept.cells] == [NAMES["gelu"], NAMES["erf"]]
    with pytest.raises(ValueError, match="choose one of 'relu'"):
        Shallow(activation="rleu")


@pytest.mark.parametrize("activation", [ReLU(), ReLU(3), LeakyReLU(0.1), Tanh(), Swish()])
def test_activations(activation):
    z = np.linspace(-2, 2, 41)
    formula = {
        "ReLU": lambda: np.maximum(z, 0) ** activation.power,
        "LeakyReLU": lambda: np.where(z > 0, z, 0.1 * z),
        "Tanh": lambda: np.tanh(z),
        "Swish": lambda: z / (1 + np.exp(-z)),
    }[type(activation).__name__]
    np.testing.assert_allclose(activation(jnp.asarray(z)), formula(), atol=1e-15)


def test_smoothing_is_continuous_to_first_order():
    rounded = ReLU(smoothing=0.1)
    for edge in (-0.1, 0.1):
        for f in (rounded, jax.grad(rounded)):
            gap = f(jnp.asarray(edge + 1e-12)) - f(jnp.asarray(edge - 1e-12))
            assert abs(gap) < 1e-10
    z = jnp.linspace(-1, 1, 201)
    assert jnp.max(jnp.abs(rounded(z) - ReLU()(z))) <= 0.1 / 4 + 1e-12


@pytest.mark.parametrize("parametrization", ["standard", "ntk"])
def test_antisymmetric_networks_are_zero_with_the_same_kernel(key, parametrization):
    both = Shallow(parametrization=parametrization)
    one = Shallow(parametrization=parametrization, antisymmetric=False)
    a, b = both(key, LINE, width=50), one(key, LINE, width=50)
    assert a.width == 100
    np.testing.assert_allclose(values(a), jnp.zeros((21, 1)), atol=1e-14)
    T = theory.tangent_kernel(b, LINE)
    np.testing.assert_allclose(theory.tangent_kernel(a, LINE), T, rtol=1e-12)


def test_a_draw_does_not_depend_on_its_room(key):
    law = Shallow()
    exact, roomy = law(key, LINE, width=37), law(key, LINE, width=jnp.asarray(37.0), room=64)
    np.testing.assert_allclose(values(exact), values(roomy), atol=1e-15)
    wider = law(key, LINE, width=40)
    np.testing.assert_array_equal(exact.W[:37], wider.W[:37])
    part = law(key, LINE, width=37, room=16, first=32)  # units 32 to 47, of which 5 are there
    np.testing.assert_array_equal(part.W[:5], exact.W[32:37])
    np.testing.assert_array_equal(part.scale[:16] > 0, np.arange(16) < 5)
    a, b = (
        jf.gradient_flow(n, LINE, ts=[5.0], rtol=1e-10, solver="explicit").check()
        for n in (exact, roomy)
    )
    assert a.log_excess1 < a.stats["initial_log_excess"] - 3  # they have come far
    gap = values(a.network) - values(b.network)
    assert jnp.max(jnp.abs(gap)) < 1e-7
    np.testing.assert_array_equal(b.network.W[37:64], roomy.W[37:64])  # nobody moved the others


def test_one_program_serves_a_bucket(key):
    law = Shallow(output_only=True)
    assert [law.bucket(w, LINE)["room"] for w in (1, 2, 4, 5, 64, 65, 4096, 4097, 20480)] == [
        1,
        4,
        4,
        16,
        64,
        256,
        4096,
        8192,
        32768,
    ]
    sweep = jf.Sweep(
        LINE,
        law,
        widths=[20, 33, 64],
        seeds=3,
        until=jf.until.loss_ratio(1e-12),
        measures=[jf.measures.Predictions(GRID)],
    )
    found = jf.run(sweep)
    assert (found.status == 1).all()

    @jax.jit
    def limit(key, width):
        return theory.LinearizedFlow(law(key, LINE, width=width, room=64), LINE)(GRID)

    for cell in sweep.cells:
        keys = cell.keys(sweep.key, 3)
        for seed in range(3):
            end = limit(keys[seed], float(cell.coordinates["width"]))
            got = found.predictions.sel(width=cell.coordinates["width"], seed=seed).values
            np.testing.assert_allclose(got, end, atol=1e-4)


@pytest.mark.parametrize("intercept", [False, True])
def test_the_closed_form_is_the_flow(key, intercept):
    law = Shallow(output_only=True, antisymmetric=False, intercept=intercept, activation=Tanh())
    network = law(key, LINE, width=30)
    closed = linearized(network, LINE)
    for t in (0.01, 0.3, 10.0):
        flow = jf.gradient_flow(network, LINE, ts=[t], rtol=1e-11).check().network
        np.testing.assert_allclose(closed(GRID, t), values(flow), atol=1e-8)
        np.testing.assert_allclose(closed.at(t).V, flow.V, atol=1e-8)
        np.testing.assert_array_equal(flow.W, network.W)
    np.testing.assert_allclose(closed(LINE.X), LINE.Y, atol=1e-6)


def test_the_linearization_is_that_of_the_network(key):
    network = Shallow(antisymmetric=False, activation=Tanh())(key, LINE, width=30)
    closed, t = linearized(network, LINE), 1e-4
    flow = jf.gradient_flow(network, LINE, ts=[t], rtol=1e-11).check().network
    start = values(network)
    moved = values(flow) - start
    assert jnp.linalg.norm(closed(GRID, t) - start - moved) < 0.01 * jnp.linalg.norm(moved)
    np.testing.assert_allclose(closed(GRID, 0.0), start, atol=1e-14)


def test_samples_with_one_input_get_their_mean(key):
    data = jf.Regression(np.array([[0.5], [0.5], [-1.0]]), np.array([1.0, 2.0, 0.0]))
    network = Shallow()(key, data, width=50)
    end = jf.gradient_flow(network, data, until=jf.until.loss_ratio(1e-12)).check()
    np.testing.assert_allclose(jax.vmap(end.network)(data.X)[:, 0], [1.5, 1.5, 0], atol=1e-4)
    assert end.optimal_loss == pytest.approx(0.25)


def test_minibatches(key):
    network = Shallow(output_only=True, weights=Sphere())(key, LINE, width=100)
    flow = linearized(network, LINE)
    rate = 0.2 / float(flow.levels[-1])
    end = jf.gradient_descent(
        network, LINE, optax.sgd, learning_rate=rate, steps=60_000, batch=2, key=key, saves=4
    )
    np.testing.assert_allclose(values(end.network), flow(GRID), atol=1e-3)
    # A batch of all samples is no batch.
    whole = jf.gradient_descent(network, LINE, optax.sgd, learning_rate=rate, steps=9, batch=5)
    plain = jf.gradient_descent(network, LINE, optax.sgd, learning_rate=rate, steps=9)
    np.testing.assert_array_equal(whole.network.V, plain.network.V)
    # In the mean over batches, the gradient of L.
    form = jf.dynamics.formulations.Parameters.build(network, LINE, jf.SquaredLoss())
    start = form.start(network)
    pairs = jnp.asarray([[i, j] for i in range(5) for j in range(5) if i != j])
    step = jax.vmap(lambda rows: jax.grad(form.batch_loss)(start, LINE.X[rows], LINE.Y[rows]).V)
    mean = step(pairs).mean(0)
    np.testing.assert_allclose(mean, jax.grad(form.excess)(start).V, rtol=1e-10)
    with pytest.raises(ValueError, match=r"1 \.\.\. 5 samples, got 6"):
        jf.gradient_descent(network, LINE, optax.sgd, learning_rate=0.1, steps=1, batch=6)


def test_breakpoints_move_as_the_formula_says(key):
    network = Shallow(antisymmetric=False, activation=ReLU())(key, LINE, width=74)
    x = GRID[:, 0]
    spline = theory.breakpoints(network)
    away = x[:, None] - spline.xi[None]
    pieces = jnp.where(spline.orientation[None] * away > 0, away, 0)
    np.testing.assert_allclose(pieces @ spline.mu, values(network)[:, 0], atol=1e-12)
    t = 1e-7
    end = jf.gradient_flow(network, LINE, ts=[t], rtol=1e-12, solver="explicit").check().network
    later = theory.breakpoints(end)
    xi, mu = theory.delta_slope_velocity(network, LINE)
    np.testing.assert_allclose((later.xi - spline.xi) / t, xi, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose((later.mu - spline.mu) / t, mu, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(later.invariant, spline.invariant, atol=1e-12)


def test_densities_of_breakpoints():
    xi, mu = np.array([0.3, -1.5, 4.0]), np.array([0.02, 0.1, -0.05])
    normal = Shallow(
        weights=Normal(0.8), biases=Normal(1.3), outputs=Normal(0.7), antisymmetric=False
    )
    size = 0.7 / 10
    R = np.sqrt(1.3**2 + 0.8**2 * xi**2)
    exact = np.exp(-np.abs(mu) * R / (1.3 * size * 0.8)) / (2 * np.pi * size * R)
    np.testing.assert_allclose(theory.initial_density(normal, xi, mu, width=100), exact, rtol=1e-8)
    exact = stats.cauchy.pdf(xi, scale=1.3 / 0.8) * stats.laplace.pdf(
        mu, scale=1.3 * size * 0.8 / R
    )
    np.testing.assert_allclose(theory.initial_density(normal, xi, mu, width=100), exact, rtol=1e-8)
    uniform = Shallow(
        weights=Uniform(0.8), biases=Uniform(1.3), outputs=Uniform(0.7), antisymmetric=False
    )
    exact = np.maximum(np.minimum(1.3 / np.abs(xi), 0.8) - np.abs(mu) / size, 0) / (
        4 * 1.3 * 0.8 * size
    )
    found = theory.initial_density(uniform, xi, np.array([0.02, 0.03, -0.01]), width=100)
    exact = np.maximum(
        np.minimum(1.3 / np.abs(xi), 0.8) - np.array([0.02, 0.03, 0.01]) / size, 0
    ) / (4 * 1.3 * 0.8 * size)
    np.testing.assert_allclose(found, exact, rtol=1e-6)


def test_the_hessian_and_its_products(key):
    network = Shallow(antisymmetric=False, activation=Tanh())(key, LINE, width=6)
    H = theory.hessian(network, LINE)
    assert H.shape == (18, 18)
    np.testing.assert_allclose(H, H.T, atol=1e-12)
    v = jr.normal(key, (18,))
    np.testing.assert_allclose(theory.hessian_product(network, LINE, v), H @ v, atol=1e-12)
    np.testing.assert_allclose(theory.sharpness(network, LINE), jnp.linalg.eigvalsh(H)[-1])


def test_bad_input(key, unchecked):
    with pytest.raises(ValueError, match="W of shape"):
        ShallowNetwork(jnp.ones((3, 2)), jnp.ones(4), jnp.ones((1, 3)))
    with pytest.raises(ValueError, match="parametrization"):
        Shallow(parametrization="mean field")
    with pytest.raises(ValueError, match="power"):
        ReLU(0)
    with pytest.raises(ValueError, match="smoothing=0"):
        ReLU(2, smoothing=0.1)
    with pytest.raises(ValueError, match="zero or more"):
        LeakyReLU(smoothing=-1.0)
    for law in (Uniform, Normal, Sphere):
        with pytest.raises(ValueError, match="positive"):
            law(0.0)
    with pytest.raises(ValueError, match="width must be at least 1"):
        Shallow()(key, LINE, width=0)
    wide = jf.Regression(np.eye(3), np.ones(3))
    with pytest.raises(ValueError, match="maps R"):
        jf.gradient_flow(Shallow()(key, LINE, width=3), wide, t1=1.0)
    with pytest.raises(ValueError, match="one input and one output"):
        theory.breakpoints(Shallow()(key, wide, width=3))
    with pytest.raises(ValueError, match="points must have shape"):
        jf.measures.Predictions(np.ones(3))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_equal_inputs_share_the_mean_of_their_targets(dtype):
    """Against the matrix of all pairs, also for small integers, whose bits are much alike."""
    rng = np.random.default_rng(0)
    X, Y = rng.integers(-2, 3, size=(60, 3)).astype(dtype), rng.normal(size=(60, 2)).astype(dtype)
    X[X == 0] *= np.where(rng.random(np.sum(X == 0)) < 0.5, -1, 1)  # both zeros are zero
    same = np.all(X[:, None] == X[None], axis=-1)
    expected = (same @ Y.astype(float)) / same.sum(axis=1, keepdims=True)
    assert same.sum() > 60
    found = jf.Regression(X, Y).means
    np.testing.assert_allclose(found, expected, rtol=1e-13 if dtype == np.float64 else 1e-5)
    apart = rng.normal(size=(60, 3)).astype(dtype)
    assert np.array_equal(jf.Regression(apart, Y).means, Y)
