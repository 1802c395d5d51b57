"""One ``serve``, put together: who works, who is told, and what is answered."""
