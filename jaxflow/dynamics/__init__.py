"""How a network learns: gradient flow and gradient descent, which return the same `Solution`."""

from . import (
    formulations as formulations,
    until as until,
)
from .central_flow import CentralFlow as CentralFlow, StableFlow as StableFlow
from .descent import gradient_descent as gradient_descent
from .flow import gradient_flow as gradient_flow
from .integrators import Implicit as Implicit
from .log_loss_flow import (
    LogLossSolution as LogLossSolution,
    log_loss_flow as log_loss_flow,
)
from .measure import Measure as Measure
from .methods import (
    Adam as Adam,
    GradientDescent as GradientDescent,
    Method as Method,
    RMSProp as RMSProp,
    ScalarRMSProp as ScalarRMSProp,
)
from .newton import Polished as Polished, polish as polish
from .rules import Rule as Rule
from .self_stabilization import (
    ConstrainedTrajectory as ConstrainedTrajectory,
    PredictedDynamics as PredictedDynamics,
)
from .solution import Solution as Solution
from .status import Result as Result
from .view import View as View
