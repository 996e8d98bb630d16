"""The client side: talking to the scheduler of a spool over its socket.

Rule: everything here works from any process of the spool's owner and knows values and requests, never the store, the
spool's files or the scheduler's insides.
"""
