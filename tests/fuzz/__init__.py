"""Hostile input at every door: a result or an error of ours, in one line, and nothing else (docs/security.md)."""
