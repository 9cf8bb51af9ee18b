"""Kernels, curvature weights and splines of wide shallow networks, against SciPy and draws."""

import functools
import itertools
import tracemalloc

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.integrate import quad
from scipy.interpolate import CubicSpline, RBFInterpolator, make_smoothing_spline
from scipy.special import gammaln
from scipy.stats import beta

import jaxflow as jf
from jaxflow import theory
from jaxflow.networks.activations import LeakyReLU, ReLU, Swish, Tanh
from jaxflow.networks.init import Law, Normal, Shallow, Sphere, Uniform

X = np.array([-2.0, -1, 0, 1, 2])
LINE = jf.Regression(X[:, None], np.array([1.5, 0.5, 1.5, 0.5, 1.5]))
GRID = np.linspace(-2, 2, 101)
LAWS = {
    "sign": Shallow(weights=Sphere(1.3), biases=Uniform(3.0)),
    "uniform": Shallow(weights=Uniform(2.0), biases=Uniform(3.0)),
    "gaussian": Shallow(weights=Normal(0.8), biases=Normal(0.5)),
    "mixed": Shallow(weights=Normal(0.8), biases=Uniform(2.5)),
    "mixed back": Shallow(weights=Uniform(2.0), biases=Normal(0.9)),
}
names = pytest.mark.parametrize("name", LAWS)


def of(name, **changes):
    fields = {f: getattr(LAWS[name], f) for f in ("weights", "biases")}
    return Shallow(**fields, **changes)


class Triangle(Law):
    """A law of one's own."""

    def sample(self, key, shape, dtype):
        return jnp.sum(jr.uniform(key, (2, *shape), dtype), axis=0) - 1

    def density(self, x):
        return np.maximum(1 - np.abs(x), 0.0)

    @property
    def support(self):
        return 1.0


class Heavy(Law):
    """Cauchy's law, which has no moments."""

    def sample(self, key, shape, dtype):
        return jr.cauchy(key, shape, dtype)

    def density(self, x):
        return 1 / (np.pi * (1 + x**2))


@names
@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("at", [0.0, 0.7, -1.9])
def test_zeta_is_its_integral(name, power, at):
    law = of(name, activation=ReLU(power))

    def integrand(w):
        return abs(w) ** (2 * power + 1) * float(law.biases.density(np.asarray(w * at)))

    if name == "sign":
        expected = integrand(1.3)
    else:
        end = min(law.weights.reach, law.biases.support / max(abs(at), 1e-9))
        density = law.weights.density
        expected = 2 * quad(lambda w: integrand(w) * float(density(np.asarray(w))), 0, end)[0]
    np.testing.assert_allclose(theory.zeta(law, at), expected, rtol=1e-8)


@names
def test_zeta_against_draws(name, key):
    # Of breakpoints in an interval, the mean of |w|^2: zeta is its density.
    law, count = LAWS[name], 400_000
    a, b = jr.split(key)
    w = np.asarray(law.weights.sample(a, (count,), float))
    xi = -np.asarray(law.biases.sample(b, (count,), float)) / w
    edges = np.linspace(-2, 2, 9)  # zeta is smooth in between, and Gauss's rule exact to 1e-6
    nodes, weights = np.polynomial.legendre.leggauss(6)
    half = 0.5 * np.diff(edges)
    at = edges[:-1, None] + half[:, None] * (1 + nodes)
    masses = half * (theory.zeta(law, at.ravel()).reshape(at.shape) @ weights)
    for (low, high), expected in zip(itertools.pairwise(edges), masses, strict=True):
        values = w**2 * ((xi > low) & (xi < high))
        error = values.std() / np.sqrt(count)
        assert abs(values.mean() - expected) < 4 * error


def test_zeta_of_many_features(key):
    law, d, count = LAWS["gaussian"], 3, 400_000
    a, b = jr.split(key)
    w = 0.8 * np.asarray(jr.normal(a, (count, d)))
    r = np.linalg.norm(w, axis=1)
    c = -np.asarray(law.biases.sample(b, (count,), float)) / r
    for low, high in itertools.pairwise(np.linspace(-1, 1, 5)):
        values = r**2 * ((c > low) & (c < high))
        expected = quad(lambda x: float(theory.zeta(law, x, features=d)), low, high)[0]
        assert abs(values.mean() - expected) < 4 * values.std() / np.sqrt(count)
    at = np.array([0.0, 0.3, -1.1])
    np.testing.assert_allclose(
        theory.zeta(law, at, features=d),
        theory.wide.curvature_penalty._quadrature(law, at, 1, d),
        rtol=1e-9,
    )


