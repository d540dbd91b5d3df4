"""What holds tasks back that could otherwise run: rates, limits, pauses."""
