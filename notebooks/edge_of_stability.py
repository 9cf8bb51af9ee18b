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
# # Where descent leaves the flow
#
# Gradient descent with a step η is stable where the sharpness S, the largest eigenvalue of the
# Hessian, is below 2/η. Along the flow S climbs beyond; descent then stays at S = 2/η (Cohen et al.,
# ICLR 2021), and its averages follow another flow, the *central flow* (Cohen, Damian et al., ICLR
# 2025). Twenty points of a Chebyshev polynomial, one hidden layer of twenty tanh units.

# %%
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.animation
import matplotlib.pyplot as plt
import numpy as np
import optax
from IPython.display import Image, display

import jaxflow as jf
from jaxflow import theory
from jaxflow.networks.activations import Tanh

jax.config.update("jax_enable_x64", True)
x = np.linspace(-1, 1, 20)
data = jf.Regression(x[:, None], np.cos(4 * np.arccos(x)))
a, b = jax.random.split(jax.random.key(2))
std = (2 / 21) ** 0.5
network = jf.ShallowNetwork(
    1.9 * std * jax.random.normal(a, (20, 1)),
    jnp.zeros(20),
    std * jax.random.normal(b, (1, 20)),
    activation=Tanh(),
)


class Weights(jf.Measure):
    """All parameters in a row."""

    name = "weights"
    dims = ("time", "entry")

    def update(self, t, view, fixed):
        n = view.network
        return jnp.concatenate([n.W.ravel(), n.b, n.V.ravel()])

    def finish(self, ts, saved, last, fixed):
        return saved


# %% [markdown]
# ## Three dynamics from one start
#
# The same call; a rule in the place of the optimizer. Descent is read off halfway between steps,
# where the oscillation cancels.

# %%
rate, steps = 0.02, 4000
saves = range(0, steps + 1, 20)
looks = [jf.measures.Sharpness(), Weights()]
runs = {
    name: jf.gradient_descent(
        network,
        data,
        rule,
        learning_rate=rate,
        steps=steps,
        saves=saves,
        midpoints=name == "descent",
        measures=looks,
    )
    for name, rule in {"descent": optax.sgd, "central flow": jf.CentralFlow()}.items()
}
runs["gradient flow"] = jf.gradient_flow(
    network, data, ts=runs["descent"].ts, measures=looks, rtol=1e-7
)
colours = dict(zip(runs, ("#c1440e", "#1a1a1a", "#8a8a8a"), strict=True))
with jf.plotting.style():
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for name in ("gradient flow", "descent", "central flow"):
        run, colour = runs[name], colours[name]
        left.plot(run.ts, run.measures["sharpness"], color=colour, linewidth=1, label=name)
        right.semilogy(run.ts, run.excess, color=colour, linewidth=1, label=name)
    left.axhline(2 / rate, color="#2a7f9e", linewidth=0.8, linestyle=":")
    left.set(xlabel="t", ylabel="sharpness", ylim=(0, 4 / rate))
    left.annotate("2/η", (runs["descent"].ts[-1], 2 / rate), (-14, 5), textcoords="offset points")
    right.set(xlabel="t", ylabel="loss")
    right.legend()
plt.show()

# %% [markdown]
# ## How far apart
#
# In weights. The models stay near descent, the flow does not.

# %%
runs["constrained"] = jf.gradient_descent(
    network,
    data,
    jf.ConstrainedTrajectory(),
    learning_rate=rate,
    steps=steps,
    saves=saves,
    measures=looks,
)
with jf.plotting.style():
    figure, ax = plt.subplots(figsize=(5.5, 3.4), layout="constrained")
    for name, colour in {**colours, "constrained": "#2a7f9e"}.items():
        if name == "descent":
            continue
        gap = runs[name].measures["weights"] - runs["descent"].measures["weights"]
        ax.semilogy(runs["descent"].ts, np.linalg.norm(gap, axis=1), color=colour, label=name)
    ax.set(xlabel="t", ylabel="distance to descent")
    ax.legend(loc="lower right")
plt.show()

# %% [markdown]
# ## Why it does not diverge
#
# Near the edge descent is a map of two numbers: x, the displacement along the top eigenvector, and y,
# the excess S − 2/η (Damian, Nichani, Lee, ICLR 2023). x grows while y > 0, and a large x lowers y.
# Lines: what the map conserves as η → 0; dots: the map, at two step sizes.

