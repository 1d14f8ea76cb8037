"""What must never be forgotten: enrolments, windows, how every update ended, losses, releases, audit chain, epochs."""
