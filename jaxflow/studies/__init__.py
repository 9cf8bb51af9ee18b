"""Whole studies as functions: plan, run, judge and draw in one call."""

from .width import WidthStudy as WidthStudy, width as width
