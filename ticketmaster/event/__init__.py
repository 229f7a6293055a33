"""The event role: the seats of every area, and who gets them."""
