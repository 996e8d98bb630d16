"""The shell around the core, on fakes."""