@pytest.mark.parametrize(
    ("name", "activation", "parametrization"),
    [
        ("sign", ReLU(2), "ntk"),
        ("uniform", ReLU(), "standard"),
        ("uniform", LeakyReLU(0.3), "ntk"),
        ("sign", Tanh(), "ntk"),
        ("mixed", ReLU(), "ntk"),
        ("uniform", Swish(), "standard"),
        ("mixed back", ReLU(2), "standard"),
    ],
)
def test_kernels_against_draws(name, activation, parametrization):
    law = of(
        name,
        activation=activation,
        parametrization=parametrization,
        antisymmetric=False,
        intercept=parametrization == "ntk",
    )
    points, count, width = X[:4:2], 24, 4000
    data = jf.Regression(points[:, None], points)
    expected = theory.infinite_width_kernel(law, points)

    @jax.jit
    def drawn(key):
        T = theory.tangent_kernel(law(key, data, width=width), data)
        return T / (width if parametrization == "standard" else 1)

    found = np.asarray(jax.lax.map(drawn, jr.split(jr.key(1), count)))
    # What the hidden layer adds to T / h in the standard parametrization.
    allowed = 10.0 * 4 / width if parametrization == "standard" else 0.0
    error = found.std(axis=0, ddof=1) / np.sqrt(count)
    assert np.all(np.abs(found.mean(axis=0) - expected) < 4 * error + allowed)


@pytest.mark.parametrize(
    ("features", "name", "activation"),
    [(2, "sign", ReLU()), (3, "gaussian", LeakyReLU(0.3)), (5, "sign", LeakyReLU(0.3))],
)
def test_kernels_of_many_features_against_draws(features, name, activation):
    law = of(name, activation=activation, parametrization="ntk", antisymmetric=False)
    points = 0.5 * np.asarray(jr.normal(jr.key(2), (3, features)))
    data = jf.Regression(points, points[:, 0])
    drawn = jax.jit(lambda key: theory.tangent_kernel(law(key, data, width=4000), data))
    found = np.asarray(jax.lax.map(drawn, jr.split(jr.key(1), 24)))
    error = found.std(axis=0, ddof=1) / np.sqrt(24)
    expected = theory.infinite_width_kernel(law, points)
    assert np.all(np.abs(found.mean(axis=0) - expected) < 4 * error)


def test_closed_forms_are_the_quadrature():
    for name in ("sign", "gaussian"):
        law = LAWS[name]
        closed = theory.infinite_width_kernel(law, X)
        by_quadrature = theory.wide.kernels._quadrature(law, X[:, None], X[:, None], False)
        np.testing.assert_allclose(closed, by_quadrature, rtol=1e-10)


@given(st.integers(2, 12), st.integers(0, 10**6))
@settings(max_examples=30)
def test_natural_splines_are_scipys(samples, seed):
    rng = np.random.default_rng(seed)
    x = np.cumsum(rng.uniform(0.2, 1, samples))
    y = rng.normal(size=samples)
    data = jf.Regression(x[:, None], y)
    at = np.linspace(x[0], x[-1], 50)
    spline = theory.spline(data)
    expected = CubicSpline(x, y, bc_type="natural")(at)
    # Relative to the terms of the sum, which cancel where knots crowd.
    terms = np.abs(spline.kernel(at[:, None], spline.centers)) @ np.abs(spline.weights[:, 0])
    assert np.all(np.abs(spline(at)[:, 0] - expected) < 1e-12 * np.maximum(1, terms))


def test_natural_splines_are_scipys_on_the_samples_of_the_paper():
    expected = CubicSpline(X, np.asarray(LINE.Y)[:, 0], bc_type="natural")(GRID)
    assert np.abs(theory.spline(LINE)(GRID)[:, 0] - expected).max() < 1e-13


