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
# # Wide shallow networks are splines
#
# `f(x) = Σ v_i φ(w_i x + b_i)`, ReLU units, all layers trained by the gradient flow from f = 0. Wide
# networks end within `h^(-1/2)` of the curve through the data that bends least, `∫ g''² / ζ`, where ζ
# says how many breakpoints the initialization puts where (Jin and Montúfar, JMLR 2023).

# %%
import dataclasses
import functools
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.animation
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Image, display

import jaxflow as jf
from jaxflow import theory
from jaxflow.networks.activations import ReLU

jax.config.update("jax_enable_x64", True)
key = jax.random.key(0)
data = jf.Regression(np.arange(-2.0, 3.0)[:, None], np.array([1.5, 0.5, 1.5, 0.5, 1.5]))
x = np.linspace(-2.2, 2.2, 201)

# %% [markdown]
# ## The curve in the limit
#
# Directions ±1 and uniform biases: ζ is constant where the samples are, and the limit is a natural
# cubic spline, once an affine function known beforehand is taken off the data. Each width below is
# trained from 20 starts.

# %%
law = jf.init.Shallow(weights=jf.init.Sphere(), biases=jf.init.Uniform(2.0))
adjusted = theory.adjusted(law, data)
spline = theory.spline(adjusted, law)
widths = [40, 320, 2560, 10240]
trained = jf.run(
    jf.Sweep(
        adjusted,
        law,
        widths=widths,
        seeds=20,
        until=jf.until.loss_ratio(1e-8),
        measures=[jf.measures.Predictions(x[:, None])],
        rtol=1e-6,
    )
)
found = trained.predictions.transpose("width", "seed", ...).values.reshape(len(widths), 20, -1)

with jf.plotting.style():
    figure, axes = plt.subplots(1, 3, figsize=(9, 3), layout="constrained", sharey=True)
    for ax, i in zip(axes, (0, 1, 3), strict=True):
        ax.plot(x, found[i, :8].T, color="#c1440e", linewidth=0.7, alpha=0.6)
        ax.plot(x, spline(x), color="#1a1a1a", linewidth=1.2)
        ax.plot(*map(np.ravel, (adjusted.X, adjusted.Y)), "o", color="#1a1a1a", markersize=4)
        ax.set_title(f"h = {widths[i]:,}")
        ax.set_xlabel("x")
    axes[0].set_ylabel("f(x), eight starts; spline in black")
plt.show()

# %% [markdown]
# ## How fast, and to what
#
# The distance on the hull of the samples falls like `h^(-1/2)`. Without the adjustment it falls to
# a plateau: there the limit is the interpolant of the kernel, which is the spline of other data, plus
# that affine function. Output layer alone (lines): no ODE, one eigendecomposition a network.

# %%
inside = jnp.asarray(np.linspace(-2, 2, 81)[:, None])
output_only = dataclasses.replace(law, output_only=True)


@functools.partial(jax.jit, static_argnums=2)
def ends(keys, many, h):
    def one(key):
        return theory.LinearizedFlow(output_only(key, many, width=h), many)(inside)

    return jax.lax.map(one, keys)


def distances(many, curve):
    rows = [ends(jax.random.split(key, 20), many, h) - curve(inside) for h in widths]
    return np.sqrt(np.mean(np.array(rows) ** 2, axis=(2, 3)))


on = (x >= -2) & (x <= 2)
whole = np.sqrt(np.mean((found - spline(x)[:, 0])[..., on] ** 2, axis=-1))
curves = {
    "adjusted data, spline": distances(adjusted, spline),
    "raw data, kernel": distances(data, theory.network_limit(law, data)),
    "raw data, spline": distances(data, theory.spline(data, law)),
}
with jf.plotting.style():
    figure, ax = plt.subplots(figsize=(5.5, 3.6), layout="constrained")
    for colour, (name, values) in zip(
        ("#c1440e", "#1a1a1a", "#8a8a8a"), curves.items(), strict=True
    ):
        ax.loglog(widths, np.median(values, axis=1), color=colour, label=name)
    ax.loglog(
        widths, np.median(whole, axis=1), "o", color="#c1440e", label="adjusted data, all layers"
    )
    ax.loglog(widths, 0.6 * np.array(widths) ** -0.5, ":", color="#8a8a8a", label=r"$h^{-1/2}$")
    ax.set(xlabel="width h", ylabel="RMS distance, median of 20")
    ax.legend()
