"""The search for counterexamples: inequalities, charts of families, ascent, multiprecision."""

from . import charts as charts
from .hunt import Falsification as Falsification, falsify as falsify
from .inequality import Inequality as Inequality
