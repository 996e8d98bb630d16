"""The real program on a temporary spool."""
