"""One file per backend; backend.py has the protocols."""
