"""Many trajectories at once: Monte Carlo over seeds and over axes of settings."""

from .plan import Sweep as Sweep
from .run import run as run
