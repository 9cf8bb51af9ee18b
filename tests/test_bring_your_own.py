"""Networks, laws and losses that this package has never seen, in everything that takes one."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
import xarray as xr
from scipy.integrate import solve_ivp

import jaxflow as jf
from jaxflow.networks import best_fit
from jaxflow.networks.adopt import adopt

X = np.random.default_rng(0).normal(size=(5, 4))
DATA = jf.Regression(X, np.random.default_rng(1).normal(size=5))


class Own(eqx.Module):
    """Nested lists, a shared layer, a function as a field, a frozen part, a scalar output."""

    blocks: list
    act: object
    shift: np.ndarray
    rate: float = 0.5

    def __init__(self, key, act=jnp.tanh):
        a, b = jr.split(key)
        shared = eqx.nn.Linear(4, 4, key=a)
        self.blocks = [[shared, shared], {"out": eqx.nn.Linear(4, "scalar", key=b)}]
        self.act, self.shift = act, np.full(4, 0.1)

    def __call__(self, x):
        for layer in self.blocks[0]:
            x = self.act(layer(x) + self.rate * self.shift)
        return self.blocks[1]["out"](x)


def mlp(key, data, *, width=3, act=jnp.tanh):
    return eqx.nn.MLP(4, 1, width, 1, activation=act, key=key)


def own(key, data, *, act=jnp.tanh):
    return Own(key, act)


def sequential(key, data, *, act=jnp.tanh):
    a, b = jr.split(key)
    last = eqx.nn.Linear(3, 1, key=b)
    return eqx.nn.Sequential([eqx.nn.Linear(4, 3, key=a), eqx.nn.Lambda(act), last])


class Convolutional(eqx.Module):
    conv: eqx.nn.Conv2d
    last: eqx.nn.Linear
    act: object = eqx.field(static=True)

    def __call__(self, x):
        return self.last(self.act(self.conv(x.reshape(1, 2, 2))).reshape(-1))


def convolutional(key, data, *, act=jnp.tanh):
    a, b = jr.split(key)
    return Convolutional(eqx.nn.Conv2d(1, 2, 2, key=a), eqx.nn.Linear(2, 1, key=b), act)


LAWS = [mlp, own, sequential, convolutional]
MEASURES = [
    jf.measures.LogExcess(),
    jf.measures.Predictions(X[:2]),
    jf.measures.KernelMovement(),
    jf.measures.Times(),
    jf.measures.MeasuredRate(),
    jf.measures.at_end("size", lambda network, data: jnp.sum(network(data.X[0]))),
    jf.measures.along("norm", lambda network, data: jnp.sum(network(data.X[1]) ** 2)),
]
NAMES = [measure.name for measure in MEASURES]
DESCENT = {"optimizer": optax.sgd, "learning_rate": 0.01, "steps": 20, "saves": 5}
SAVED = {"ts": [0.0, 0.1, 0.2, 0.5]}


@pytest.mark.parametrize("law", LAWS)
def test_sweeps_give_what_single_flows_give_in_memory_and_in_stores(law, tmp_path):
    plan = jf.Sweep(DATA, law, seeds=2, measures=MEASURES, **SAVED)
    found = jf.run(plan, store=tmp_path / "runs.zarr").load()
    assert (found.status == jf.Result.finished).all()
    xr.testing.assert_identical(
        jf.run(plan, store=tmp_path / "runs.zarr").load().drop_attrs(), found.drop_attrs()
    )
    xr.testing.assert_identical(
        jf.run(plan.replace(compress=False)).drop_attrs(), found.drop_attrs()
    )
    for seed, key in enumerate(plan.cells[0].keys(plan.key, 2)):
        alone = jf.gradient_flow(law(key, DATA), DATA, measures=MEASURES, **SAVED)
        np.testing.assert_allclose(found.log_excess_end[seed], alone.log_excess1, rtol=1e-6)
        for name in NAMES:
            np.testing.assert_allclose(found[name][seed], alone.measures[name], rtol=1e-6)


def by_hand(network):
    """The parameters in one vector, and the loss with its gradient as a function of them."""
    parameters, rest = eqx.partition(network, eqx.is_inexact_array)
    flat, back = jax.flatten_util.ravel_pytree(parameters)

    @jax.jit
    @jax.value_and_grad
    def loss_and_slope(p):
        predictions = jax.vmap(eqx.combine(back(p), rest))(DATA.X)
        return 0.5 * jnp.sum((predictions.reshape(DATA.Y.shape) - DATA.Y) ** 2)

    return flat, loss_and_slope


class Stops(jf.Measure):
    """What every stopping rule says along the way."""

    name = "stops"
    dims = ("time", "stop")
    rules: list

    def start(self, view):
        return view

    def update(self, t, view, first):
        return jnp.stack([rule(t, view, first) for rule in self.rules])


RULES = {
    jf.until.loss_ratio(0.9): lambda now, first: np.log(now[0] / first[0] / 0.9),
    jf.until.excess(1e-3): lambda now, first: np.log(now[0] / 1e-3),
    jf.until.gradient_norm(1e-2): lambda now, first: np.log(now[1] / 1e-2),
    jf.until.stagnation(0.5): lambda now, first: np.log(now[1] / first[1] / 0.5),
}


@pytest.mark.parametrize("law", LAWS)
def test_sweeps_of_descents_give_what_single_descents_give_and_rules_what_they_should(law):
    plan = jf.Sweep(
        DATA,
        law,
        seeds=2,
        measures=[*MEASURES[:2], jf.measures.Sharpness(), Stops(list(RULES))],
        descent=DESCENT,
    )
    found = jf.run(plan)
    (key, _) = plan.cells[0].keys(plan.key, 2)
    network = law(key, DATA)
    alone = jf.gradient_descent(network, DATA, measures=plan.measures, **DESCENT)
    for name in ("log_excess", "predictions", "sharpness", "stops"):
        np.testing.assert_allclose(found[name][0], alone.measures[name], rtol=1e-10)
    ends = []
    for each in (network, alone.network):
        flat, loss_and_slope = by_hand(each)
        value, slope = loss_and_slope(flat)
        ends.append((value - alone.optimal_loss, np.linalg.norm(slope)))
    first, last = ends
    for i, rule in enumerate(RULES.values()):
        np.testing.assert_allclose(alone.measures["stops"][0, i], rule(first, first), atol=1e-12)
        np.testing.assert_allclose(alone.measures["stops"][-1, i], rule(last, first), atol=1e-12)


@pytest.mark.parametrize("law", LAWS)
def test_a_flow_is_that_of_scipy(law):
    network = adopt(law(jr.key(3), DATA), DATA)
    flat, loss_and_slope = by_hand(network)
    solved = solve_ivp(
        lambda t, p: -loss_and_slope(p)[1], (0, 0.5), flat, method="LSODA", rtol=1e-10, atol=1e-12
    )
    found = jf.gradient_flow(network, DATA, measures=MEASURES, **SAVED)
    np.testing.assert_allclose(by_hand(found.network)[0], solved.y[:, -1], rtol=1e-6, atol=1e-8)
    loss, _ = loss_and_slope(solved.y[:, -1])
    np.testing.assert_allclose(found.loss[-1], loss, rtol=1e-7)


def test_a_store_is_gone_on_with_and_refuses_another_program(tmp_path):
    def plan(power):
        def loss(prediction, target):
            return jnp.sum((prediction - target) ** power)

        over = {"act": {"tanh": jnp.tanh, "own": lambda x: x / (1 + x**2)}}
        return jf.Sweep(DATA, mlp, over=over, seeds=2, descent=DESCENT, loss=loss)

    path = tmp_path / "runs.zarr"
    first = jf.run(plan(2), store=path)
    assert list(first.act.values) == ["tanh", "own"]
    np.testing.assert_array_equal(jf.run(plan(2), store=path).t_end, first.t_end)
    with pytest.raises(ValueError, match="holds another sweep: loss is"):
        jf.run(plan(4), store=path)


def test_part_of_a_network_is_trained():
    network = mlp(jr.key(0), DATA)
    found = jf.gradient_flow(
        network, DATA, until=jf.until.loss_ratio(1e-8), where=lambda network: network.layers[-1]
    )
    assert found.result == jf.Result.stopped
    assert isinstance(found.network, eqx.nn.MLP)
    np.testing.assert_array_equal(found.network.layers[0].weight, network.layers[0].weight)
    hidden = jnp.tanh(jax.vmap(network.layers[0])(DATA.X))
    features = np.c_[hidden, np.ones(5)]
    fit = features @ np.linalg.lstsq(features, DATA.Y, rcond=None)[0]
    np.testing.assert_allclose(found.optimal_loss, 0.5 * np.sum((fit - DATA.Y) ** 2), rtol=1e-9)


def test_the_least_loss_of_repeated_inputs_and_of_affine_models():
    twice = jf.Regression(np.r_[X, X[:2]], np.arange(7.0))
    expected = np.array([2.5, 3.5, 2, 3, 4, 2.5, 3.5])[:, None]
    np.testing.assert_allclose(best_fit(mlp(jr.key(0), twice), twice), expected, rtol=1e-12)
    noisy = jf.Regression(np.linspace(-1, 1, 9), np.arange(9.0) ** 2)
    design = np.c_[noisy.X, np.ones(9)]
    fit = design @ np.linalg.lstsq(design, noisy.Y, rcond=None)[0]
    linear = eqx.nn.Linear(1, 1, key=jr.key(0))
    np.testing.assert_allclose(best_fit(linear, noisy), fit, rtol=1e-12)


def test_functions_and_modules_of_other_libraries():
    params = {"w": np.ones((1, 4), np.float32), "b": [0.5 * jnp.ones(1)]}
    network = jf.module(lambda p, x: jnp.sin(p["w"] @ x) + p["b"][0], params)
    found = jf.gradient_descent(network, DATA, **DESCENT)
    assert found.network.params["w"].dtype == DATA.X.dtype
    assert found.log_excess1 < found.log_excess[0]


class Complex(eqx.Module):
    w: jax.Array

    def __call__(self, x):
        return jnp.real(self.w @ x)[None]


class Whole(eqx.Module):
    w: jax.Array

    def __call__(self, x):
        return (self.w @ x)[None]


REFUSED = {
    "complex": (Complex(jnp.full(4, 1 + 1j)), "complex parameters"),
    "integers": (Whole(jnp.ones(4, int)), "no trainable parameters"),
    "a function": (lambda x: x[:1], "no parameters that JAX can see"),
    "no function": (DATA, "cannot be: give an Equinox module"),
    "random": (
        eqx.nn.Sequential([eqx.nn.Linear(4, 1, key=jr.key(0)), eqx.nn.Dropout(0.5)]),
        "contains Dropout.*inference_mode",
    ),
    "other inputs": (
        eqx.nn.Linear(3, 1, key=jr.key(0)),
        r"cannot be called with a sample of 4 features, x of shape \(4,",
    ),
    "other outputs": (eqx.nn.Linear(4, 2, key=jr.key(0)), r"shape \(2,\).*shape \(1,\)"),
}


@pytest.mark.parametrize(("network", "match"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_network_is_refused_everywhere(network, match):
    with pytest.raises(ValueError, match=match):
        jf.gradient_flow(network, DATA, t1=0.1)
    with pytest.raises(ValueError, match=match):
        jf.gradient_descent(network, DATA, **DESCENT)
    with pytest.raises(ValueError, match=f"{match}|returned a"):
        jf.run(jf.Sweep(DATA, lambda key, data: network, seeds=1, t1=0.1))


ANY = (jf.measures.Sharpness, jf.measures.Accuracy, jf.measures.Margin)  # apply to all networks
RULED = {jf.measures.EffectiveSharpness: "jf.RMSProp", jf.measures.MeanLoss: "jf.CentralFlow"}
OTHERS = [
    measure
    for measure in vars(jf.measures).values()
    if isinstance(measure, type)
    and issubclass(measure, jf.Measure)
    and measure not in (jf.Measure, jf.measures.RestartSlack, *ANY, *RULED, *map(type, MEASURES))
]


@pytest.mark.parametrize("measure", OTHERS, ids=lambda measure: measure.__name__)
def test_measures_that_do_not_apply_name_the_network_that_they_need(measure, unchecked):
    match = (
        f"{measure.__name__} needs a (two-layer linear network|network with an end-to-end "
        "predictor, `product`), got MLP"
    )
    with pytest.raises(ValueError, match=match):
        jf.gradient_flow(mlp(jr.key(0), DATA), DATA, t1=0.1, measures=[measure()])
    with pytest.raises(ValueError, match=match):
        jf.run(jf.Sweep(DATA, mlp, seeds=1, t1=0.1, measures=[measure()]))


@pytest.mark.parametrize("measure", RULED, ids=lambda measure: measure.__name__)
def test_measures_of_a_method_name_it(measure, unchecked):
    with pytest.raises(ValueError, match=f"use {RULED[measure]}|such as {RULED[measure]}"):
        jf.gradient_flow(mlp(jr.key(0), DATA), DATA, t1=0.1, measures=[measure()])


AXES = [
    ({"measures": [jf.measures.at_end("f", lambda n, d: n(d.X[0]))]}, r"has shape \(1,\).*'axis0'"),
    ({"over": {"depth": [1]}}, r"The axis 'depth' names neither.*mlp.*'width', 'act'"),
    ({"over": {"width": 3}}, "takes a list of values, got 3"),
    ({"over": {"width": []}}, "has no values"),
    ({"key": 0.5}, "A key is jax.random.key"),
    ({"where": lambda network: 3}, "where= must select parts"),
]


@pytest.mark.parametrize(("changes", "match"), AXES)
def test_bad_plans_get_a_sentence(changes, match, unchecked):
    with pytest.raises(ValueError, match=match):
        jf.run(jf.Sweep(DATA, mlp, seeds=1, t1=0.1, **changes))


def test_the_loss_is_an_axis_and_draws_do_not_depend_on_it():
    over = {"loss": {"squared": None, "quartic": lambda p, y: jnp.sum((p - y) ** 4)}}
    plan = jf.Sweep(DATA, mlp, over=over, seeds=2, descent=DESCENT, measures=MEASURES[1:2])
    keys = [np.asarray(jr.key_data(cell.keys(plan.key, 2))) for cell in plan.cells]
    np.testing.assert_array_equal(*keys)
    found = jf.run(plan)
    network = mlp(plan.cells[1].keys(plan.key, 2)[0], DATA)
    alone = jf.gradient_descent(network, DATA, loss=over["loss"]["quartic"], **DESCENT)
    end = found.log_excess_end.sel(loss="quartic", seed=0)
    np.testing.assert_allclose(end, alone.log_excess1, rtol=1e-6)


def test_curvature_is_that_of_the_loss_that_is_trained():
    def quartic(prediction, target):
        return jnp.sum((prediction - target) ** 4)

    network = mlp(jr.key(0), DATA)
    found = jf.gradient_descent(
        network, DATA, loss=quartic, measures=[jf.measures.Sharpness()], **DESCENT
    )
    parameters, rest = eqx.partition(found.network, eqx.is_inexact_array)
    flat, back = jax.flatten_util.ravel_pytree(parameters)

    def loss(p):
        return quartic(jax.vmap(eqx.combine(back(p), rest))(DATA.X), DATA.Y)

    want = jax.jit(jax.hessian(loss))(flat)
    got = jf.theory.hessian(found.network, DATA, loss=quartic)
    np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-10)
    top = np.linalg.eigvalsh(want)[-1]
    np.testing.assert_allclose(found.measures["sharpness"][-1], top, rtol=1e-8)


def test_saved_times_are_where_the_flow_is():
    found = jf.gradient_flow(mlp(jr.key(0), DATA), DATA, until=jf.until.loss_ratio(0.1))
    fractions = np.asarray(found.ts / found.t1)
    assert len(np.unique(fractions)) == 257
    assert fractions[0] == 0
    assert fractions[-1] == 1
    assert np.diff(fractions).max() < 0.02
    assert found.log_excess[-1] == found.log_excess1


def test_messages_name_what_helps_in_this_call():
    kinked = eqx.nn.MLP(4, 1, 3, 2, activation=jax.nn.relu, key=jr.key(0))
    options = {"until": jf.until.loss_ratio(1e-20), "max_steps": 20}
    with pytest.raises(RuntimeError, match=r"kinks.*until.gradient_norm or until.stagnation"):
        jf.gradient_flow(kinked, DATA, solver="explicit", **options).check()
    with pytest.raises(RuntimeError, match="shorten t1") as error:
        jf.gradient_flow(
            mlp(jr.key(0), DATA), DATA, t1=1e9, max_steps=20, solver="implicit"
        ).check()
    assert "implicit" not in str(error.value)


def test_a_stop_at_a_stationary_point():
    found = jf.gradient_flow(
        eqx.nn.Linear(4, 1, key=jr.key(0)), DATA, until=jf.until.stagnation(1e-3)
    )
    assert found.result == jf.Result.stopped


def test_a_stopping_rule_is_a_number():
    class Below(jf.until.Until):
        def __call__(self, t, view, first):
            return view.log_excess < -2.0

    with pytest.raises(ValueError, match="positive until it is met, a number, got bool"):
        jf.gradient_flow(mlp(jr.key(0), DATA), DATA, until=Below(), t1=1.0)


GIVEN = [
    ({"data": X}, r"data must be a jf.Regression\(X, Y\), got an array"),
    ({"loss": "mse"}, "No loss is called 'mse'"),
    ({"loss": lambda prediction: 0.0}, "cannot be called as loss"),
    ({"loss": lambda p, y: p - y}, r"one number.*got float64 of shape \(5, 1\): sum over samples"),
    ({"loss": lambda p, y: jnp.sum(p, dtype=jnp.float16)}, "one number, a float64.*got float16"),
    ({"loss": lambda p, y: jax.lax.complex(p, y)[0, 0]}, "one number.*got complex128"),
    ({"until": 1e-3}, r"until must be a stopping rule, .*got 0\.001"),
    ({"measures": jf.measures.Times()}, r"takes a list of measures, .*got Times\(\)"),
    ({"measures": [jf.measures.Times]}, "takes a list of measures, .*got Times"),
    ({"measures": [jf.measures.at_end("f", lambda n, d: "x")]}, "'f' takes an f.*an array. TypeE"),
    ({"where": 3}, "where= must select parts"),
    ({"where": lambda network: network.nothing}, "where= must select parts.*AttributeError"),
]


@pytest.mark.parametrize(("changes", "match"), GIVEN)
def test_arguments_of_the_wrong_kind_get_a_sentence(changes, match, unchecked):
    given = {"data": DATA, **changes}
    with pytest.raises(ValueError, match=match):
        jf.gradient_flow(mlp(jr.key(0), DATA), **given, t1=0.1)
    with pytest.raises(ValueError, match=match):
        jf.gradient_descent(mlp(jr.key(0), DATA), **given, **DESCENT)
    with pytest.raises(ValueError, match=match):
        jf.run(jf.Sweep(init=mlp, **given, seeds=1, t1=0.1))


def test_margins_are_of_labels(unchecked):
    one, two = (jf.Regression(X, np.full((5, m), 0.5)) for m in (1, 2))
    for data, match in ((one, r"single output of \+1 and -1"), (two, "must be one-hot")):
        linear = eqx.nn.Linear(4, data.outputs, key=jr.key(0))
        with pytest.raises(ValueError, match=match):
            jf.gradient_flow(linear, data, t1=0.1, loss=jf.LogisticLoss())


def test_a_network_computes_in_the_precision_of_the_data(unchecked):
    wide = jf.module(lambda p, x: (p.astype(float) @ x.astype(float))[None], jnp.ones(4))
    data = jf.Regression(X.astype(np.float32), np.ones(5, np.float32))
    with pytest.raises(
        ValueError, match="returns numbers of dtype float64, and the data has float"
    ):
        jf.gradient_flow(wide, data, t1=0.1)


PLANS = [
    ({"data": {"a": 3}}, r"data must be a jf.Regression\(X, Y\), got 3"),
    ({"init": 3}, "init must be a function, called as init"),
    ({"init": lambda key, data: {}["a"]}, "draws no network: KeyError: 'a'"),
    ({"over": [1]}, "over must be a mapping of axes to values"),
    ({"over": {"width": np.array(3)}}, r"takes a list of values, got array\(3\)"),
    ({"seeds": 1.5}, "seeds must be a plain integer, got 1.5"),
    ({"chunk": "x"}, "chunk must be a plain integer, got 'x'"),
    ({"compress": "no"}, "compress must be True or False, got 'no'"),
    ({"t1": None, "descent": 3}, "descent must be arguments of gradient_descent"),
    ({"t1": None, "ts": "x"}, "ts must be one time or a vector of times, got 'x'"),
]


@pytest.mark.parametrize(("changes", "match"), PLANS)
def test_plans_of_the_wrong_kind_get_a_sentence(changes, match, unchecked):
    with pytest.raises(ValueError, match=match):
        jf.Sweep(**{"data": DATA, "init": mlp, "seeds": 1, "t1": 0.1, **changes})
    with pytest.raises(ValueError, match=r"sweep must be a jf\.Sweep, got 3"):
        jf.run(3)


def test_a_loss_that_is_not_a_number_is_no_good_end():
    def loss(prediction, target):
        return jnp.nan * jnp.sum(prediction - target)

    found = jf.gradient_descent(mlp(jr.key(0), DATA), DATA, **DESCENT | {"steps": 1}, loss=loss)
    assert np.isnan(found.log_excess1)
    assert found.result == jf.Result.diverged
    until = jf.until.excess(1e-3)
    found = jf.gradient_flow(mlp(jr.key(0), DATA), DATA, t1=0.1, loss=loss, until=until)
    assert found.result == jf.Result.not_finite
    with pytest.raises(RuntimeError, match="must be a number, and not fall below its attribute"):
        found.check()


def test_a_loss_below_its_least_value_is_no_good_end():
    def loss(prediction, target):
        return jnp.sum((prediction - target) ** 2) - 100.0

    network, until = mlp(jr.key(0), DATA), jf.until.excess(1e-3)
    found = jf.gradient_flow(network, DATA, t1=0.1, loss=loss, until=until)
    assert found.result == jf.Result.not_finite
    found = jf.gradient_descent(network, DATA, **DESCENT | {"steps": 1}, loss=loss, until=until)
    assert found.result == jf.Result.diverged
