"""Chaos over real sockets: a gateway under load while something breaks, and what must hold then."""
