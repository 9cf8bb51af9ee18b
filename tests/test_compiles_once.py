"""A second eager call of a public function, on other values of the same shapes, compiles none."""

import functools
import inspect
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import jaxflow as jf
from jaxflow import init, theory
from jaxflow.networks.init import Initialization

COMPILED = []


def _count(event, duration, **_):
    if event == "/jax/core/compile/backend_compile_duration":
        COMPILED.append(event)


jax.monitoring.register_event_duration_secs_listener(_count)


@functools.cache
def problem(seed):
    """One small problem of every kind, the same shapes for every seed."""
    rng = np.random.default_rng(seed)
    key = jr.key(seed)
    X = rng.normal(size=(3, 4))
    beta = rng.normal(size=4)
    p = SimpleNamespace(
        key=key,
        data=jf.Regression(X, rng.normal(size=(3, 2))),
        white=jf.Regression(np.linalg.qr(X.T)[0].T, rng.normal(size=(3, 2))),
        one=jf.Regression(X, rng.normal(size=3)),
        beta=beta,
        labels=jf.Regression(X, np.sign(X @ beta)),
        line=jf.Regression([-0.9, 0.1 + 0.1 * seed, 0.8], rng.normal(size=3)),
        W1=jnp.asarray(rng.normal(size=(2, 2))),
        S=jnp.asarray(rng.normal(size=(2, 2))),
        x=jnp.asarray(rng.normal(size=3)),
    )
    p.two = init.Gaussian()(key, p.data, width=6)
    p.small = init.Gaussian()(key, p.one, width=2)  # ten parameters
    p.wide = init.Gaussian()(key, p.data, width=9)
    p.balanced = init.LambdaBalanced(0.0)(key, p.white, width=3)
    p.deep = init.DeepGaussian()(key, p.data, width=2, depth=3)
    p.diagonal = init.Diagonal(0.1 + 0.1 * seed)(key, p.one)
    p.separator = init.Diagonal(0.1 + 0.1 * seed)(key, p.labels)
    p.law = init.Shallow(init.laws.Normal(), init.laws.Uniform(2.0))
    p.shallow = p.law(key, p.line, width=3)
    p.mirror = jf.theory.MirrorMap(0.1 + 0.1 * seed)
    return p


