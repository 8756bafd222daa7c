"""Comparisons of several runs: sweeps, launchers, statistics over seeds and tables."""

__all__: list[str] = []
