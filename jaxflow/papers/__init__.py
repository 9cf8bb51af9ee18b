"""The shelf: one module per paper, each with its claims."""
