"""What people do by hand: for whoever looks after a federation that runs in containers."""
