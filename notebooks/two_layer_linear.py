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
# # The two-layer linear network
#
# A network `f(x) = V Uᵀ x` learns a linear map by gradient flow on `L = ½‖Y − X U Vᵀ‖²`. The predictor
# is linear; the dynamics are not. What decides how fast it learns, and which of the many solutions it
# finds, is the *imbalance* of its two layers, `Λ = U₁ᵀU₁ − VᵀV`, which the flow conserves.

# %%
import jax
import matplotlib.pyplot as plt
import numpy as np

import jaxflow as jf

jax.config.update("jax_enable_x64", True)
key = jax.random.key(0)

# %% [markdown]
# ## One trajectory
#
# Five samples in twenty dimensions: many predictors fit, one of them has least norm.

# %%
data = jf.data.gaussian(key, samples=5, features=20, targets=1, noise=0.1)
network = jf.init.Gaussian(alpha=0.5)(key, data, width=200)
solution = jf.gradient_flow(network, data, until=jf.until.loss_ratio(1e-20)).check()
print(
    f"rank {data.rank}, stopped at t = {float(solution.t1):.3f} in {int(solution.stats['steps'])} steps"
)

# %% [markdown]
# The theorem of Min, Tarmoun, Vidal and Mallada (ICML 2021) promises
# `L(t) − L* ≤ exp(−2 λᵣ c t) (L(0) − L*)` with `c = [λᵣ(Λ)]₊ + [λₘ(−Λ)]₊`. The second version of the
# paper sharpens it with the distance to the target.

# %%
spectrum = jf.theory.imbalance(network, data)
bound = jf.theory.rate_bound(network, data)
print(f"c = {float(spectrum.c):.3f}, guaranteed rate {float(bound.rate):.2f}")

with jf.plotting.style():
    figure, ax = plt.subplots(figsize=(5.5, 3.6), layout="constrained")
    ax.plot(solution.ts, solution.log_excess / np.log(10), label="gradient flow")
    ax.plot(solution.ts, bound.log_envelope(solution.ts) / np.log(10), "k--", label="bound")
    ax.set_xlabel("flow time t")
    ax.set_ylabel("log₁₀ (L − L*)")
    ax.legend()
plt.show()

# %% [markdown]
# ## Where it ends
#
# `U V^T` ends at the min-norm solution plus something the data cannot see, `U₂ V^T`. Wide networks
# make it small, like `h^(-1/2)`: the law below has no free constant. Width is free: a network of
# width h has exactly the trajectory of one of width m + r, which is drawn directly.

# %%
sweep = jf.Sweep(
    data,
    jf.init.Gaussian(),
    widths=[20, 100, 1000, 10**5, 10**7, 10**9],
    seeds=64,
    key=key,
    until=jf.until.loss_ratio(1e-20),
    measures=[jf.measures.OffSpanDistance()],
)
result = jf.run(sweep)
widths = result.width.values
rms = np.sqrt((result.off_span_distance**2).mean("seed"))
law = [float(jf.theory.bias_law(data, width)) for width in widths]

with jf.plotting.style():
    figure, ax = plt.subplots(figsize=(5.5, 3.6), layout="constrained")
    ax.loglog(widths, rms, "o", label="64 seeds a width, root mean square")
    ax.loglog(widths, law, label="law for wide networks")
    ax.set_xlabel("width h")
    ax.set_ylabel("distance to the min-norm solution")
    ax.legend()
plt.show()

# %% [markdown]
# ## Descent is not the flow
#
# Gradient descent with a small step follows the flow, up to an error proportional to the step.

# %%
import optax

for rate in (4e-3, 2e-3, 1e-3):
    steps = round(0.4 / rate)
    descent = jf.gradient_descent(network, data, optax.sgd, learning_rate=rate, steps=steps)
    flow = jf.gradient_flow(network, data, ts=[0.4])
    error = float(np.linalg.norm(descent.product - flow.product))
    print(f"learning rate {rate:.0e}: distance to the flow {error:.2e}")

# %% [markdown]
# ## A verdict
#
# A claim is judged on every trajectory of a sweep, together with a false variant that the same check
# has to refute and a true one that it has to pass.

# %%
verdict = jf.verify("min2021.rate", preset="quick")
print(verdict.statement)
print("holds:", verdict.holds, "-", verdict.reason)
print("mutant:", verdict.mutant["holds"], " control:", verdict.control["holds"])
