"""What every executor, every store and every spool must do, as clauses that run on the fakes and on real adapters.

Rule: nothing of a test runner and nothing of an adapter is known here. A clause is a function of a rig: the port's
implementation and what a test must be able to do to it. `for clause in CLAUSES: clause(make_a_fresh_rig())` is enough.
"""
