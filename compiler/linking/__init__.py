"""Puts files behind a program: facts, networks, engines, weights, folded constants."""
