"""The ground that services stand on: one loop, one log, one store, the same for all of them."""
