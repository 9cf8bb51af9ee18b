"""How steps are made: step-size control, the implicit solver, and the choice between solvers."""

from .implicit import Implicit as Implicit
