"""Figures, tables and pages of results; nothing here integrates anything."""

from .grid import grid_figure as grid_figure
from .report import write_report as write_report
from .style import (
    ramp as ramp,
    save_figure as save_figure,
    style as style,
)
from .sweep import (
    distance_against_width as distance_against_width,
    loss_against_envelope as loss_against_envelope,
    sweep_figure as sweep_figure,
    tightness as tightness,
)
from .trajectory import trajectory as trajectory
from .verdict import verdict_figure as verdict_figure