plt.show()

# %% [markdown]
# ## Penalties of other laws
#
# Laws with few breakpoints at the rim bend in the middle: the same data, three curves.

# %%
laws = {
    "signs, uniform biases": law,
    "uniform": jf.init.Shallow(weights=jf.init.Uniform(2.0), biases=jf.init.Uniform(1.5)),
    "normal, small biases": jf.init.Shallow(
        weights=jf.init.Normal(1.0), biases=jf.init.Normal(0.4)
    ),
}
colours = ["#1a1a1a", "#c1440e", "#2a7f9e"]
fine = np.linspace(-2, 2, 301)
with jf.plotting.style():
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for colour, (name, one) in zip(colours, laws.items(), strict=True):
        weight = theory.zeta(one, fine)
        left.semilogy(fine, weight / weight.max(), color=colour, label=name)
        right.plot(fine, theory.spline(data, one)(fine), color=colour)
    right.plot(*map(np.ravel, (data.X, data.Y)), "o", color="#1a1a1a", markersize=4)
    left.set(xlabel="x", ylabel="ζ(x) / max ζ")
    right.set(xlabel="x", ylabel="g(x)")
    left.legend()
plt.show()

# %% [markdown]
# ## Where the linearization ends
#
# The same networks by the true flow (all layers) and by the flow of their Taylor polynomial. In the
# NTK parametrization the gap closes about like `h^(-1/2)`; in the standard one the output layer is h times
# faster and has learned before the others move: it closes faster.

# %%
gaps, few = {}, [40, 160, 640]


@jax.jit
def gap(network):
    end = jf.gradient_flow(
        network,
        adjusted,
        until=jf.until.loss_ratio(1e-8),
        formulation="residual",
        solver="implicit",
        rtol=1e-6,
    )
    true = jax.vmap(end.network)(inside)
    return jnp.sqrt(jnp.mean((true - theory.LinearizedFlow(network, adjusted)(inside)) ** 2))


for parametrization in ("ntk", "standard"):
    one = dataclasses.replace(law, parametrization=parametrization)
    keys = jax.random.split(key, 6)
    rows = [[float(gap(one(k, adjusted, width=h))) for k in keys] for h in few]
    gaps[parametrization] = np.array(rows)
with jf.plotting.style():
    figure, ax = plt.subplots(figsize=(5, 3.4), layout="constrained")
    for colour, (name, values) in zip(colours[1:], gaps.items(), strict=True):
        ax.loglog(few, values, ".", color=colour, alpha=0.4)
        slope = np.polyfit(np.log(few), np.log(values.mean(axis=1)), 1)[0]
        ax.loglog(few, values.mean(axis=1), color=colour, label=f"{name}: slope {slope:.2f}")
    ax.set_xticks(few, few)
    ax.minorticks_off()
    ax.set(xlabel="width h", ylabel="RMS distance to the linearized flow")
    ax.legend()
plt.show()

# %% [markdown]
# ## Breakpoints on the move
#
# A narrow network is no spline of this kind: its breakpoints travel. Each dot is one, at its place
# on the curve, its size that of the change of slope there.

# %%
narrow = jf.init.Shallow(
    weights=jf.init.Normal(1.0),
    biases=jf.init.Normal(1.0),
    outputs=jf.init.Normal(1.0),
    antisymmetric=False,
    activation=ReLU(smoothing=1e-3),
)


class Spline(jf.measures.Measure):
    """Breakpoints, delta-slopes, and the values of the function there and on a grid."""

    name = "spline"
    dims = ("time", "entry")

    def update(self, t, view, fixed):
        points = theory.breakpoints(view.network)
        at = jnp.concatenate([points.xi, jnp.asarray(x)])
        return jnp.concatenate([points.xi, points.mu, jax.vmap(view.network)(at[:, None])[:, 0]])

    def finish(self, ts, saved, last, fixed):
        return saved


