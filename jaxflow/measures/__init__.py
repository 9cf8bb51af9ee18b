"""Measures: quantities of a trajectory. The same object serves a single flow and a sweep."""

from ..dynamics.measure import Measure as Measure
from .classification import Accuracy as Accuracy, Margin as Margin
from .functions import along as along, at_end as at_end
from .kernels import (
    EffectiveSharpness as EffectiveSharpness,
    KernelMovement as KernelMovement,
    MeanLoss as MeanLoss,
    Sharpness as Sharpness,
    SingularValues as SingularValues,
)
from .presets import curves as curves, standard as standard
from .rates import (
    Bound as Bound,
    BoundRate as BoundRate,
    BoundTimes as BoundTimes,
    InstantaneousRate as InstantaneousRate,
    LeastDecay as LeastDecay,
    Level as Level,
    LimitRate as LimitRate,
    MeasuredRate as MeasuredRate,
    RateSlack as RateSlack,
    RestartSlack as RestartSlack,
    decay as decay,
    roundoff as roundoff,
    theorem_1 as theorem_1,
)
from .states import (
    FinalProduct as FinalProduct,
    ImbalanceDrift as ImbalanceDrift,
    InSpanDistance as InSpanDistance,
    LogExcess as LogExcess,
    OffSpanDistance as OffSpanDistance,
    Predictions as Predictions,
    Product as Product,
    Times as Times,
    WeightGrowth as WeightGrowth,
)
