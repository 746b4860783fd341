"""The only place with sockets, files and subprocesses. Library exceptions end here."""
