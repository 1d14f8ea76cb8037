"""The whole system on one machine: broker, store, services and a fleet, all of which end together."""
