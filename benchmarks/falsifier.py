"""What the falsifier finds, given the printed formulas and the hypotheses as a chart alone.

Three formulas that are wrong in print (the AISTATS 2023 alpha, the ICML 2023 rate of two layers and
its equation 19), each hunted until it is refuted; and theorem 1 and the instantaneous rate of
Min et al., which have to survive 10^6 evaluations each.
"""

from typing import Any

import jax.random as jr
import record

import jaxflow as jf
from jaxflow.papers import min2023, xu2023
from jaxflow.papers.min2021.margin import INSTANTANEOUS
from jaxflow.theory import instantaneous_rate, rate_bound

PRINTED = {
    "xu2023.alpha_printed": (xu2023.PRINTED, jf.charts.Free()),
    "min2023.two_layers_printed": (min2023.PRINTED, jf.charts.Free()),
    "min2023.balanced_printed": (
        min2023.BALANCED_PRINTED,
        jf.charts.DeepBalanced(isotropic=True),
    ),
}
# Theorem 1 holds on every trajectory if and only if this holds at every network: c is conserved.
THEOREM_1 = jf.Inequality(
    "2 lambda_r(Sigma) c <= -(d/dt) log(L - L*)",
    lambda network, data: rate_bound(network, data).rate,
    instantaneous_rate,
)
THEOREMS = {"theorem 1": THEOREM_1, "proposition 1 of v2": INSTANTANEOUS}


def main() -> None:
    """Hunt them all."""
    chosen = record.options(__doc__)
    count = 20_000 if chosen.quick else 1_000_000
    results: list[dict[str, Any]] = []
    for name, (inequality, chart) in PRINTED.items():
        found = jf.falsify(inequality, chart, seconds=60.0, key=jr.key(1))
        results.append(summary(name, found))
    for name, inequality in THEOREMS.items():
        found = jf.falsify(inequality, evaluations=count, seconds=1e9, key=jr.key(2))
        results.append(summary(name, found))
    rows = [
        [
            r["claim"],
            "refuted" if r["violated"] else "stands",
            f"{r['slack']:.2g}",
            f"{r['evaluations']:,}",
            str(r["size"]),
            f"{r['seconds']:.1f}",
        ]
        for r in results
    ]
    headings = ["claim", "outcome", "worst slack", "evaluations", "r, m, h, L", "s"]
    record.show(__doc__.splitlines()[0], headings, rows)
    record.write(chosen, "falsifier", {"results": results})
    expected = [True] * len(PRINTED) + [False] * len(THEOREMS)
    assert [r["violated"] for r in results] == expected


def summary(name: str, found: jf.Falsification) -> dict[str, Any]:
    """A hunt in plain values."""
    return {
        "claim": name,
        "statement": found.statement,
        "violated": found.violated,
        "slack": found.slack if found.exact_slack is None else found.exact_slack,
        "evaluations": found.evaluations,
        "unconfirmed": found.unconfirmed,
        "size": list(found.size[:4]),
        "sizes": found.sizes,
        "seconds": found.seconds,
    }


if __name__ == "__main__":
    main()
