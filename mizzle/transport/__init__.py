"""What carries messages: the only files of the library that open a socket or read a clock."""
