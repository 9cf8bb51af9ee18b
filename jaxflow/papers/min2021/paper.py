"""The paper, and its later version."""

from ...claims import Paper

paper = Paper("min2021", "Min, Tarmoun, Vidal, Mallada (ICML 2021)", provenance="read")
later = Paper("min2021", "Min, Tarmoun, Vidal, Mallada, v2 (arXiv 2105.06351v2)", provenance="read")
