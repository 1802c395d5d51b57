"""HAProxy by a config it is reloaded with, and a socket that changes the rest in place."""
