"""A simulated Discord, built on simcord.

It is a page in the browser, or REST and gateway on loopback.
"""
