"""The flow of the diagonal linear network: parameters, mirror coordinates, multiprecision."""

import jax
import jax.numpy as jnp
import jax.random as jr
import mpmath
import numpy as np
import pytest

import jaxflow as jf
from jaxflow import theory
from jaxflow.theory import MirrorMap

Diagonal = jf.init.Diagonal

KEY = jr.key(0)
TS = np.array([0.0, 0.01, 0.03, 0.1, 0.3, 1.0])


@pytest.fixture(scope="module")
def data():
    return jf.data.gaussian(jr.key(1), 6, 15, 1)


def flow(network, data, formulation, **options):
    return jf.gradient_flow(network, data, formulation=formulation, **options).check()


def path(network, data, formulation, end=1.0):
    """To as many digits as there are: one program for all ends."""
    return flow(
        network,
        data,
        formulation,
        ts=end * TS,
        measures=[jf.measures.Product()],
        rtol=1e-12,
    )


@pytest.mark.parametrize(
    ("depth", "alpha", "skip"),
    [(2.0, 0.05, None), (2.0, 2.0, 0.3), (2.5, 0.3, None), (3.0, 0.3, None), (4.0, 0.6, 0.5)],
)
def test_paths_agree(data, depth, alpha, skip):
    """At finite times, in parameters and in mirror coordinates."""
    network = Diagonal(alpha, depth, skip=skip)(KEY, data)
    paths = [path(network, data, name) for name in ("mirror", "residual")]
    mirror, parameters = (np.asarray(p.measures["product"]) for p in paths)
    gap = np.linalg.norm(mirror - parameters, axis=(1, 2))
    assert np.all(gap[1:] <= 1e-10 * np.linalg.norm(parameters, axis=(1, 2))[1:])
    for name in ("u", "v"):
        np.testing.assert_allclose(
            getattr(paths[0].network, name), getattr(paths[1].network, name), rtol=1e-9
        )


STARTS = [(3, 0.3, 1e-8), (4, 0.3, 1e-8), (4, 0.03, 1e-9)]
STARTS += [(5, 0.3, 1e-8), (5, 0.03, 1e-9), (5, 0.01, 1e-8)]


@pytest.mark.parametrize(("depth", "gap", "power"), STARTS)
def test_implicit_steps_from_a_dual_variable_of_zero(depth, gap, power):
    """The stages have no length of their own to be relative to: that of the iterate counts."""
    problem = jf.Regression([[1.0, 1 - gap]], [1.0])
    start = jnp.full(2, power ** (1 / depth))
    network = jf.DiagonalLinear(start, start, float(depth))
    found = flow(
        network, problem, "mirror", until=jf.until.loss_ratio(1e-20), solver="implicit", rtol=1e-11
    )
    assert found.result == jf.Result.stopped
    limit = theory.flow_limit(network.mirror, problem)
    np.testing.assert_allclose(found.product[:, 0], limit, rtol=1e-8)


def test_rows_of_another_scale_are_another_path(data):
    """A wrong field ends at the same limit, but not on the same path: so paths are compared."""
    network = Diagonal(0.1)(KEY, data)
    scale = np.linspace(0.5, 2.0, data.samples)[:, None]
    wrong = jf.Regression(scale * data.X, scale * data.Y)
    right, other = (path(network, d, "mirror", 0.2).measures["product"] for d in (data, wrong))
    assert np.linalg.norm(right[-1] - other[-1]) > 1e-2 * np.linalg.norm(right[-1])
    ends = [
        flow(network, d, "auto", until=jf.until.loss_ratio(1e-20)).product for d in (data, wrong)
    ]
    np.testing.assert_allclose(ends[0], ends[1], atol=1e-6)


@pytest.mark.parametrize("depth", [2.0, 3.0, 4.0])
@pytest.mark.parametrize("alpha", [0.1, 1.0, 10.0])
def test_parameters_end_at_the_least_potential(data, depth, alpha):
    network = Diagonal(alpha, depth)(KEY, data)
    end = flow(network, data, "residual", until=jf.until.loss_ratio(1e-20), rtol=1e-11)
    expected = theory.least_potential(MirrorMap(alpha, depth), data).beta
    gap = jnp.linalg.norm(end.network.beta - expected)
    assert gap <= 1e-8 * jnp.linalg.norm(expected)


def test_shape_of_the_start(data):
    """Coordinates that start larger are cheaper: the potential has a scale for each."""
    shape = jnp.linspace(0.5, 2.0, data.features)
    network = Diagonal(0.1, 3.0, shape=shape)(KEY, data)
    end = flow(network, data, "residual", until=jf.until.loss_ratio(1e-20), rtol=1e-11)
    expected = theory.least_potential(MirrorMap(0.1 * shape, 3.0), data).beta
    np.testing.assert_allclose(end.network.beta, expected, rtol=1e-6, atol=1e-9)


def test_starts_that_differ(data):
    """u and v of any positive values: mirror coordinates are exact there too."""
    u, v = (jr.uniform(jr.key(i), (data.features,), minval=0.2, maxval=0.6) for i in (1, 2))
    network = jf.DiagonalLinear(u, v, 3.0)
    ends = [path(network, data, f, 0.3).network.beta for f in ("mirror", "residual")]
    np.testing.assert_allclose(ends[0], ends[1], rtol=1e-9, atol=1e-12)


