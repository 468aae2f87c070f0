"""Accuracy and speed as programs."""
