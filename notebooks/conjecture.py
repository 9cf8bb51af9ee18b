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
# # From a conjecture to a verdict to a counterexample
#
# For a two-layer linear network of balanced layers, `U₁ᵀU₁ = VᵀV`, on whitened data, the tangent kernel
# `T = I ⊗ U₁U₁ᵀ + VVᵀ ⊗ I` decides how fast every residual decays. Balanced layers share their singular
# values, so one might guess that `λ_min(T)` is twice the least singular value of the product `W = U₁Vᵀ`:
# one half from each layer.
#
# **Conjecture.** `2 σ_min(U₁Vᵀ) ≤ λ_min(T)` for balanced networks.

# %%
import jax
import jax.numpy as jnp
import numpy as np

import jaxflow as jf
from jaxflow.claims import Paper, verify
from jaxflow.falsify.charts import Size
from jaxflow.papers.settings.random_networks import inequality
from jaxflow.theory import limit_rate

jax.config.update("jax_enable_x64", True)


# %% [markdown]
# An inequality is two functions of a network and its data, the smaller side first. `limit_rate` is
# `2 λ_min(T)`.


# %%
def least_singular_value(network, data):
    return jnp.linalg.svdvals(data.right.T @ network.product)[-1]


conjecture = jf.Inequality(
    "2 sigma_min(U1 V^T) <= lambda_min(T)",
    smaller=lambda network, data: 2 * least_singular_value(network, data),
    larger=lambda network, data: 0.5 * limit_rate(network, data),
)

# %% [markdown]
# Balanced networks have measure zero: no random search would ever meet one. A *chart* is a map from free
# coordinates onto them, so that the hypothesis holds whatever the coordinates. First a look at square
# problems, as many papers have them.

# %%
balanced = jf.charts.Balanced(isotropic=True)
square = [Size(1, 1, 1), Size(2, 2, 2)]
print(jf.falsify(conjecture, balanced, sizes=square, evaluations=15_000))

# %% [markdown]
# It stands, and it is tight. As a claim it comes with a mutant, the same with its smaller side 5% larger,
# which the same check has to refute.

# %%
mine = Paper("mine", "a conjecture", provenance="derived")
claim = inequality(
    mine,
    "balanced",
    conjecture,
    balanced,
    hypotheses="balanced layers, whitened data, r = m",
    sizes=square,
    tight=square,
)
verdict = verify(claim)
print(verdict.holds, verdict.reason, verdict.mutant["holds"])

# %% [markdown]
# Now without `r = m`. The falsifier tries many random networks of every shape and climbs from the worst of
# them. What it suspects it computes again with 50 and with 80 digits, so that rounding is never reported as
# a counterexample.

# %%
found = jf.falsify(conjecture, balanced, seconds=60)
print(found)
print(found.network.U, found.network.V)

# %% [markdown]
# The smallest possible counterexample: one sample, two targets, one hidden unit. `V` is a column and
# `VVᵀ` has a zero eigenvalue, so that only `U₁U₁ᵀ = σ` serves the second target: `λ_min(T) = σ_min`, not
# `2 σ_min`. Where the product is not square one layer has directions that the other one does not reach.
# (The same slip is in print for deep networks: `jaxflow verify min2023`.)

# %%
network, data = found.network, found.data
kernel = jf.theory.tangent_kernel(network, data)
print(np.linalg.eigvalsh(kernel), float(2 * least_singular_value(network, data)))

# %% [markdown]
# With the right constant it stands again, for every shape.

# %%
corrected = jf.Inequality(
    "sigma_min(U1 V^T) (2 if r = m else 1) <= lambda_min(T)",
    smaller=lambda network, data: (
        (2 if data.rank == data.outputs else 1) * least_singular_value(network, data)
    ),
    larger=conjecture.larger,
)
shapes = [Size(1, 2, 1), Size(2, 3, 4)]
print(jf.falsify(corrected, balanced, sizes=shapes, evaluations=15_000))
