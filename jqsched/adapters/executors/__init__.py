"""Executors: they run the processes of jobs. Each passes `jqsched.testing.contracts.executor`."""
