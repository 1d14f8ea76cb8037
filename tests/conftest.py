"""What every test may ask for (see tests/servers.py), and what holds for all of them."""

from hypothesis import settings

pytest_plugins = ["tests.servers"]

# How long an example takes says how busy the machine is: a claim about time is a bench's, beside its peer in one run.
settings.register_profile("mizzle", deadline=None)
settings.load_profile("mizzle")
