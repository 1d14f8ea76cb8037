"""What every test may ask for; see tests/servers.py."""

pytest_plugins = ["tests.servers"]
