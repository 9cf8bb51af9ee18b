import dataclasses
import functools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxflow as jf
from jaxflow.falsify import hunt
from jaxflow.falsify.charts import Size
from jaxflow.falsify.hunt import exact_sides, second_opinion
from jaxflow.papers import min2023, xu2023
from jaxflow.papers.min2021.margin import INSTANTANEOUS
from jaxflow.theory import instantaneous_rate, limit_rate, rate_bound

SMALL = [Size(1, 1, 1), Size(2, 1, 1), Size(1, 2, 2)]


def theorem_1(network, data):
    return rate_bound(network, data).rate


def excess(network, data):
    return jnp.sum((data.Y - data.X @ network.product) ** 2)


def envelope(factor):
    return jf.Inequality(
        "L(t) <= exp(-rate t) L(0)",
        lambda start, now, t, data: excess(now, data),
        lambda start, now, t, data: (
            jnp.exp(-factor * theorem_1(start, data) * t) * excess(start, data)
        ),
        t1=2.0,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("inequality", "chart"),
    [
        (xu2023.PRINTED, jf.charts.Free()),
        (min2023.PRINTED, jf.charts.Free()),
        (min2023.BALANCED_PRINTED, jf.charts.DeepBalanced(isotropic=True)),
    ],
    ids=["aistats2023.alpha", "icml2023.two_layers", "icml2023.(19)"],
)
def test_printed_formulas_are_refuted(inequality, chart, tmp_path):
    found = jf.falsify(inequality, chart, sizes=SMALL, seconds=60.0)
    assert found.violated
    assert found.exact_slack < -0.05
    assert found.seconds < 60
    assert "FALSE" in str(found)
    assert found.sides[0] > found.sides[1]
    assert f"X = [[{float(found.data.X[0, 0]):.2g}"[:9] in repr(found)
    # The instance is one: again, by hand.
    smaller = float(inequality.smaller(found.network, found.data))
    assert smaller > float(inequality.larger(found.network, found.data))
    found.save(tmp_path / "it.npz")
    data = jf.data.load(tmp_path / "it.npz", center=False)
    np.testing.assert_array_equal(data.X, found.data.X)
    with np.load(tmp_path / "it.npz") as file:
        assert float(file["slack"]) == found.exact_slack
        leaves = [x for x in jax.tree.leaves(found.network) if np.ndim(x) == 2]
        assert any(np.array_equal(file[name], leaves[0]) for name in file.files)


@pytest.mark.slow
@pytest.mark.parametrize(
    "inequality",
    [
        INSTANTANEOUS,
        jf.Inequality("2 lambda_r c <= rate", theorem_1, instantaneous_rate),
        min2023.CORRECTED,
    ],
    ids=["proposition 1", "theorem 1", "two layers, corrected"],
)
def test_theorems_are_not(inequality):
    # Two rounds at each size.
    found = jf.falsify(inequality, sizes=SMALL[1:], evaluations=30_000, key=jr.key(5))
    assert not found.violated
    assert found.exact_slack is None
    assert found.evaluations >= 30_000
    assert found.slack > -1e-11
    assert "no violation" in str(found)


@pytest.mark.slow
def test_trajectories(monkeypatch):
    # A quarter of the flows of a round and of the times along each: what 5% more breaks is broken
    # by most of them, and what holds is asked more than 1,000 times.
    monkeypatch.setattr(hunt, "FLOWS", 32)
    monkeypatch.setattr(hunt, "TIMES", 16)
    sizes = [Size(1, 1, 2)]
    broken = jf.falsify(envelope(1.05), sizes=sizes, seconds=100.0)
    assert broken.violated
    assert 0 < broken.t <= 2
    assert broken.sides[0] > broken.sides[1]
    held = jf.falsify(envelope(1.0), sizes=sizes, evaluations=1_000)
    assert not held.violated


@pytest.mark.slow
def test_violations_outside_the_hypotheses_do_not_count():
    always = jf.Inequality(
        "0 <= |U| - 1",
        lambda network, data: jnp.zeros(()),
        lambda network, data: jnp.linalg.norm(network.U) - 1,
    )
    assert jf.falsify(always, sizes=SMALL[:1], seconds=20.0).violated
    large = dataclasses.replace(always, applies=lambda n, data: jnp.linalg.norm(n.U) > 1)
    found = jf.falsify(large, sizes=SMALL[:1], evaluations=20_000)
    assert not found.violated
    never = dataclasses.replace(always, applies=lambda network, data: jnp.asarray(False))
    with pytest.raises(ValueError, match="meets the hypotheses"):
        jf.falsify(never, sizes=SMALL[:1], evaluations=10, seconds=0.1)


@pytest.mark.slow
def test_rounding_is_never_a_counterexample():
    # An identity, evaluated so badly that doubles break it by 1e-7.
    def one(network, data):
        x = 1e8 * (1 + jnp.sum(network.U**2))
        return (x + 1) ** 2 - x**2 - 2 * x

    identity = jf.Inequality("1 <= (x + 1)^2 - x^2 - 2 x", lambda n, d: jnp.ones(()), one)
    found = jf.falsify(identity, sizes=SMALL[:1], evaluations=5_000)
    assert not found.violated
    assert found.unconfirmed > 0


def test_a_second_opinion():
    chart, size = jf.charts.Free(isotropic=True), Size(1, 1, 1)
    c = {"U": np.ones((1, 1)), "V": np.ones((1, 1)), "E": np.full((1, 1), 1e-3)}
    c = jax.tree.map(jnp.asarray, c)
    inequality = jf.Inequality(
        "2 * 2 <= 2 (u^2 + v^2)", lambda n, d: 4.0 * n.U[0, 0] ** 2, limit_rate
    )
    sides = functools.partial(exact_sides, inequality, chart, size, c)
    assert second_opinion(inequality, sides) is None
    value = second_opinion(inequality.times(1.5), sides)
    assert value == pytest.approx((4 - 6) / 10, rel=1e-12)


def test_needs_double_precision_and_sizes():
    with jax.enable_x64(False), pytest.raises(ValueError, match="double precision"):
        jf.falsify(INSTANTANEOUS)
    with pytest.raises(ValueError, match="no sizes"):
        jf.falsify(INSTANTANEOUS, sizes=[])
    with pytest.raises(ValueError, match="t1 must be positive"):
        jf.Inequality("x", theorem_1, theorem_1, t1=-1.0)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"inequality": 3}, "inequality must be a jf.Inequality, got 3"),
        ({"chart": 3}, "chart must be one of jf.charts"),
        ({"sizes": 3}, "sizes must be a list of jf.charts.Size, got 3"),
        ({"sizes": [3]}, "sizes must be a list of jf.charts.Size, got 3"),
        ({"seconds": "x"}, "seconds must be positive and finite, got 'x'"),
        ({"evaluations": 1.5}, "evaluations must be a plain integer"),
    ],
)
def test_arguments_of_the_wrong_kind_get_a_sentence(changes, match, unchecked):
    always = jf.Inequality("0 <= 1", lambda n, d: 0.0, lambda n, d: 1.0)
    with pytest.raises(ValueError, match=match):
        jf.falsify(**{"inequality": always, **changes})
    with pytest.raises(ValueError, match="smaller must be a function"):
        jf.Inequality("0 <= 1", 0.0, lambda n, d: 1.0)
