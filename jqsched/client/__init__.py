"""The client side: requests to a spool's scheduler over its socket, reads of its store, and `Handle`, which joins both.

Rule: everything here works from any process of the spool's owner. It knows values, requests and the store's reader,
never the scheduler's insides; `connection` alone is what commands import, and stays light.
"""
