"""What an operator says, as frozen values."""