THEORY = {
    "adjusted": lambda f, p: f(p.law, p.line),
    "adjustment": lambda f, p: f(p.law, p.line),
    "balanced_level": lambda f, p: f(p.S, 3, square=True),
    "bias_bound": lambda f, p: f(p.data, 100),
    "bias_law": lambda f, p: f(p.data, 100),
    "braun": lambda f, p: f(p.W1, p.W1.T, p.S, 1.0),
    "breakpoints": lambda f, p: f(p.shallow),
    "conditional_bias": lambda f, p: f(p.data, 0.1, p.two.V),
    "deep_mode_time": lambda f, p: f(0.5, 1.0, 0.1, 3),
    "deficiency_margin": lambda f, p: f(p.S, p.W1),
    "delta_slope_velocity": lambda f, p: f(p.shallow, p.line),
    "descent_bound": lambda f, p: f(p.two, p.data, 1e-3),
    "domine": lambda f, p: f(p.W1, p.W1.T, p.S, 0.3, 1.0),
    "end_to_end_velocity": lambda f, p: f(p.W1, p.S, 3),
    "entropic_limit": lambda f, p: f(np.asarray(p.data.X), np.asarray(p.data.X) @ np.ones(4), -1.0),
    "flat_directions": lambda f, p: f(p.shallow, [0, 2]),
    "flow_limit": lambda f, p: f(p.mirror, p.one),
    "hessian": lambda f, p: f(p.small, p.one),
    "hessian_eigenpairs": lambda f, p: f(p.small, p.one, 2),
    "hessian_product": lambda f, p: f(p.small, p.one, jnp.ones(10)),
    "imbalance": lambda f, p: f(p.two, p.data),
    "infinite_width_kernel": lambda f, p: f(p.law, p.line.X),
    "initial_density": lambda f, p: f(p.law, [0.1], [0.2], width=3),
    "instantaneous_bound": lambda f, p: f(p.two, p.data),
    "instantaneous_rate": lambda f, p: f(p.two, p.data),
    "interpolant": lambda f, p: f(lambda X, Z: np.exp(X @ Z.T), p.line),
    "kernel_range": lambda f, p: f(p.two, p.data),
    "kunin": lambda f, p: f(0.5, p.x, p.x, 1.0),
    "kunin_weights": lambda f, p: f(0.5, p.x, p.x, 1.0),
    "lambda_balanced": lambda f, p: f(p.balanced, p.white, jnp.asarray([0.0, 1.0])),
    "layer_imbalances": lambda f, p: f(p.deep),
    "slowest_decay": lambda f, p: f(p.two, p.data),
    "least_l1": lambda f, p: f(p.one, depth=2.0),
    "least_potential": lambda f, p: f(p.mirror, p.one),
    "limit_bound": lambda f, p: f(p.two, p.data),
    "limit_product": lambda f, p: f(p.two, p.data),
    "limit_rate": lambda f, p: f(p.two, p.data),
    "max_margin_l1": lambda f, p: f(p.labels),
    "max_margin_l2": lambda f, p: f(p.labels),
    # One constraint is active for every seed, so that the shapes of its steps are the same.
    "max_margin_potential": lambda f, p: f(p.mirror, jf.Regression(p.x[None], [1.0])),
    "min_norm_condition": lambda f, p: f(p.two, p.data),
    "network_limit": lambda f, p: f(p.law, p.line),
    "off_span_overlap": lambda f, p: f(p.two, p.data),
    "effective_sharpness": lambda f, p: f(p.small, p.one, 0.1),
    "oscillation": lambda f, p: f(p.small, p.one, 0.1),
    "polyharmonic": lambda f, p: f(p.line),
    "rate_bound": lambda f, p: f(p.two, p.data, margin=True).envelope(p.x),
    "reduced_energy": lambda f, p: f(0.1, p.x, 0.3, 0.4),
    "reduced_step": lambda f, p: f(0.1, p.x, 0.1, 0.3, 0.4),
    "roughness": lambda f, p: f(p.shallow),
    "saxe": lambda f, p: f(p.x, 1.0, 0.1),
    "saxe_time": lambda f, p: f(1.0, 0.1, 0.1 + 0.1 * p.x**2),
    "scalar": lambda f, p: f(p.x, 1.0, 0.1, 0.2),
    "scalar_residual": lambda f, p: f(p.x, 1.0, 0.1, 0.2),
    "self_stabilization": lambda f, p: f(p.small, p.one, 0.1),
    "sharpness": lambda f, p: f(p.deep, p.data),
    "spike_height": lambda f, p: f(0.1, 0.3, 0.4),
    "spline": lambda f, p: f(p.line, p.law)([0.3]),
    "stationarity": lambda f, p: f(p.beta, p.labels, 3.0),
    "tangent_kernel": lambda f, p: f(p.deep, p.data),
    "zeta": lambda f, p: f(p.law, [0.1, 0.2]),
}
NETWORKS = {
    "best_fit": lambda f, p: f(p.shallow, p.line),
    "compress": lambda f, p: f(p.wide, p.data),
    "cross_kernel": lambda f, p: f(p.deep, p.data.X, p.data.X[:2]),
    "fits": lambda f, p: f(p.two, p.data),
    "module": lambda f, p: f(lambda w, x: w @ x, p.S)(p.x[:2]),
    "with_rates": lambda f, p: f(p.shallow, (lambda n: n.W, 2.0))(p.line.X[0]),
    "smoothed": lambda f, p: (f(p.shallow)(p.line.X[0]), f(jax.nn.leaky_relu)(p.x)),
    "span_factors": lambda f, p: f(p.two, p.data),
    "stack": lambda f, p: f(p.two.V, p.two.V),
    "tangent_kernel": lambda f, p: f(p.shallow, p.line),
    "trainable": lambda f, p: f(p.deep),
}

LAWS = {
    "Balanced": lambda f, p: draws(f(), p, width=6),
    "DeepBalanced": lambda f, p: draws(f(), p, width=2, depth=3),
    "DeepGaussian": lambda f, p: draws(f(), p, width=2, depth=3),
    "DeepOrthogonal": lambda f, p: draws(f(), p, width=4, depth=3),
    "Diagonal": lambda f, p: f(0.1)(p.key, p.one),
    "Gaussian": lambda f, p: draws(f(0.4), p, width=6),
    "LambdaBalanced": lambda f, p: draws(f(1.0), p, width=3),
    "Orthogonal": lambda f, p: draws(f(), p, width=6),
    "Prescribed": lambda f, p: draws(f([1.0], [2.0]), p, width=6),
    "Shallow": lambda f, p: f()(p.key, p.line, width=3),
    "Spectral": lambda f, p: draws(f(), p, width=6),
}

