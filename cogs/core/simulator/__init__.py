"""A simulated Discord, built on simcord: a page in the browser, or REST and gateway on loopback."""
