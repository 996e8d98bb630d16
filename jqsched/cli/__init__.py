"""The command line: parses, asks the store or the scheduler, prints; decides nothing.

`main` is the entry, `app` declares the commands, `failure` says how they end badly, `place` finds the spool, `formats`
writes values for people; the others are the commands. Rule: each command imports only what it needs, when it runs.
"""
