"""The ticket role: the HTTP gateway, and the table of reservations behind it."""