# %%
X, Y = np.meshgrid(np.linspace(0.02, 3, 150), np.linspace(-2.2, 2.2, 150))
energy = np.asarray(theory.reduced_energy(X * 2**0.5, Y, 1.0, 1.0))
with jf.plotting.style():
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained", sharey=True)
    for ax, eta in zip(axes, (0.05, 0.005), strict=True):
        ax.contour(X, Y, energy, [0.6, 0.9, 1.4, 2.0, 2.8], colors="#b5b5b5", linewidths=0.8)
        p, q, orbit = 0.15 * 2**0.5, 0.0, []
        for _ in range(int(14 / eta)):
            orbit.append((abs(p) / 2**0.5, q))
            p, q = theory.reduced_step(p, q, eta, 1.0, 1.0)
        ax.plot(*np.array(orbit).T, ".", markersize=2, color="#c1440e")
        ax.axhline(theory.spike_height(0.15 * 2**0.5, 1.0, 1.0), color="#2a7f9e", linewidth=0.8)
        ax.set(xlabel="|x| / δ", xlim=(0, 3), ylim=(-2.2, 2.2), title=f"η √α = {eta:g}")
    axes[0].set_ylabel("y / √α")
plt.show()

# %% [markdown]
# ## The oscillation
#
# Every step of the real network, in the plane of the top eigenvector at the central flow: x flips its
# sign each step and comes in bursts; the dot is descent, the trace its last 60 steps.

# %%
first = 1200
every = jf.gradient_descent(
    network,
    data,
    optax.sgd,
    learning_rate=rate,
    steps=first + 480,
    measures=looks,
    saves=range(first, first + 480),
)
centre = jf.gradient_descent(
    network,
    data,
    jf.CentralFlow(),
    learning_rate=rate,
    steps=first + 480,
    measures=looks,
    saves=range(first, first + 480),
)
there = jf.gradient_descent(
    network, data, jf.CentralFlow(), learning_rate=rate, steps=first + 240
).network
u = np.asarray(theory.hessian_eigenpairs(there, data).vectors[:, 0])
along = (every.measures["weights"] - centre.measures["weights"]) @ u
excess = every.measures["sharpness"] - 2 / rate
with jf.plotting.style():
    figure, ax = plt.subplots(figsize=(4, 3.2), dpi=80, layout="constrained")
    (trace,) = ax.plot([], [], "-", color="#b5b5b5", linewidth=0.6)
    (dot,) = ax.plot([], [], "o", color="#c1440e", markersize=5)
    ax.axhline(0, color="#2a7f9e", linewidth=0.8)
    reach = 1.1 * float(np.abs(along).max())
    ax.set(xlim=(-reach, reach), ylim=(float(excess.min()), 1.1 * float(excess.max())))
    ax.set(xlabel="x", ylabel="S − 2/η")


def frame(i):
    last = slice(max(0, i - 60), i + 1)
    trace.set_data(along[last], excess[last])
    dot.set_data([along[i]], [excess[i]])
    ax.set_title(f"step {first + i}")


with tempfile.TemporaryDirectory() as folder:
    gif = Path(folder) / "edge.gif"
    animation = matplotlib.animation.FuncAnimation(figure, frame, range(0, 480, 5))
    animation.save(gif, writer="pillow", fps=12)
    display(Image(gif.read_bytes()))
plt.close(figure)

# %% [markdown]
# ## Linear networks: how large a step keeps the theorem true
#
# The rate bound of Min et al. (ICML 2021) is about the flow: L − L* falls by exp(−2 λ_r(Σ) c t) at
# least. Descent with t = ηk keeps it, and falls faster than the flow, up to about three quarters of
# the edge; there the steepest direction begins to oscillate and is the slowest. Drawn is the
# smallest decay over the promised one, from 32 starts.

# %%
linear = jf.data.gaussian(jax.random.key(1), 8, 12, 1, whiten=True)
law = jf.init.Gaussian()
many = jax.vmap(lambda k: law.compressed(k, linear, width=500))(
    jax.random.split(jax.random.key(0), 32)
)
sharp = float(jax.vmap(lambda n: theory.sharpness(n, linear))(many).max())
shares = np.linspace(0.1, 1.1, 11)


@jax.jit
def tightness(network, eta):
    bound = theory.rate_bound(network, linear)
    run = jf.gradient_descent(network, linear, optax.sgd, learning_rate=eta, steps=400, saves=60)
    decay = run.log_excess[:1] - run.log_excess[1:]
    near = decay < 50  # above rounding
    return jnp.min(jnp.where(near, decay / (bound.rate * run.ts[1:]), jnp.inf))


rows = np.array([jax.vmap(lambda n, e=s * 2 / sharp: tightness(n, e))(many) for s in shares])
with jf.plotting.style():
    figure, ax = plt.subplots(figsize=(5, 3.2), layout="constrained")
    ax.plot(shares, rows, color="#c1440e", linewidth=0.6, alpha=0.6)
    ax.axhline(1, color="#1a1a1a", linewidth=0.8)
    ax.set(xlabel="η S(0) / 2", ylabel="decay / promised decay", ylim=(0, 2.5))
plt.show()
