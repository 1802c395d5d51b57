"""How to get from one release to the next: pure step functions, one tick at a time."""
