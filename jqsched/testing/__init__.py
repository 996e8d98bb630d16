"""For people who test queue semantics, policies and plugins of their own: fakes of the ports, strategies, simulation.

Rule: a fake keeps the contract of its port (it passes the same tests as the real adapter), and its time is a number.
"""
