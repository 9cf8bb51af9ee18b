import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from theory_oracles import draw, flow, problem

from jaxflow import theory
from jaxflow.networks import TwoLayerLinear, init

# (r, m, h, lam, singular value of X, scale of the start)
CASES = [
    (3, 2, 2, 0.8, 1.0, 1.0),
    (2, 3, 3, -0.8, 1.0, 0.5),
    (2, 2, 2, 0.4, 2.0, 0.1),
    (3, 1, 1, 1.5, 0.7, 0.3),
    (1, 3, 2, -0.3, 1.3, 1.0),
    (3, 2, 2, 0.0, 1.0, 1e-3),
    (3, 2, 12, 0.0, 0.9, 0.4),
]


# One program a shape; the checks, which it leaves out, have a test of their own.
compiled = jax.jit(theory.lambda_balanced)


def case(r, m, h, lam, s, scale):
    data = problem(r, m, r + 2, spectrum=np.full(r, s), seed=r + m)
    network = init.LambdaBalanced(lam, scale)(jax.random.key(h), data, width=h)
    return network, data


def blocks(gram, i):
    return np.block(
        [
            [np.asarray(gram.outputs[i]), np.asarray(gram.product[i]).T],
            [np.asarray(gram.product[i]), np.asarray(gram.inputs[i])],
        ]
    )


def exact(network, data, t):
    """The closed form as it stands, with as many digits as its exponentials need."""
    U1 = np.asarray(data.right).T @ np.asarray(network.U)
    V, s = np.asarray(network.V), float(data.singular_values[0])
    m, r, h = len(V), len(U1), V.shape[1]
    lam = (np.sum(U1**2) - np.sum(V**2)) / h
    T = np.asarray(data.targets) / s
    F = np.block([[-lam / 2 * np.eye(m), T.T], [T, lam / 2 * np.eye(r)]])
    with mpmath.workdps(40 + int(0.9 * np.linalg.norm(F, 2) * s**2 * t)):
        w, P = mpmath.eigsy(mpmath.matrix(F))
        Z = P.T * mpmath.matrix(np.concatenate([V, U1]))
        tau = mpmath.mpf(s) ** 2 * mpmath.mpf(t)
        total = mpmath.diag([mpmath.expm1(2 * x * tau) / (2 * x) if x else tau for x in w])
        Q = mpmath.diag([mpmath.exp(x * tau) for x in w]) * Z
        G = P * Q * mpmath.inverse(mpmath.eye(h) + Z.T * total * Z) * Q.T * P.T
        return np.array(G.tolist(), dtype=float)


@pytest.mark.parametrize("values", CASES)
def test_gram_matrices_are_the_closed_form(values):
    network, data = case(*values)
    ts = np.array([3.0, 0.0, 1e-9, 25.0, 0.4])
    found = compiled(network, data, ts)
    for i, t in enumerate(ts):
        np.testing.assert_allclose(blocks(found, i), exact(network, data, t), atol=1e-11, rtol=0)


@pytest.mark.parametrize("values", CASES)
def test_gram_matrices_are_those_of_the_flow(values):
    network, data = case(*values)
    ts = np.array([0.1, 0.5, 1.0, 2.0, 6.0])
    found = compiled(network, data, ts)
    for i, net in enumerate(flow(network, data, ts, rtol=1e-13, atol=1e-15)):
        Z = np.concatenate([net.V, data.right.T @ net.U])
        np.testing.assert_allclose(blocks(found, i), Z @ Z.T, atol=2e-11)


@pytest.mark.parametrize("values", [CASES[0], CASES[1], CASES[5]])
def test_late_times_neither_overflow_nor_drift(values):
    network, data = case(*values)
    found = compiled(network, data, np.array([50.0, 1e4]))
    lam, T = values[3], np.asarray(data.span_solution)
    F = np.block([[-lam / 2 * np.eye(len(T.T)), T.T], [T, lam / 2 * np.eye(len(T))]])
    w, P = np.linalg.eigh(F)
    # The fixed point of Z' = F Z - Z Z^T Z / 2 on as many leading eigenvectors as hidden units.
    w, P = w[-values[2] :], P[:, -values[2] :]
    assert w[0] > 0.1
    np.testing.assert_allclose(blocks(found, 1), (P * 2 * w) @ P.T, atol=1e-11)


def test_fewer_units_than_modes_end_at_the_best_of_their_rank():
    data = problem(3, 3, 4, spectrum=np.ones(3), seed=1)
    network = init.LambdaBalanced(0.0)(jax.random.key(0), data, width=1)
    found = compiled(network, data, 400.0)
    A, s, Bt = np.linalg.svd(data.span_solution)
    np.testing.assert_allclose(found.product, s[0] * np.outer(A[:, 0], Bt[0]), atol=1e-11)


def test_agrees_with_the_scalar_network():
    data = problem(1, 1, 2, spectrum=[1.7], seed=2)
    U = data.right @ jnp.array([[0.6]])
    ts = np.linspace(0, 3, 5)
    found = compiled(TwoLayerLinear(U, jnp.array([[-0.2]])), data, ts)
    u, v = theory.scalar(1.7**2 * ts, float(data.span_solution[0, 0]), 0.6, -0.2)
    np.testing.assert_allclose(found.product[:, 0, 0], u * v, atol=1e-13)
    np.testing.assert_allclose(found.inputs[:, 0, 0], u**2, atol=1e-13)


def test_shapes_of_time():
    network, data = case(*CASES[0])
    ts = np.array([[0.3, 2.0], [0.0, 0.3]])
    found = compiled(network, data, ts)
    assert found.product.shape == (2, 2, 3, 2)
    assert found.inputs.shape == (2, 2, 3, 3)
    one = compiled(network, data, 2.0)
    np.testing.assert_allclose(one.outputs, found.outputs[0, 1], atol=1e-13)
    np.testing.assert_allclose(found.product[0, 0], found.product[1, 1], atol=1e-15)


def test_maps_and_compiles_without_its_checks():
    network, data = case(*CASES[0])
    other = draw(data, 2)
    batch = jax.tree.map(lambda *x: jnp.stack(x), network, other)
    run = jax.jit(jax.vmap(lambda n: theory.lambda_balanced(n, data, jnp.array([1.0])).product))
    np.testing.assert_allclose(
        run(batch)[0], theory.lambda_balanced(network, data, np.array([1.0])).product, atol=1e-13
    )
    single = jax.tree.map(lambda x: x.astype(jnp.float32), (network, data))
    found = theory.lambda_balanced(*single, np.array([1.0]))
    assert found.product.dtype == jnp.float32
    np.testing.assert_allclose(found.product, run(batch)[0], atol=1e-5)


def test_refuses_what_the_formula_does_not_cover():
    network, data = case(*CASES[0])
    with pytest.raises(ValueError, match="LambdaBalanced"):
        theory.lambda_balanced(draw(data, 2), data, 1.0)
    with pytest.raises(ValueError, match="LambdaBalanced"):
        theory.lambda_balanced(draw(data, 20), data, 1.0)
    nearly = TwoLayerLinear(network.U * (1 + 1e-7), network.V)
    with pytest.raises(ValueError, match="eigenvalues"):
        theory.lambda_balanced(nearly, data, 1.0)
    with pytest.raises(ValueError, match="whiten"):
        theory.lambda_balanced(draw(problem(3, 2, 5), 2), problem(3, 2, 5), 1.0)
