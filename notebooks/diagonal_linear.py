# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Diagonal linear networks: from kernel to rich
#
# `beta = u^L − v^L`, entry by entry, from `u = v = alpha`. The predictor is linear, but the flow of
# u and v does not minimize `‖beta‖`: it ends at the interpolator of least *potential* `Φ`, which is
# the l2 norm squared for large alpha and the l1 norm for small alpha (Woodworth et al., COLT 2020).

# %%
import ipywidgets
import jax
import matplotlib.pyplot as plt
import numpy as np

import jaxflow as jf
from jaxflow import theory

jax.config.update("jax_enable_x64", True)
key = jax.random.key(0)

# %% [markdown]
# ## One sample, two features
#
# `beta₁ + 2 beta₂ = 2` has a line of solutions. The least l2 norm is at (0.4, 0.8), the least l1 norm
# at (0, 1). The path below is the flow, from zero to where a level set of Φ touches the line.

# %%
line = jf.Regression(np.array([[1.0, 2.0]]), np.array([2.0]))
x = np.linspace(-0.35, 1.05, 71)
grid = np.stack(np.meshgrid(x, x), axis=-1)


def draw(ax, alpha, depth):
    mirror = theory.MirrorMap(alpha, depth)
    levels = np.asarray(jax.vmap(jax.vmap(mirror.potential))(grid))
    limit = np.asarray(theory.least_potential(mirror, line).beta)
    touching = float(mirror.potential(limit))
    ax.contour(
        x, x, levels, touching * np.array([0.1, 0.3, 0.6, 1.0]), colors="#b5b5b5", linewidths=0.8
    )
    network = jf.init.Diagonal(alpha, depth)(key, line)
    # The predictor is followed from its first move to the end, on a clock of the residual.
    t = jf.gradient_flow(network, line, until=jf.until.loss_ratio(1e-12)).t1
    path = jf.gradient_flow(
        network, line, ts=np.linspace(0, float(t), 200), measures=[jf.measures.Product()]
    )
    beta = np.asarray(path.measures["product"])[..., 0]
    ax.plot(x, (2 - x) / 2, color="#1a1a1a", linewidth=1)
    ax.plot(*beta.T, color="#c1440e")
    ax.plot(*limit, "o", color="#c1440e", markersize=5)
    ax.set(xlim=(-0.35, 1.05), ylim=(-0.35, 1.35), aspect="equal", xlabel="β₁")
    ax.set_title(f"alpha = {alpha:g}, L = {depth:g}")


with jf.plotting.style():
    figure, axes = plt.subplots(2, 3, figsize=(8, 6), layout="constrained", sharey=True)
    for row, depth in zip(axes, (2.0, 4.0), strict=True):
        for ax, alpha in zip(row, (0.01, 0.3, 3.0), strict=True):
            draw(ax, alpha, depth)
        row[0].set_ylabel("β₂")
plt.show()

# %% [markdown]
# Drag alpha and the depth (in a live notebook):


# %%
def picture(log_alpha=-1.0, depth=2.0):
    with jf.plotting.style():
        _, ax = plt.subplots(figsize=(3.6, 3.6), layout="constrained")
        draw(ax, 10.0**log_alpha, depth)
        plt.show()


_ = ipywidgets.interact(picture, log_alpha=(-3.0, 1.0, 0.1), depth=(2.0, 4.0, 0.25))

# %% [markdown]
# ## The transition
#
# Sparse regression: 60 samples, 200 features, a teacher with three entries. Every scale and depth on
# four data sets: points are limits of flows (with time in them: one sweep), lines the minimizers of
# the potential (no time at all). Below its transition a network recovers the teacher; above it, it
# is kernel regression. At depth 2 the transition takes decades of alpha; deeper it is sharper, and
# at larger alpha.

# %%
rng = np.random.default_rng(0)
teacher = np.zeros(200)
teacher[:3] = 3**-0.5


def sparse(seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(60, 200))
    return jf.Regression(X, X @ teacher + 0.1 * rng.normal(size=60))


