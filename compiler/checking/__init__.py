"""Checks a workflow before anything is compiled: every problem at once, in ComfyUI's words."""
