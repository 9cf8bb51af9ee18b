"""The search for counterexamples: inequalities, charts of families, ascent, multiprecision."""

from . import charts as charts
from .certificate import Certificate as Certificate, prove as prove
from .hunt import Falsification as Falsification, falsify as falsify
from .inequality import Inequality as Inequality
