"""What the theory is tested against: random problems, and SciPy's DOP853 on the raw weights."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from scipy.integrate import solve_ivp

from jaxflow.data import Regression
from jaxflow.networks import TwoLayerLinear


def problem(rank, outputs, features, *, spectrum=None, noise=1.0, seed=0):
    """A Regression of this rank with more samples than that, and L* > 0."""
    rng = np.random.default_rng(seed)
    n = rank + 2
    left, _ = np.linalg.qr(rng.normal(size=(n, rank)))
    right, _ = np.linalg.qr(rng.normal(size=(features, rank)))
    s = np.linspace(1.5, 0.5, rank) if spectrum is None else np.asarray(spectrum, float)
    X = (left * s) @ right.T
    return Regression(X, noise * rng.normal(size=(n, outputs)), rank_tolerance=1e-12)


def draw(data, width, su=1.0, sv=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return TwoLayerLinear(
        jnp.asarray(su * rng.normal(size=(data.features, width))),
        jnp.asarray(sv * rng.normal(size=(data.outputs, width))),
    )


def dense_imbalance(network, data):
    """Eigenvalues of the h x h matrix, decreasing."""
    U1 = np.asarray(data.right).T @ np.asarray(network.U)
    V = np.asarray(network.V)
    return np.linalg.eigvalsh(U1.T @ U1 - V.T @ V)[::-1]


def flow(network, data, ts, rtol=1e-12, atol=1e-14):
    """The networks at the times ts, from the gradient of the loss in U and V themselves."""
    X, Y = np.asarray(data.X), np.asarray(data.Y)
    U0, V0 = np.asarray(network.U), np.asarray(network.V)

    def split(z):
        return z[: U0.size].reshape(U0.shape), z[U0.size :].reshape(V0.shape)

    def field(_, z):
        U, V = split(z)
        G = X.T @ (Y - X @ (U @ V.T))
        return np.concatenate([(G @ V).ravel(), (G.T @ U).ravel()])

    start = np.concatenate([U0.ravel(), V0.ravel()])
    ts = np.atleast_1d(ts)
    out = solve_ivp(field, (0, ts[-1]), start, "DOP853", ts, rtol=rtol, atol=atol)
    assert out.success
    return [TwoLayerLinear(*map(jnp.asarray, split(z))) for z in out.y.T]


def excess(network, data):
    """L - L*, as the loss of what can still be learned."""
    R = np.asarray(data.best_fit) - np.asarray(data.X) @ np.asarray(network.product)
    return 0.5 * np.sum(R**2)


def with_values(data, singular_values, targets):
    """The same Regression with another spectrum and other targets (arrays, or tracers)."""
    return eqx.tree_at(lambda d: (d.singular_values, d._targets), data, (singular_values, targets))
