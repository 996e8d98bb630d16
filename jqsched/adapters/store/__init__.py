"""The store: SQLite in WAL mode at synchronous=FULL; one writer, one commit for whatever has come in meanwhile.

`writer` implements the port, `reader` answers all other processes (the daemon may run or not), `fsck` checks every row
and compares the job table with the fold of the events, `schema` owns the format, `codec` the rows and their checksums,
`wal` looks at a log before SQLite does. No other package imports sqlite3.
"""
