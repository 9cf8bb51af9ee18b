"""How steps are made: step-size control, the implicit solver, the loop over slots, stops."""

from .implicit import Implicit as Implicit