def test_smoothing_and_polyharmonic_splines_are_scipys():
    rng = np.random.default_rng(0)
    x, y = np.sort(rng.uniform(-2, 2, 9)), rng.normal(size=9)
    data = jf.Regression(x[:, None], y)
    at = np.linspace(x[0], x[-1], 50)
    found = theory.spline(data, ridge=0.3)(at)[:, 0]
    np.testing.assert_allclose(found, make_smoothing_spline(x, y, lam=0.3)(at), atol=1e-10)
    for features in (2, 3):
        Z = rng.normal(size=(8, features))
        at = rng.normal(size=(20, features))
        exact = RBFInterpolator(Z, y[:8], kernel="cubic", degree=1)(at)
        np.testing.assert_allclose(
            theory.polyharmonic(jf.Regression(Z, y[:8]))(at)[:, 0], exact, atol=1e-10
        )


@pytest.mark.parametrize(
    ("name", "activation"),
    [
        ("sign", ReLU(2)),
        ("uniform", ReLU()),
        ("uniform", ReLU(2)),
        ("gaussian", LeakyReLU(0.4)),
        ("gaussian", ReLU(2)),
        ("mixed", ReLU()),
        ("mixed back", ReLU()),
    ],
    ids=str,
)
def test_on_adjusted_data_networks_learn_the_spline(name, activation):
    law = of(name, activation=activation)
    data = theory.adjusted(law, LINE)
    network, spline = theory.network_limit(law, data), theory.spline(data, law)
    at = GRID[::10]
    np.testing.assert_allclose(network(at), spline(at), atol=2e-9)


def test_a_weighted_spline_has_least_penalty():
    # Against the same problem with the second derivative as unknown, on a fine grid.
    law = LAWS["gaussian"]
    fine = np.linspace(-2, 2, 4001)
    h = fine[1] - fine[0]
    middle = 0.5 * (fine[1:] + fine[:-1])
    weight = theory.zeta(law, middle)
    # g(x) = a + b x + int (x - c)_+ k(c) dc, the penalty int k^2 / zeta.
    A = np.maximum(X[:, None] - middle[None], 0) * h
    R = A * weight[None] / h @ A.T
    T = np.c_[np.ones(5), X]
    system = np.block([[R, T], [T.T, np.zeros((2, 2))]])
    found = np.linalg.solve(system, np.r_[np.asarray(LINE.Y)[:, 0], 0, 0])
    k = weight / h * (A.T @ found[:5])
    at = GRID[:, None]
    g = np.c_[np.ones(101), GRID] @ found[5:] + np.maximum(at - middle[None], 0) * h @ k
    np.testing.assert_allclose(theory.spline(LINE, law)(GRID)[:, 0], g, atol=1e-5)


def test_a_law_of_ones_own(key):
    law = Shallow(weights=Triangle(), biases=Triangle(), output_only=True)
    data = jf.Regression(np.array([[-0.5], [0.1], [0.8]]), np.array([1.0, 0.0, 0.5]))
    at = np.array([-0.5, 0.45])
    adjusted = theory.adjusted(law, data)
    # Two targets: integrals of integrals take seconds, and those of the kernel serve both.
    both = jf.Regression(np.asarray(data.X), np.c_[np.asarray(adjusted.Y), np.asarray(data.Y)])
    limit, plain = theory.network_limit(law, both)(at).T
    np.testing.assert_allclose(limit, theory.spline(adjusted, law)(at)[:, 0], atol=1e-7)
    flow = theory.LinearizedFlow(law(key, data, width=100_000), data)
    gap = np.asarray(flow(jnp.asarray(at[:, None])))[:, 0] - plain
    assert np.abs(gap).max() < 0.02


def test_bad_input():
    twice = jf.Regression(np.array([[1.0], [1.0], [0.0]]), np.array([1.0, 2.0, 0.0]))
    for call in (theory.spline, lambda d: theory.network_limit(LAWS["uniform"], d)):
        with pytest.raises(ValueError, match="same input and different targets"):
            call(twice)
    theory.spline(twice, ridge=0.1)
    with pytest.raises(ValueError, match="do not fix a polynomial"):
        theory.spline(jf.Regression(np.ones((1, 1)), np.ones(1)))
    far = jf.Regression(np.array([[-9.0], [0.0], [9.0]]), np.array([1.0, 2.0, 0.0]))
    narrow = Shallow(weights=Sphere(), biases=Uniform(2.0))
    for call in (theory.spline, theory.adjustment):
        with pytest.raises(ValueError, match="outside the support"):
            call(far, narrow) if call is theory.spline else call(narrow, far)
    with pytest.raises(ValueError, match="does not exist"):
        theory.zeta(Shallow(weights=Heavy(), biases=Uniform(1.0)), 0.0)
    with pytest.raises(ValueError, match="no density"):
        theory.zeta(Shallow(weights=Uniform(1.0), biases=Sphere()), 0.3)
    with pytest.raises(ValueError, match="not known as a penalty"):
        theory.zeta(Shallow(activation=Tanh()), 0.0)
    with pytest.raises(ValueError, match="more than one dimension"):
        theory.infinite_width_kernel(LAWS["uniform"], np.ones((2, 2)))
    with pytest.raises(ValueError, match="not uniform"):
        LAWS["uniform"].weights.radius(abs, 2)
    with pytest.raises(ValueError, match="polyharmonic"):
        theory.spline(jf.Regression(np.eye(3), np.ones(3)))
    with pytest.raises(ValueError, match="zero or more"):
        theory.spline(LINE, ridge=-1.0)


