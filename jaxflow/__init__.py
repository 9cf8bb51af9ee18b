"""jaxflow: a laboratory for gradient-flow theory."""

import os as _os

# For every program that XLA loads from disk it logs two errors about tuning flags of its own. The
# level is read once, when JAX is imported.
_os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from . import (
    claims as claims,
    data as data,
    measures as measures,
    report as report,
    studies as studies,
    theory as theory,
)
from .claims import (
    Claim as Claim,
    Verdict as Verdict,
    verify as verify,
)
from .data import Classification as Classification, Regression as Regression
from .dynamics import (
    Adam as Adam,
    CentralFlow as CentralFlow,
    ConstrainedTrajectory as ConstrainedTrajectory,
    GradientDescent as GradientDescent,
    Measure as Measure,
    Method as Method,
    Polished as Polished,
    PredictedDynamics as PredictedDynamics,
    Result as Result,
    RMSProp as RMSProp,
    Rule as Rule,
    ScalarRMSProp as ScalarRMSProp,
    Solution as Solution,
    StableFlow as StableFlow,
    gradient_descent as gradient_descent,
    gradient_flow as gradient_flow,
    log_loss_flow as log_loss_flow,
    polish as polish,
    until as until,
)
from .dynamics.integrators import Implicit as Implicit
from .falsify import (
    Falsification as Falsification,
    Inequality as Inequality,
    charts as charts,
    falsify as falsify,
)
from .machine import use_all_cores as use_all_cores
from .networks import (
    DeepLinear as DeepLinear,
    DiagonalLinear as DiagonalLinear,
    ShallowNetwork as ShallowNetwork,
    TwoLayerLinear as TwoLayerLinear,
    activations as activations,
    compress as compress,
    init as init,
    module as module,
    smoothed as smoothed,
    with_rates as with_rates,
)
from .networks.losses import (
    CrossEntropyLoss as CrossEntropyLoss,
    ExponentialLoss as ExponentialLoss,
    HuberLoss as HuberLoss,
    LogisticLoss as LogisticLoss,
    SquaredLoss as SquaredLoss,
    WeightedLoss as WeightedLoss,
)
from .sweeps import (
    Sweep as Sweep,
    run as run,
)

plotting = report
