"""Accuracy judged: parity, intervals and agreement."""