network = narrow(jax.random.key(3), data, width=24)
settings = {"formulation": "residual", "solver": "implicit"}
last = jf.gradient_flow(network, data, until=jf.until.loss_ratio(1e-6), **settings).t1
ts = np.concatenate([[0.0], np.geomspace(3e-3, 1.0, 59) * float(last)])
path = jf.gradient_flow(network, data, ts=ts, measures=[Spline()], **settings)
xi, mu, at, curve = np.split(np.asarray(path.measures["spline"]), [24, 48, 72], axis=1)

with jf.plotting.style():
    figure, ax = plt.subplots(figsize=(4.4, 3.2), dpi=80, layout="constrained")
    ax.plot(*map(np.ravel, (data.X, data.Y)), "o", color="#1a1a1a", markersize=4)
    (drawn,) = ax.plot(x, curve[0], color="#c1440e", linewidth=1)
    dots = ax.scatter(xi[0], at[0], s=60 * np.abs(mu[0]) + 4, color="#2a7f9e", zorder=3)
    ax.set(xlim=(-2.2, 2.2), ylim=(-0.8, 2.4), xlabel="x", ylabel="f(x)")


def frame(i):
    drawn.set_ydata(curve[i])
    dots.set_offsets(np.c_[xi[i], at[i]])
    dots.set_sizes(60 * np.abs(mu[i]) + 4)
    ax.set_title(f"t = {ts[i]:.2g}")


with tempfile.TemporaryDirectory() as folder:
    gif = Path(folder) / "breakpoints.gif"
    matplotlib.animation.FuncAnimation(figure, frame, len(ts)).save(gif, writer="pillow", fps=12)
    display(Image(gif.read_bytes()))
plt.close(figure)

# %% [markdown]
# The paths of all breakpoints, and what the flow conserves of each unit, `v² − w² − b²` (exactly, but
# for the rounded kinks). Breakpoints that meet a sample stay there.

# %%
invariant = float(
    jnp.abs(
        theory.breakpoints(path.network).invariant - theory.breakpoints(network).invariant
    ).max()
)
with jf.plotting.style():
    figure, ax = plt.subplots(figsize=(5.5, 3.2), layout="constrained")
    ax.semilogx(ts[1:], xi[1:], color="#2a7f9e", linewidth=0.8)
    ax.axhline(0, color="#d0d0d0", linewidth=0.6)
    ax.set(xlabel="t", ylabel="breakpoints ξ", ylim=(-3, 3))
plt.show()
print(f"largest change of an invariant: {invariant:.1e}")

# %% [markdown]
# ## Two inputs
#
# Uniform directions in the plane, and biases that reach all samples: the limit is the polyharmonic
# spline `Σ c_j |x − x_j|³ + affine`.

# %%
plane = jf.Regression(
    np.array([[-1.0, -1], [1, 1], [0, 0], [-1, 1], [1, -1]]), np.array([1.5, 1.5, 0.5, -0.5, -0.5])
)
flat = jf.init.Shallow(weights=jf.init.Sphere(), biases=jf.init.Uniform(2.0))
level = theory.adjusted(flat, plane)
side = np.linspace(-1, 1, 33)
grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
surfaces = {}
for h in (100, 10_000):
    end = jf.gradient_flow(
        flat(key, level, width=h), level, until=jf.until.loss_ratio(1e-8), rtol=1e-6, **settings
    )
    surfaces[f"h = {h:,}"] = np.asarray(jax.vmap(end.network)(jnp.asarray(grid)))
surfaces["polyharmonic spline"] = theory.polyharmonic(level)(grid)
with jf.plotting.style():
    figure, axes = plt.subplots(
        1, 3, figsize=(9, 3.2), layout="constrained", subplot_kw={"projection": "3d"}
    )
    for ax, (name, values) in zip(axes, surfaces.items(), strict=True):
        ax.plot_surface(
            *grid.T.reshape(2, 33, 33),
            values.reshape(33, 33),
            cmap="copper",
            linewidth=0,
            alpha=0.85,
        )
        ax.scatter(*np.asarray(level.X).T, np.ravel(level.Y), color="#1a1a1a", depthshade=False)
        ax.set_title(name)
        ax.view_init(28, -60)
plt.show()
