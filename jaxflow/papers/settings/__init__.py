"""What papers share: problems, sweeps and experiments that several of them judge."""
