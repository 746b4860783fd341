"""Decisions, pure: data in, data out. No client, no clock, no environment; time and randomness are passed in."""
