"""Is it true: the engine that runs an experiment once and judges claim, mutant and control by it.

A claim is a function with its statement beside it, made by `Paper.claim`. It turns what an
experiment gave into `Evidence`, which knows the rule that it is judged by; `verify` returns the
`Verdict`. The papers themselves are in `jaxflow.papers`.
"""

from .claim import PRESETS as PRESETS, Claim as Claim, Paper as Paper, presets as presets
from .evidence import (
    Evidence as Evidence,
    at_least as at_least,
    at_most as at_most,
    median_interval as median_interval,
    near as near,
    power as power,
)
from .experiments import (
    finished as finished,
    give as give,
    once as once,
    shared_runs as shared_runs,
)
from .registry import catalogue as catalogue, find as find
from .resolution import Moves as Moves, Resolution as Resolution
from .rules import (
    for_all as for_all,
    upper_limit as upper_limit,
    with_probability as with_probability,
    within as within,
)
from .verdict import Verdict as Verdict
from .verify import judge as judge, verify as verify
from .verify_all import verify_all as verify_all
