"""Checks a workflow before anything is compiled: every problem at once, in ComfyUI's words.

check.py is the walk. It asks structure.py (classes, outputs, which inputs are there), links.py and values.py (files.py
for those that name one) about each input; findings.py collects. server_errors.py writes problems as a server does.
"""
