"""Turns a checked graph into steps."""
