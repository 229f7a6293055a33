"""Whether what was sold adds up: the topics are read and compared with each other."""
