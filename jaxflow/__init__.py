"""jaxflow: a laboratory for gradient-flow theory."""

from . import claims as claims, data as data, plotting as plotting, theory as theory
from .claims import (
    Claim as Claim,
    Falsification as Falsification,
    Inequality as Inequality,
    Verdict as Verdict,
    falsify as falsify,
    verify as verify,
)
from .data import Regression as Regression
from .dynamics import (
    CentralFlow as CentralFlow,
    ConstrainedTrajectory as ConstrainedTrajectory,
    ExponentialLoss as ExponentialLoss,
    Implicit as Implicit,
    LogisticLoss as LogisticLoss,
    Measure as Measure,
    PredictedDynamics as PredictedDynamics,
    Result as Result,
    Rule as Rule,
    Solution as Solution,
    SquaredLoss as SquaredLoss,
    gradient_descent as gradient_descent,
    gradient_flow as gradient_flow,
    log_loss_flow as log_loss_flow,
    until as until,
)
from .networks import (
    DeepLinear as DeepLinear,
    DiagonalLinear as DiagonalLinear,
    ShallowNetwork as ShallowNetwork,
    TwoLayerLinear as TwoLayerLinear,
    activations as activations,
    charts as charts,
    compress as compress,
    init as init,
)
from .sweeps import (
    Sweep as Sweep,
    measures as measures,
    run as run,
    use_all_cores as use_all_cores,
)
