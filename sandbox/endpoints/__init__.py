"""One file per service: what it answers, and with which body."""
