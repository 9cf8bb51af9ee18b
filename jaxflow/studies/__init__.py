"""Whole studies as functions; the command line calls them."""
