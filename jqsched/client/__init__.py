"""The client side: the scheduler of a spool asked over its socket, its store read, and both behind one `Handle`.

Rule: everything here works from any process of the spool's owner. It knows values, requests and the store's reader,
never the scheduler's insides; `connection` alone is what commands import, and stays light.
"""
