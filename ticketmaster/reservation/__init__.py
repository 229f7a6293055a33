"""The reservation role: the life of a reservation, from its command to its decision."""
