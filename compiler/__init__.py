"""Makes a plan from a workflow: passes, lowering, export, build, store."""