# Many features: Gamma functions overflow at 343 of them, and densities underflow.


def absolute_moment(d, k):
    """`E |w_1|^k` of a unit vector w in R^d: w_1^2 has the law Beta(1/2, (d - 1) / 2)."""
    law, end = beta(0.5, (d - 1) / 2), min(1.0, 12 / d**0.5)
    return quad(lambda u: u**k * 2 * u * law.pdf(u * u), 0, end, epsabs=0, epsrel=1e-10)[0]


def test_kernel_of_sphere_weights_in_many_dimensions(key):
    """Against quadrature over the angle between a weight and the plane of two points."""
    for d in (3, 40, 784):
        points = np.asarray(jr.normal(key, (2, d)))
        points = points / np.linalg.norm(points, axis=1)[:, None]
        law = Shallow(weights=Sphere(1.5), biases=Uniform(2.0), activation=ReLU())

        moment = functools.partial(absolute_moment, d)
        # E (s + b)_+ (t + b)_+ = (a^3 / 3 + a s t + |s - t|^3 / 12) / (2 a) over |b| <= a.
        far = 1.5 * np.linalg.norm(points[0] - points[1])
        inner = 1.5**2 * (points @ points.T)[0, 1] / d
        expected = (8 / 3 + 2 * inner + far**3 * moment(3) / 12) / 4
        found = theory.infinite_width_kernel(law, points)[0, 1]
        np.testing.assert_allclose(found, expected, rtol=1e-8)
        ntk = Shallow(
            weights=Sphere(1.5), biases=Uniform(2.0), activation=ReLU(), parametrization="ntk"
        )
        switched = 0.5 - far * moment(1) / 8
        expected += (1 + (points @ points.T)[0, 1]) * switched / 3  # E v^2 = 1/3
        found = theory.infinite_width_kernel(ntk, points)[0, 1]
        np.testing.assert_allclose(found, expected, rtol=1e-8)


@pytest.mark.parametrize("size", [1, 2, 5, 100, 784, 5000])
def test_radius_of_normal_vectors(size):
    law = Normal(0.7)
    for power in (0, 1, 2, 3):
        expected = 0.7**power * np.exp(
            0.5 * power * np.log(2) + gammaln((size + power) / 2) - gammaln(size / 2)
        )
        np.testing.assert_allclose(law.radius(lambda r, k=power: r**k, size), expected, rtol=1e-9)


@pytest.mark.parametrize("features", [3, 784])
def test_zeta_of_normal_laws_in_many_dimensions(features):
    law = Shallow(weights=Normal(0.8), biases=Normal(0.5))
    for at in (0.0, 0.05):
        expected = law.weights.radius(
            lambda r, x=at: r**3 * float(law.biases.density(r * x)), features
        )
        found = theory.zeta(law, at, features=features)
        np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_kernels_make_no_array_of_all_differences():
    points = np.random.default_rng(0).normal(size=(100, 2000)) / 50
    laws = [
        Shallow(weights=Sphere(), biases=Uniform(3.0), activation=ReLU()),
        Shallow(weights=Normal(), biases=Normal(), activation=ReLU()),
    ]
    cubic = theory.polyharmonic(jf.Regression(points[:4, :2], np.arange(4.0))).kernel
    for kernel in (*(functools.partial(theory.infinite_width_kernel, law) for law in laws), cubic):
        tracemalloc.start()
        kernel(points, points)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 6 * points.nbytes  # all differences are 100 times the points