DATA = {
    "gauss_hermite": lambda f, p: f(jnp.sin, 2, nodes=3),
    "Classification": lambda f, p: f(p.data.X, np.arange(p.data.samples) % 2),
    "gaussian": lambda f, p: f(p.key, 3, 4, 2),
    "load": lambda f, p: f("diabetes", samples=20, key=p.key),
    "orthonormal": lambda f, p: f(p.key, 3, 2),
    "spectrum": lambda f, p: f(p.key, 3, 4, 2, condition=10.0),
    "whitened": lambda f, p: f(p.data),
}

# Classes that compute when they are called, or asked for an attribute.
MODULES = {
    "Regression": lambda p: attributes(p.data, "condition min_norm best_fit span_rows"),
    "TwoLayerLinear": lambda p: (p.two(p.data.X[0]), p.two.product),
    "DeepLinear": lambda p: (p.deep(p.data.X[0]), p.deep.product, p.deep.layers),
    "DiagonalLinear": lambda p: (p.diagonal(p.one.X[0]), p.diagonal.product),
    "ShallowNetwork": lambda p: p.shallow(p.line.X[0]),
    "MirrorMap": lambda p: (p.mirror.potential(p.x), p.mirror.slope(p.x), p.mirror.inverse(p.x)),
    "LinearizedFlow": lambda p: linearized(theory.LinearizedFlow(p.shallow, p.line), p),
    "SquaredLoss": lambda p: jf.SquaredLoss()(p.data.Y, 2 * p.data.Y),
    "CrossEntropyLoss": lambda p: jf.CrossEntropyLoss()(p.data.Y, p.data.Y),
    "HuberLoss": lambda p: jf.HuberLoss()(p.data.Y, 2 * p.data.Y),
    "ExponentialLoss": lambda p: jf.ExponentialLoss()(p.labels.Y, p.one.Y),
    "LogisticLoss": lambda p: jf.LogisticLoss()(p.labels.Y, p.one.Y),
    "activations": lambda p: [f(p.x) for f in activations()],
}


def draws(law, p, **arguments):
    kinds = law, law.compressed, law.rotated
    return [draw(p.key, p.data, **arguments) for draw in kinds]


def attributes(module, names):
    return [getattr(module, name) for name in names.split()]


def linearized(flow, p):
    return flow(p.line.X), flow(p.line.X, 0.3), flow.at(0.3)


def activations():
    a = jf.activations
    return a.ReLU(), a.ReLU(smoothing=0.1), a.LeakyReLU(), a.Tanh(), a.Swish()


FLOWS = {
    "gradient_flow": lambda f, p: f(p.two, p.data, t1=0.5, measures=measures(p)),
    "gradient_descent": lambda f, p: f(p.two, p.data, optax.sgd, learning_rate=1e-3, steps=20),
    "polish": lambda f, p: f(p.two, p.data, steps=2),
    "log_loss_flow": lambda f, p: f(p.separator, p.labels, [2.0, 3.0]),
}


def bound(network, data, residual):
    return theory.rate_bound(network, data, residual=residual).rate


OF_METHODS = ("EffectiveSharpness", "MeanLoss")  # not of flows
MEASURES = {
    "Predictions": lambda f, p: f(p.data.X),
    "RestartSlack": lambda f, p: f(bound),
}


def measures(p):
    """One of every kind."""
    kinds = {
        name: kind
        for name, kind in vars(jf.measures).items()
        if inspect.isclass(kind) and issubclass(kind, jf.Measure) and kind is not jf.Measure
    }
    return [
        MEASURES.get(name, lambda f, p: f())(kind, p)
        for name, kind in kinds.items()
        if name not in OF_METHODS
    ]


def functions(module):
    """The public names of a module that are functions, under whatever decorator."""
    return {
        name: value
        for name, value in vars(module).items()
        if name[0] != "_" and callable(value) and not inspect.isclass(value)
    }


def laws():
    kinds = {name: kind for name, kind in vars(init).items() if inspect.isclass(kind)}
    return {
        name: kind
        for name, kind in kinds.items()
        if issubclass(kind, Initialization) and kind is not Initialization
    }


def cases():
    for table, found in [
        (THEORY, functions(theory)),
        (NETWORKS, functions(jf.networks)),
        (LAWS, laws()),
        (DATA, functions(jf.data)),
        (FLOWS, {name: getattr(jf, name) for name in FLOWS}),
    ]:
        for name, function in found.items():
            call = table.get(name)
            yield pytest.param(call and functools.partial(call, function), id=name)
    for name, call in MODULES.items():
        yield pytest.param(call, id=name)


@pytest.mark.parametrize("call", list(cases()))
def test_compiles_once(call):
    assert call is not None, "Give an example of this public function in the table above."
    first, second = problem(0), problem(1)
    call(first)
    before = len(COMPILED)
    call(second)
    assert len(COMPILED) == before