def when(x, y, log10_alpha, nu):
    """The time at which one sample has this dual variable, and beta: quadrature with 60 digits."""
    with mpmath.workdps(60):
        alpha, nu = mpmath.mpf(10) ** log10_alpha, mpmath.mpf(nu)

        def beta(nu):
            return [2 * alpha**2 * mpmath.sinh(4 * float(xi) * nu) for xi in x]

        def speed(nu):
            return y - mpmath.fsum(float(xi) * b for xi, b in zip(x, beta(nu), strict=True))

        pieces = mpmath.linspace(0, nu, 40)
        t = mpmath.quad(lambda nu: 1 / speed(nu), pieces)
        return float(t), np.array([float(b) for b in beta(nu)])


@pytest.mark.parametrize("log10_alpha", [-30, -200])
def test_a_start_of_next_to_nothing(log10_alpha):
    """Two samples that share no feature: `nu' = y - x . beta(nu)` for each by itself."""
    first, second = np.array([1.0, 0.6, -0.4]), np.array([-0.9, 0.5])
    y = (1.0, 0.7)
    X = np.zeros((2, 5))
    X[0, :3], X[1, 3:] = first, second
    data = jf.Regression(X, np.array(y))
    network = Diagonal(10.0**log10_alpha)(KEY, data)
    # The first one halfway up: its largest coordinate is at 1/2, out of alpha^2.
    nu = (np.log(0.5) - 2 * log10_alpha * np.log(10)) / 4
    t, expected = when(first, y[0], log10_alpha, nu)
    end = flow(network, data, "mirror", t1=t, rtol=1e-12)
    found = np.asarray(end.product[:, 0])
    np.testing.assert_allclose(found[:3], expected, rtol=1e-8)
    # The second one has not begun: it is what `nu = y t` makes of it.
    size = 2 * log10_alpha * np.log(10) + 4 * 0.9 * y[1] * t
    np.testing.assert_allclose(np.log(-found[3]), size, rtol=1e-9)


def test_stops_far_below_the_parameters_floor(data):
    network = Diagonal(0.01)(KEY, data)
    end = flow(network, data, "auto", until=jf.until.loss_ratio(1e-200))
    assert end.log_excess1 - end.stats["initial_log_excess"] < np.log(1e-200) + 1e-6


@pytest.mark.parametrize("solver", ["explicit", "implicit"])
def test_both_solvers(data, solver):
    network = Diagonal(0.02, 3.0)(KEY, data)
    expected = path(network, data, "mirror", 20.0).product
    found = flow(network, data, "mirror", t1=20.0, solver=solver, rtol=1e-9).product
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_more_samples_than_rank():
    """What cannot be fitted stays, and the predictor ends at the best fit."""
    data = jf.data.gaussian(jr.key(3), 12, 4, 1)
    network = Diagonal(0.5)(KEY, data)
    end = flow(network, data, "mirror", until=jf.until.loss_ratio(1e-20))
    np.testing.assert_allclose(end.product, data.min_norm, rtol=1e-8)


def test_sweeps_over_scales_depths_and_data():
    sets = {str(i): jf.data.gaussian(jr.key(i), 4, 9, 1) for i in range(2)}
    sweep = jf.Sweep(
        sets,
        Diagonal(),
        over={"data": ["0", "1"], "alpha": [0.05, 0.5], "depth": [2.0, 3.0]},
        seeds=1,
        until=jf.until.loss_ratio(1e-18),
        measures=(jf.measures.Product(),),
    )
    found = jf.run(sweep, store=None)
    assert (found["status"].values <= 1).all()
    for label, data in sets.items():
        for alpha in (0.05, 0.5):
            for depth in (2.0, 3.0):
                expected = theory.least_potential(MirrorMap(alpha, depth), data).beta
                cell = found["product"].sel(data=label, alpha=alpha, depth=depth)
                end = cell.isel(seed=0, time=-1) if "time" in cell.dims else cell.isel(seed=0)
                np.testing.assert_allclose(end.values.ravel(), expected, rtol=1e-5, atol=1e-7)


def test_bad_arguments(data):
    for arguments, message in (
        ({"alpha": 0.0}, "alpha must be positive"),
        ({"depth": 1.5}, "depth must be at least 2"),
        ({"skip": -1.0}, "skip must be positive"),
    ):
        with pytest.raises(ValueError, match=message):
            Diagonal(**arguments)
    with pytest.raises(ValueError, match="maps R"):
        flow(Diagonal()(KEY, data), jf.data.gaussian(KEY, 4, 9, 1), "auto", t1=1.0)
    with pytest.raises(ValueError, match="w and skip together"):
        jf.DiagonalLinear(jnp.ones(3), jnp.ones(3), skip=1.0)


def test_gradient_descent_runs(data):
    import optax

    network = Diagonal(0.5)(KEY, data)
    solution = jf.gradient_descent(network, data, optax.sgd, learning_rate=1e-3, steps=2000)
    assert solution.log_excess[-1] < solution.log_excess[0] - 5
    assert jax.tree.all(jax.tree.map(lambda a, b: a == b, solution.network.depth, network.depth))
