"""A whole deployment in one OS process, on virtual time and one seed: the real roles, engine and broker, and all that can go wrong."""