problems = [sparse(seed) for seed in range(4)]
flows = [
    jf.run(
        jf.Sweep(
            data,
            jf.init.Diagonal(),
            over={"depth": [2.0, 3.0, 4.0], "alpha": [0.2, 0.5, 1.0, 2.0, 5.0]},
            seeds=1,
            until=jf.until.loss_ratio(1e-16),
            measures=[jf.measures.FinalProduct()],
        )
    )
    for data in problems
]
alphas = np.geomspace(1e-3, 10, 25)


@jax.jit
def minimizers(data, depth):
    def one(alpha):
        return theory.least_potential(theory.MirrorMap(alpha, depth), data).beta

    return jax.lax.map(one, alphas)


with jf.plotting.style():
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
    least = [np.abs(theory.least_l1(data)).sum() for data in problems]
    for depth, color in zip((2.0, 3.0, 4.0), jf.plotting.ramp(3), strict=True):
        every = np.stack([minimizers(data, depth) for data in problems])
        ends = np.stack([flow.final_product.sel(depth=depth).values[:, 0, :, 0] for flow in flows])
        for beta, a, look in ((every, alphas, "-"), (ends, flows[0].alpha.values, "o")):
            name = f"L = {depth:g}" if look == "-" else None
            error = ((beta - teacher) ** 2).sum(-1).mean(0)
            excess = (np.abs(beta).sum(-1) / np.asarray(least)[:, None]).mean(0)
            axes[0].loglog(a, error, look, color=color, label=name, markersize=4)
            axes[1].semilogx(a, excess, look, color=color, markersize=4)
    axes[0].set(xlabel="alpha", ylabel="population error")
    axes[1].set(xlabel="alpha", ylabel="‖β‖₁ over the least")
    axes[0].legend()
plt.show()

# %% [markdown]
# ## Which l1 minimizer?
#
# Here a whole segment has least l1 norm (the data set of Wind, Antun and Hansen, 2023). The limit of
# small alpha is the one with the most entropy at L = 2, and another one at every other depth.

# %%
segment = jf.Regression(np.array([[1.0, 1, 1], [3, 0, 1]]), np.array([3.0, 3]))
for depth, log_alpha in ((2.0, -60.0), (2.5, -9.0), (3.0, -7.0), (4.0, -5.5)):
    mirror = theory.MirrorMap(log_alpha=log_alpha, depth=depth)
    found = np.asarray(theory.least_potential(mirror, segment).beta)
    selected = theory.least_l1(segment, depth=depth)
    print(f"L = {depth:<4g} limit {found.round(6)}   selected l1 minimizer {selected.round(6)}")

# %% [markdown]
# ## A loss of e^-100000
#
# Classification under the exponential loss, with `s = −log L` as time. The margin over the l1 norm
# climbs towards the largest that any direction has: at L = 2 it gets there, like one over the
# logarithm of time; at L = 3 it ends at a stationary point of another norm, `‖beta‖_(2/3)`.

# %%
X = np.asarray(jax.random.normal(jax.random.key(6), (10, 20)))
classes = jf.Regression(X, np.sign(X[:, 0] + 0.3 * X[:, 1]))
best = 1 / np.abs(theory.max_margin_l1(classes).beta).sum()
s = np.geomspace(5, 1e5, 60)

with jf.plotting.style():
    figure, ax = plt.subplots(figsize=(5.5, 3.4), layout="constrained")
    for depth, color in zip((2.0, 3.0), jf.plotting.ramp(2), strict=True):
        for alpha, look in ((1.0, "-"), (0.1, "--")):
            network = jf.init.Diagonal(alpha, depth)(key, classes)
            late = jf.log_loss_flow(network, classes, s)
            margin = np.min(late.margins, axis=1) / np.abs(late.beta).sum(axis=1)
            ax.semilogx(
                s, margin / best, look, color=color, label=f"L = {depth:g}, alpha = {alpha:g}"
            )
    ax.set(xlabel="−log L", ylabel="margin / ‖β‖₁, of the largest")
    ax.legend()
plt.show()
