"""Latency judged: regressions, budgets, speed-ups and what a launch is worth."""
