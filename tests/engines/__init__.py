"""The real engines tests run against: started on loopback, ended with the session."""
