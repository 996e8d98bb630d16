"""The tests; README.md says where yours goes."""
