"""Executors: where the processes of jobs run. Each passes `jqsched.testing.contracts.executor`."""
