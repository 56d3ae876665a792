"""Runbooks: read, checked for readiness, run as drills and for real."""
