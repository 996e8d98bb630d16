"""Inputs of every kind, mutated: `search.run(targets.KINDS[name], seed, count)` tries some and tells what it found."""
